"""One scene in every format, and in its dialects, written by hand by its own rules, is read alike.

Three frames of 320 x 200 pixels at 0, 0.2 and 0.5 s. A car, track 3, is in the first and the last,
a pedestrian, track 5, in the second and the last. No number stands for another: neither frames nor
axes nor sides can be exchanged, nor may anything be off by one, without a test that fails.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco

from masa_cli.formats import FORMATS, Hints, read_tracks, recognise
from masa_cli.formats.detections import DETECTION_FORMATS, read_detections

CAR, PEDESTRIAN = "car", "pedestrian"
# Frame, track, class, box (x1, y1, x2, y2), score.
SCENE = [
    (0, 3, CAR, (10, 20, 40, 80), 0.9),
    (1, 5, PEDESTRIAN, (100, 50, 120, 95), 0.8),
    (2, 3, CAR, (16, 21, 46, 81), 0.7),
    (2, 5, PEDESTRIAN, (104, 52, 124, 97), 0.6),
]
TIMES = (0.0, 0.2, 0.5)
SIZE = (320, 200)
PICTURES = ("000001.jpg", "000002.jpg", "000003.jpg")


@dataclass
class Dialect:
    """How some program writes the scene.

    Attributes:
        format: the row it must be recognised as.
        files: their text by name; the first is what is read, a name that ends with / a folder.
        labels: what classes are called where there are only numbers.
        ids: of the tracks, where the dialect has others.
        scores: whether it has scores; else they are 1.
        times: whether it tells times.
        images: the file with the images, if it is another.
        pictures: of the folder that is the video.
    """

    format: str
    files: dict
    labels: dict = field(default_factory=lambda: {CAR: CAR, PEDESTRIAN: PEDESTRIAN})
    ids: dict = field(default_factory=lambda: {3: 3, 5: 5})
    scores: bool = True
    times: bool = False
    images: str | None = None
    pictures: tuple = ()

    def write(self, folder):
        """The path that is to be read."""
        for name, content in self.files.items():
            if not name.endswith("/"):
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return folder / next(iter(self.files))


NUMBERS = {CAR: "1", PEDESTRIAN: "2"}
FROM_0 = {CAR: "0", PEDESTRIAN: "1"}
NAMELESS = {CAR: "object", PEDESTRIAN: "object"}


def rle(x1, y1, x2, y2):
    """Compressed run lengths of a box, by COCO's own tools."""
    mask = np.zeros(SIZE[::-1], np.uint8, order="F")
    mask[y1:y2, x1:x2] = 1
    return coco.encode(mask)["counts"].decode()


def coco_json(images, *, ids="track_id", attributes=False, categories=(1, 2), score=True):
    """Annotations of these images: three entries, whose ids are 11, 12 and 13."""
    rows = [
        (11, categories[0], 3, "[10,20,30,60]", 0.9),
        (12, categories[1], 5, "[100,50,20,45]", 0.8),
        (13, categories[0], 3, "[16,21,30,60]", 0.7),
        (13, categories[1], 5, "[104,52,20,45]", 0.6),
    ]
    entries = []
    for number, (image, category, id_, bbox, sure) in enumerate(rows, 1):
        identity = f'"{ids}":{id_}'
        identity = f'"attributes":{{"occluded":false,{identity}}}' if attributes else identity
        entries.append(
            f'{{"id":{number},"image_id":{image},"category_id":{category},"bbox":{bbox},'
            f'"iscrowd":0,"area":900,{identity}' + (f',"score":{sure}' if score else "") + "}"
        )
    return (
        f'{{"images":[{",".join(images)}],"annotations":[{",".join(entries)}],"categories":['
        f'{{"id":{categories[0]},"name":"car"}},{{"id":{categories[1]},"name":"pedestrian"}}]}}'
    )


def image(id_, **keys):
    more = "".join(f',"{key}":{value}' for key, value in keys.items())
    return f'{{"id":{id_},"width":320,"height":200{more}}}'


CSV_BODY = """\
0,0,3,10,20,40,80,0.9,car,0
1,0.2,5,100,50,120,95,0.8,pedestrian,0
2,0.5,3,16,21,46,81,0.7,car,0
2,0.5,5,104,52,124,97,0.6,pedestrian,0
"""

TRACKS = {
    "jsonl": Dialect(
        "jsonl",
        {
            "o.jsonl": '{"frame":0,"time":0.0,"boxes":[[10,20,40,80]],"ids":[3],"labels":["car"],'
            '"scores":[0.9]}\n'
            '{"frame":1,"time":0.2,"boxes":[[100,50,120,95]],"ids":[5],"labels":["pedestrian"],'
            '"scores":[0.8]}\n'
            '{"frame":2,"time":0.5,"boxes":[[16,21,46,81],[104,52,124,97]],"ids":[3,5],'
            '"labels":["car","pedestrian"],"scores":[0.7,0.6]}\n'
        },
        times=True,
    ),
    "csv": Dialect(
        "csv",
        {"o.csv": "frame,time,id,x1,y1,x2,y2,score,label,interpolated\n" + CSV_BODY},
        times=True,
    ),
    "csv of a spreadsheet": Dialect(
        "csv",
        {
            "o.csv": (
                "Frame;Track ID;X1;Y1;X2;Y2;Score;Label\r\n"
                "0;3;10,0;20,0;40;80;0,9;car\r\n1;5;100,0;50,0;120;95;0,8;pedestrian\r\n"
                "2;3;16,0;21,0;46;81;0,7;car\r\n2;5;104,0;52,0;124;97;0,6;pedestrian\r\n"
            ).encode("utf-16")
        },
    ),
    "csv of middles": Dialect(
        "csv",
        {
            "o.tsv": "frame\tid\tx_center\ty_center\tw\th\n0\t3\t25\t50\t30\t60\n"
            "1\t5\t110\t72.5\t20\t45\n2\t3\t31\t51\t30\t60\n2\t5\t114\t74.5\t20\t45\n"
        },
        labels=NAMELESS,
        scores=False,
    ),
    "records of supervision": Dialect(
        "records",
        {
            "o.json": json.dumps(
                [
                    {"x_min": x1, "y_min": y1, "x_max": x2, "y_max": y2, "class_id": 7}
                    | {"confidence": score, "tracker_id": id_, "frame_index": frame}
                    | {"class_name": label}
                    for frame, id_, label, (x1, y1, x2, y2), score in SCENE
                ],
                indent=4,
            )
        },
    ),
    "csv of pandas": Dialect(
        "csv",
        {
            "o.csv": ",frame_index,track_id,class_id,class,ymin,xmin,ymax,xmax,confidence\n"
            "0,0,3,7,car,20,10,80,40,0.9\n1,1,5,8,pedestrian,50,100,95,120,0.8\n"
            "2,2,3,7,car,21,16,81,46,0.7\n3,2,5,8,pedestrian,52,104,97,124,0.6\n"
        },
    ),
    "csv of supervision": Dialect(
        "csv",
        {
            "o.csv": "x_min,y_min,x_max,y_max,class_id,confidence,tracker_id,class_name,"
            "frame_index\n10,20,40,80,0,0.9,3,car,0\n100,50,120,95,1,0.8,5,pedestrian,1\n"
            "16,21,46,81,0,0.7,3,car,2\n104,52,124,97,1,0.6,5,pedestrian,2\n"
        },
    ),
    "cvat": Dialect(
        "cvat",
        {
            "o.xml": "<annotations><version>1.1</version><meta><task><size>3</size>"
            "<original_size><width>320</width><height>200</height></original_size></task></meta>"
            '<track id="3" label="car">'
            '<box frame="0" xtl="10" ytl="20" xbr="40" ybr="80" outside="0" keyframe="1"/>'
            '<box frame="1" xtl="10" ytl="20" xbr="40" ybr="80" outside="1" keyframe="1"/>'
            '<box frame="2" xtl="16" ytl="21" xbr="46" ybr="81" outside="0" keyframe="1"/></track>'
            '<track id="5" label="pedestrian">'
            '<box frame="1" xtl="100" ytl="50" xbr="120" ybr="95" outside="0" keyframe="1"/>'
            '<box frame="2" xtl="104" ytl="52" xbr="124" ybr="97" outside="0" keyframe="1"/>'
            "</track></annotations>"
        },
        scores=False,
    ),
    "labelstudio": Dialect(  # frames from 1, percent
        "labelstudio",
        {
            "o.json": '[{"id":18,"annotations":[{"id":3,"result":['
            '{"id":"Ij6Q","type":"videorectangle","value":{"framesCount":3,"labels":'
            '["car"],"sequence":[{"frame":1,"enabled":false,"rotation":0,"x":3.125,"y":10,'
            '"width":9.375,"height":30},{"frame":3,"enabled":true,"rotation":0,"x":5,"y":10.5,'
            '"width":9.375,"height":30}]}},'
            '{"id":"a-b","type":"videorectangle","value":{"framesCount":3,"labels":["pedestrian"],'
            '"sequence":[{"frame":2,"enabled":true,"rotation":0,"x":31.25,"y":25,"width":6.25,'
            '"height":22.5},{"frame":3,"enabled":true,"rotation":0,"x":32.5,"y":26,"width":6.25,'
            '"height":22.5}]}}]}],"data":{"video":"/data/upload/v.mp4"}}]'
        },
        ids={3: 1, 5: 2},
        scores=False,
    ),
    "bdd": Dialect(
        "bdd",
        {
            "o.json": '[{"name":"v-0000001.jpg","videoName":"v","frameIndex":0,"labels":['
            '{"id":"3","category":"car","score":0.9,'
            '"box2d":{"x1":10,"y1":20,"x2":40,"y2":80}}]},'
            '{"name":"v-0000002.jpg","videoName":"v","frameIndex":1,"labels":['
            '{"id":"5","category":"pedestrian","score":0.8,'
            '"box2d":{"x1":100,"y1":50,"x2":120,"y2":95}}]},'
            '{"name":"v-0000003.jpg","videoName":"v","frameIndex":2,"labels":['
            '{"id":"5","category":"pedestrian","score":0.6,'
            '"box2d":{"x1":104,"y1":52,"x2":124,"y2":97}},'
            '{"id":"3","category":"car","score":0.7,'
            '"box2d":{"x1":16,"y1":21,"x2":46,"y2":81}}]}]'
        },
    ),
    "ytvis": Dialect(
        "ytvis",
        {
            "o.json": '{"videos":[{"id":1,"width":320,"height":200,"length":3,'
            '"file_names":["v/00000.jpg","v/00005.jpg","v/00010.jpg"]}],'
            '"categories":[{"id":40,"name":"pedestrian"},{"id":6,"name":"car"}],"annotations":['
            '{"id":3,"video_id":1,"category_id":6,"iscrowd":0,"score":1.0,'
            '"bboxes":[[10,20,30,60],null,[16,21,30,60]],"areas":[null,null,null],'
            '"segmentations":[null,null,null]},'
            '{"id":5,"video_id":1,"category_id":40,"iscrowd":0,"score":1.0,'
            '"bboxes":[null,[100,50,20,45],[104,52,20,45]],"areas":[null,null,null],'
            '"segmentations":[null,null,null]}]}'
        },
        scores=False,
    ),
    "coco with frame_index": Dialect(
        "coco",
        {
            "o.json": coco_json(
                [
                    image(13, frame_index=2, time=0.5),
                    image(11, frame_index=0, time=0),
                    image(12, frame_index=1, time=0.2),
                ]
            )
        },
        times=True,
    ),
    "coco of ByteTrack": Dialect(  # frame_id from 1
        "coco",
        {
            "o.json": coco_json(
                [
                    image(10 + n, frame_id=n, video_id=1, file_name=f'"s/img1/{n:06d}.jpg"')
                    for n in (1, 2, 3)
                ],
                score=False,
            )
        },
        scores=False,
    ),
    "coco of mmtracking": Dialect(  # frame_id from 0
        "coco",
        {
            "o.json": coco_json(
                [
                    image(10 + n, frame_id=n - 1, video_id=1, file_name=f'"s/img1/{n:06d}.jpg"')
                    for n in (3, 1, 2)
                ],
                ids="instance_id",
            )
        },
    ),
    "coco of CVAT": Dialect(  # names from 0, identities among the attributes
        "coco",
        {
            "o.json": coco_json(
                [image(11 + n, file_name=f'"frame_{n:06d}.PNG"') for n in (0, 1, 2)],
                attributes=True,
                categories=(2, 1),
            )
        },
    ),
    "coco with names": Dialect(
        "coco",
        {"o.json": coco_json([image(10 + n, file_name=f'"{n:06d}.jpg"') for n in (1, 2, 3)])},
    ),
    "coco of a folder": Dialect(
        "coco",
        {
            "o.json": coco_json(
                [
                    image(11 + n, frame_id=n + 7, file_name=f'"a/b/{name}"')
                    for n, name in enumerate(("x07.jpg", "x09.jpg", "x31.jpg"))
                ]
            )
        },
        pictures=("x07.jpg", "x09.jpg", "x31.jpg"),
    ),
    "tao": Dialect(
        "tao",
        {
            "o.json": '[{"image_id":1,"category_id":1,"bbox":[10,20,30,60],"score":0.9,'
            '"track_id":3,"video_id":1},'
            '{"image_id":2,"category_id":2,"bbox":[100,50,20,45],"score":0.8,"track_id":5,'
            '"video_id":1},'
            '{"image_id":3,"category_id":1,"bbox":[16,21,30,60],"score":0.7,"track_id":3,'
            '"video_id":1},'
            '{"image_id":3,"category_id":2,"bbox":[104,52,20,45],"score":0.6,"track_id":5,'
            '"video_id":1}]'
        },
        labels=NUMBERS,
    ),
    "tao with images": Dialect(
        "tao",
        {
            "o.json": '[{"image_id":71,"category_id":8,"bbox":[10,20,30,60],"score":0.9,'
            '"track_id":3},'
            '{"image_id":50,"category_id":4,"bbox":[100,50,20,45],"score":0.8,"track_id":5},'
            '{"image_id":60,"category_id":8,"bbox":[16,21,30,60],"score":0.7,"track_id":3},'
            '{"image_id":60,"category_id":4,"bbox":[104,52,20,45],"score":0.6,"track_id":5}]',
            "images.json": '{"images":[{"id":50,"video_id":9,"frame_index":1},'
            '{"id":60,"video_id":9,"frame_index":2},{"id":71,"video_id":9,"frame_index":0}],'
            '"categories":[{"id":4,"name":"pedestrian"},{"id":8,"name":"car"}]}',
        },
        images="images.json",
    ),
    "kitti": Dialect(
        "kitti",
        {
            "0000.txt": "0 -1 DontCare -1 -1 -10.0 1 2 3 4 -1000 -1000 -1000 -10 -1 -1 -1\n"
            "0 3 car 0 0 -1.79 10.0 20.0 40.0 80.0 1.5 1.6 3.9 -4.5 1.8 13.4 -2.1\n"
            "1 5 pedestrian 0 1 -1.79 100.0 50.0 120.0 95.0 1.5 1.6 3.9 -4.5 1.8 13.4 -2.1\n"
            "2 3 car 0 0 -1.79 16.0 21.0 46.0 81.0 1.5 1.6 3.9 -4.5 1.8 13.4 -2.1\n"
            "2 5 pedestrian 2 2 -1.79 104.0 52.0 124.0 97.0 1.5 1.6 3.9 -4.5 1.8 13.4 -2.1\n"
        },
        scores=False,
    ),
    "kitti with scores, of no world": Dialect(
        "kitti",
        {
            "0000.txt": "".join(
                f"{frame} {id_} {label} -1 -1 -10 {x1} {y1} {x2} {y2} "
                f"-1 -1 -1 -1000 -1000 -1000 -10 {score}\n"
                for frame, id_, label, (x1, y1, x2, y2), score in SCENE
            )
        },
    ),
    "mots": Dialect(
        "mots",
        {
            "o.txt": f"1 3 1 200 320 {rle(10, 20, 40, 80)}\n"
            f"2 5 2 200 320 {rle(100, 50, 120, 95)}\n"
            f"3 3 1 200 320 {rle(16, 21, 46, 81)}\n"
            f"3 5 2 200 320 {rle(104, 52, 124, 97)}\n"
        },
        scores=False,
    ),
    "mots of KITTI": Dialect(  # frames from 0
        "mots",
        {
            "o.txt": f"0 3 1 200 320 {rle(10, 20, 40, 80)}\n"
            f"1 5 2 200 320 {rle(100, 50, 120, 95)}\n"
            f"2 3 1 200 320 {rle(16, 21, 46, 81)}\n"
            f"2 5 2 200 320 {rle(104, 52, 124, 97)}\n"
        },
        scores=False,
    ),
    "mot": Dialect(
        "mot",
        {
            "o.txt": "1,3,10,20,30,60,0.9,1,-1,-1\n2,5,100,50,20,45,0.8,2,-1,-1\n"
            "3,3,16,21,30,60,0.7,1,-1,-1\n3,5,104,52,20,45,0.6,2,-1,-1\n"
        },
        labels=NUMBERS,
    ),
    "mot of MOT15": Dialect(  # columns 8 to 10 are a place in the world
        "mot",
        {
            "o.txt": "1,3,10,20,30,60,0.9,-5.33,12.255,0.694\n2,5,100,50,20,45,0.8,3,11,0\n"
            "3,3,16,21,30,60,0.7,4.5,12,0.5\n3,5,104,52,20,45,0.6,-4.9,11.8,0.6\n"
        },
        labels=NAMELESS,
    ),
    "mot of MOT15, whole": Dialect(
        "mot",
        {
            "o.txt": "1,3,10,20,30,60,0.9,3,1,0\n2,5,100,50,20,45,0.8,3,1,0\n"
            "3,3,16,21,30,60,0.7,4,1,0\n3,5,104,52,20,45,0.6,5,1,0\n"
        },
        labels=NAMELESS,
    ),
    "mot of VisDrone": Dialect(  # class, truncation, occlusion
        "mot",
        {
            "o.txt": "1,3,10,20,30,60,0.9,4,0,0\n2,5,100,50,20,45,0.8,1,0,2\n"
            "3,3,16,21,30,60,0.7,4,1,0\n3,5,104,52,20,45,0.6,1,0,1\n"
        },
        labels={CAR: "4", PEDESTRIAN: "1"},
    ),
    "mot of MOT17": Dialect(  # class, visibility
        "mot",
        {
            "o.txt": "1,3,10,20,30,60,1,3,0.5\n2,5,100,50,20,45,1,1,1\n"
            "3,3,16,21,30,60,1,3,0\n3,5,104,52,20,45,1,1,0.25\n"
        },
        labels={CAR: "3", PEDESTRIAN: "1"},
        scores=False,
    ),
    "mot between spaces": Dialect(
        "mot",
        {
            "o.txt": "1 3 10 20 30 60 0.9\n2 5 100 50 20 45 0.8\n"
            "3 3 16 21 30 60 0.7\n3 5 104 52 20 45 0.6\n"
        },
        labels=NAMELESS,
    ),
    "mot with a header": Dialect(
        "mot",
        {
            "o.txt": "frame,id,class,y,x,h,w,conf\n1,3,1,20,10,60,30,0.9\n"
            "2,5,2,50,100,45,20,0.8\n3,3,1,21,16,60,30,0.7\n3,5,2,52,104,45,20,0.6\n"
        },
        labels=NUMBERS,
    ),
    "mot of ids from 0": Dialect(
        "mot",
        {
            "o.txt": "1,0,10,20,30,60,0.9\n2,5,100,50,20,45,0.8\n"
            "3,0,16,21,30,60,0.7\n3,5,104,52,20,45,0.6\n"
        },
        labels=NAMELESS,
        ids={3: 1, 5: 6},
    ),
    "yolo-tracks": Dialect(
        "yolo-tracks",
        {
            "o/": "",
            "o/data.yaml": "names: {0: car, 1: pedestrian}\n",
            "o/labels/v_1.txt": "0 0.078125 0.25 0.09375 0.3 0.9 3\n",
            "o/labels/v_2.txt": "1 0.34375 0.3625 0.0625 0.225 0.8 5\n",
            "o/labels/v_3.txt": "0 0.096875 0.255 0.09375 0.3 0.7 3\n"
            "1 0.35625 0.3725 0.0625 0.225 0.6 5\n",
        },
    ),
    "yolo-tracks of Ultralytics": Dialect(
        "yolo-tracks",
        {
            "labels/": "",
            "labels/v_1.txt": "0 0.078125 0.25 0.09375 0.3 3\n",
            "labels/v_2.txt": "1 0.34375 0.3625 0.0625 0.225 5\n",
            "labels/v_3.txt": "0 0.096875 0.255 0.09375 0.3 3\n1 0.35625 0.3725 0.0625 0.225 5\n",
        },
        labels=FROM_0,
        scores=False,
    ),
    "yolo-tracks of CVAT": Dialect(
        "yolo-tracks",
        {
            "o/": "",
            "o/data.yaml": "names: {0: car, 1: pedestrian}\npath: .\ntrain: train.txt\n",
            "o/labels/train/frame_000000.txt": "0 0.078125 0.25 0.09375 0.3 3\n",
            "o/labels/train/frame_000001.txt": "1 0.34375 0.3625 0.0625 0.225 5\n",
            "o/labels/train/frame_000002.txt": "0 0.096875 0.255 0.09375 0.3 3\n"
            "1 0.35625 0.3725 0.0625 0.225 5\n",
        },
        scores=False,
    ),
}

DETECTIONS = {
    "jsonl": TRACKS["jsonl"],
    "csv": Dialect(
        "csv",
        {
            "d.csv": "frame,x1,y1,x2,y2,score,label\n2,16,21,46,81,0.7,car\n"
            "2,104,52,124,97,0.6,pedestrian\n0,10,20,40,80,0.9,car\n"
            "1,100,50,120,95,0.8,pedestrian\n"
        },
    ),
    "csv that counts from 1": Dialect(
        "csv",
        {
            "d.csv": "frame,x1,y1,x2,y2,score,label\n3,16,21,46,81,0.7,car\n"
            "3,104,52,124,97,0.6,pedestrian\n1,10,20,40,80,0.9,car\n"
            "2,100,50,120,95,0.8,pedestrian\n"
        },
        pictures=PICTURES,
    ),
    **{
        name: TRACKS[name]
        for name in TRACKS
        if name.startswith(("coco", "csv of", "records", "mot "))
    },
    "mot": TRACKS["mot"],
    "coco results": Dialect(
        "coco",
        {
            "d.json": TRACKS["tao with images"].files["o.json"],
            "images.json": TRACKS["tao with images"].files["images.json"],
        },
        images="images.json",
    ),
    "mot of a detector": Dialect(
        "mot",
        {
            "det.txt": "1,-1,10,20,30,60,0.9,-1,-1,-1\n2,-1,100,50,20,45,0.8,-1,-1,-1\n"
            "3,-1,16,21,30,60,0.7,-1,-1,-1\n3,-1,104,52,20,45,0.6,-1,-1,-1\n"
        },
        labels=NAMELESS,
    ),
    "mot of a late folder": Dialect(
        "mot",
        {
            "det.txt": "372,-1,10,20,30,60,0.9\n373,-1,100,50,20,45,0.8\n"
            "380,-1,16,21,30,60,0.7\n380,-1,104,52,20,45,0.6\n"
        },
        labels=NAMELESS,
        pictures=("000372.jpg", "000373.jpg", "000380.jpg"),
    ),
}


def expected(dialect, *, with_ids=True):
    return [
        (
            frame,
            dialect.ids[id_] if with_ids else None,
            dialect.labels[label],
            box,
            score if dialect.scores else 1.0,
        )
        for frame, id_, label, box, score in SCENE
    ]


def as_scene(table, boxes, scores, labels, ids):
    rows = zip(
        table.frames.tolist(),
        ids,
        (table.classes[label] for label in labels.tolist()),
        (tuple(box) for box in np.round(boxes.astype(np.float64), 3).tolist()),
        np.round(scores.astype(np.float64), 4).tolist(),
        strict=True,
    )
    return sorted(rows, key=lambda row: (row[0], row[3]))


def check_tracks(path, dialect):
    images = path.parent / dialect.images if dialect.images else None
    table = read_tracks(path, hints=Hints(SIZE, images, dialect.pictures))
    tracks = table.tracks
    columns = (tracks.boxes, tracks.scores, tracks.labels, tracks.ids.tolist())
    assert as_scene(table, *columns) == expected(dialect)
    assert table.num_frames == 3
    assert table.size == SIZE
    assert (table.times is not None) == dialect.times
    if table.times is not None:
        assert np.allclose(table.times.at(np.arange(3)), TIMES)


@pytest.mark.parametrize("name", TRACKS)
def test_tracks_are_read_alike(tmp_path: Path, name: str):
    path = TRACKS[name].write(tmp_path)
    assert recognise(path) == TRACKS[name].format
    check_tracks(path, TRACKS[name])


def test_tracks_of_parquet_are_read_alike(tmp_path: Path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = zip(*(line.split(",") for line in CSV_BODY.splitlines()), strict=True)
    frame, time, id_, x1, y1, x2, y2, score, label, _ = columns
    table = arrow.table(
        {
            "class_name": label,
            **{name: [*map(float, each)] for name, each in zip("ab", (x1, y1), strict=True)},
            "frame": [*map(int, frame)],
            "time": [*map(float, time)],
            "track_id": [*map(int, id_)],
            **{
                name: [*map(float, each)]
                for name, each in zip(("x1", "y1", "x2", "y2"), (x1, y1, x2, y2), strict=True)
            },
            "score": [*map(float, score)],
        }
    )
    path = tmp_path / "o.parquet"
    parquet.write_table(table, str(path))
    assert recognise(path) == "parquet"
    check_tracks(path, Dialect("parquet", {}, times=True))


@pytest.mark.parametrize("name", DETECTIONS)
def test_detections_are_read_alike(tmp_path: Path, name: str):
    dialect = DETECTIONS[name]
    path = dialect.write(tmp_path)
    images = tmp_path / dialect.images if dialect.images else None
    table = read_detections(path, images=images, pictures=dialect.pictures)
    columns = (table.boxes, table.scores, table.labels, [None] * len(table))
    assert as_scene(table, *columns) == expected(dialect, with_ids=False)


def test_every_format_is_among_them():
    read = {name for name, row in FORMATS.items() if row.read}
    assert {dialect.format for dialect in TRACKS.values()} | {"parquet"} == read
    assert {dialect.format for dialect in DETECTIONS.values()} == set(DETECTION_FORMATS)
