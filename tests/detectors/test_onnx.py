"""Exported detectors: what each layout means, found in files that find a bright rectangle."""

import importlib
import os
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from onnx import TensorProto, helper
from PIL import Image

import masa_cli
from masa_cli.detectors import ModelOptions
from masa_cli.detectors.onnx_decoding import Context
from masa_cli.detectors.onnx_layouts import LAYOUTS
from masa_cli.detectors.prompt import parse_prompt
from masa_cli.detectors.request import request_prompt
from masa_cli.errors import SettingsError, WeightsError
from masa_cli.models import SharedNetworks
from masa_cli.structures import Frame
from tests.onnx_files import NUM_ROWS, ULTRALYTICS, Graph, cells, one_hot, yolov8

BOX = (40, 30, 120, 90)  # of the bright rectangle, xyxy in a source of 200 x 120
NAMES = ("cat", "person", "van")
IMAGENET = {"threshold": 0.0}  # half the brightness


def frame(box=BOX, size=(120, 200), index=0):
    image = np.zeros((*size, 3), np.uint8)
    image[box[1] : box[3], box[0] : box[2]] = 255
    return Frame(index, Fraction(index, 25), image)


def request(file, prompt=None, *, settings=None, **options):
    wanted = parse_prompt(prompt) if prompt else None
    return request_prompt(wanted, str(file), settings, options=ModelOptions(**options))


def detector(*arguments, side=None, **options):
    return request(*arguments, **options).build(SharedNetworks(side=side))


def yolov5(file, **how):
    graph = Graph(**how)
    head = graph.rows(graph.row(graph.xywh(), [0.95, *one_hot(1, 3)]), 3 * cells(graph.size))
    return graph.save(file, {"output0": head})


def yolox(file, **how):
    graph = Graph(threshold=127, **how)
    head = graph.rows(graph.row(graph.xywh(), [0.95, *one_hot(1, 3)]), cells(graph.size))
    return graph.save(file, {"output": head})


def yolov6(file, **how):
    graph = Graph(**how)
    head = graph.rows(graph.row(graph.xywh(), [1.0, *one_hot(1, 3)]), cells(graph.size))
    return graph.save(file, {"outputs": head})


def end2end(file, **how):
    graph = Graph(**how)
    return graph.save(file, {"output0": graph.rows(graph.row(graph.xyxy(), [0.9, 1.0]), 300)})


def nas(file, **how):
    graph = Graph(**how)
    boxes = graph.rows(graph.row(graph.xyxy()), cells(graph.size), fill=1.0)
    scores = graph.rows(
        graph.row(graph._of_batch(one_hot(1, 3), boxes_of(graph))), cells(graph.size)
    )
    return graph.save(file, {"904": boxes, "913": scores})


def boxes_of(graph):
    return graph.xyxy()


def lists(graph, box, shape=(0, -1), label=1.0):
    """Boxes, scores and labels, as often as NUM_ROWS; all but one of score 0."""
    boxes = graph.rows(graph.row(box))
    scores = graph.rows(graph.row(graph._of_batch([0.9], box)))
    labels = graph.rows(graph.row(graph._of_batch([label], box)))
    flat = graph.number(shape, np.int64)
    return boxes, *(graph.add("Reshape", each, flat) for each in (scores, labels))


def nas_batch(file, **how):
    graph = Graph(kind="uint8", threshold=127, **how)
    boxes, scores, labels = lists(graph, graph.xyxy())
    count = graph.number([[1]], np.int64)
    names = ("num_predictions", "pred_boxes", "pred_scores", "pred_classes")
    outputs = {f"graph2_{n}": v for n, v in zip(names, (count, boxes, scores, labels), strict=True)}
    return graph.save(file, outputs, integers=("graph2_num_predictions", "graph2_pred_classes"))


def nas_flat(file, **how):
    graph = Graph(kind="uint8", threshold=127, **how)
    row = graph.row(graph.xyxy(), [0.9, 1.0], before=([0.0],))
    flat = graph.add("Reshape", row, graph.number([-1, 7], np.int64))
    return graph.save(file, {"graph2_flat_predictions": flat})


def yolov7_flat(file, **how):
    graph = Graph(**how)
    row = graph.row(graph.xyxy(), [1.0, 0.9], before=([0.0],))
    flat = graph.add("Reshape", row, graph.number([-1, 7], np.int64))
    return graph.save(file, {"output": flat})


def tensorrt(file, **how):
    graph = Graph(**how)
    boxes, scores, labels = lists(graph, graph.xyxy())
    outputs = {"num_dets": graph.number([[1]], np.int64), "det_boxes": boxes}
    outputs |= {"det_scores": scores, "det_classes": labels}
    return graph.save(file, outputs, integers=("num_dets", "det_classes"))


def rtdetr(file, **how):
    graph = Graph(**how)
    sizes = helper.make_tensor_value_info("orig_target_sizes", TensorProto.INT64, ["n", 2])
    size = graph.add("Cast", "orig_target_sizes", to=1)
    boxes = graph.add("Mul", graph.xyxy(unit=True), graph.add("Concat", size, size, axis=1))
    boxes, scores, labels = lists(graph, boxes)
    outputs = {"labels": labels, "boxes": boxes, "scores": scores}
    return graph.save(file, outputs, further=[sizes], integers=("labels",))


def detr_kind(file, names, logits, **how):
    graph = Graph(**how)
    boxes = graph.rows(graph.row(graph.xywh(unit=True)))
    row = graph.row(graph._of_batch(logits, graph.xyxy()))
    rows = graph.rows(row, fill=-9.0) if len(logits) != 4 else _none(graph, row)
    return graph.save(file, {names[0]: boxes, names[1]: rows})


def _none(graph, row):
    """Other queries say that there is nothing."""
    flat = graph.add("Mul", row, graph.number(0))
    other = graph.add("Add", flat, graph.number([0.0, 0, 0, 9]))
    parts = [row if index == 3 else other for index in range(NUM_ROWS)]
    return graph.add("Concat", *parts, axis=1)


def ultralytics_rtdetr(file, **how):
    graph = Graph(**how)
    rows = graph.rows(graph.row(graph.xywh(unit=True), one_hot(1, 3)), 300)
    return graph.save(file, {"output0": rows}, metadata=ULTRALYTICS)


def torchvision(file, **how):
    graph = Graph(has_batch=False, **how)
    boxes, scores, labels = lists(graph, graph.xyxy(), shape=(-1,))
    boxes = graph.add("Reshape", boxes, graph.number([-1, 4], np.int64))
    outputs = {"boxes": boxes, "labels": labels, "scores": scores}
    return graph.save(file, outputs, integers=("labels",))


def anonymous_ssd(file, **how):
    """As an old exporter names outputs: by numbers."""
    graph = Graph(**how)
    boxes, scores, labels = lists(graph, graph.xyxy(unit=True))
    return graph.save(file, {"1001": boxes, "1002": labels, "1003": scores}, integers=("1002",))


def tensorflow(file, **how):
    graph = Graph(kind="uint8", channels_last=True, threshold=127, **how)
    turned = np.eye(4)[[1, 0, 3, 2]]
    box = graph.add("MatMul", graph.xyxy(unit=True), graph.number(turned))
    boxes, scores, labels = lists(graph, box, label=2.0)  # from 1
    names = ("detection_boxes", "detection_scores", "detection_classes", "num_detections")
    values = (boxes, scores, labels, graph.number([1.0]))
    return graph.save(file, dict(zip(names, values, strict=True)))


def caffe(file, **how):
    graph = Graph(threshold=127, **how)
    rows = graph.rows(graph.row(graph.xyxy(unit=True), before=([0.0, 1.0, 0.9],)))
    return graph.save(file, {"detection_out": graph.add("Unsqueeze", rows, axes=[1])})


def mmdeploy(file, **how):
    graph = Graph(**IMAGENET, **how)
    rows = graph.rows(graph.row(graph.xyxy(), [0.9]))
    labels = graph.rows(graph.row(graph._of_batch([1.0], graph.xyxy())))
    labels = graph.add("Reshape", labels, graph.number([0, -1], np.int64))
    return graph.save(file, {"dets": rows, "labels": labels}, integers=("labels",))


FILES = {
    "yolov8": yolov8,
    "yolov5": yolov5,
    "yolox": yolox,
    "yolov6": yolov6,
    "yolo-end2end": end2end,
    "yolo-nas": nas,
    "yolo-nas-batch": nas_batch,
    "yolo-nas-flat": nas_flat,
    "yolov7-flat": yolov7_flat,
    "yolo-batch": tensorrt,
    "rt-detr": rtdetr,
    "rt-detr-logits": partial(detr_kind, names=("pred_boxes", "logits"), logits=[-9.0, 2.2, -9.0]),
    "detr": partial(
        detr_kind, names=("pred_boxes", "logits"), logits=[0.0, 9.0, 0.0, 0.0], **IMAGENET
    ),
    "rf-detr": partial(detr_kind, names=("dets", "labels"), logits=[-9.0, 2.2, -9.0], **IMAGENET),
    "rt-detr-ultralytics": ultralytics_rtdetr,
    "ssd": torchvision,
    "ssd-tensorflow": tensorflow,
    "ssd-openvino": caffe,
    "mmdeploy": mmdeploy,
}


@pytest.fixture
def names(tmp_path):
    file = tmp_path / "names.txt"
    file.write_text("".join(f"{name}\n" for name in NAMES))
    return file


@pytest.mark.parametrize("size", [(160, 160), (96, 192), (128, 224)], ids=str)
@pytest.mark.parametrize("layout", FILES)
def test_each_layout_is_recognised_and_gives_the_box_to_half_a_pixel(
    layout, size, tmp_path, names, caplog
):
    caplog.set_level("INFO", "masa_cli")
    file = FILES[layout](tmp_path / "net.onnx", size=size)
    found = detector(file, names=names).detect([frame()])[0]
    assert f"net.onnx: {layout}, as its outputs tell; 3 classes" in caplog.text
    # An input pixel is bright from half its brightness on: half of one is what an edge is off by;
    # as much is it by the ratio, which families take for exact though sides are whole pixels.
    scale = min(size[0] / 120, size[1] / 200)
    assert len(found) == 1
    assert np.abs(found.boxes[0] - BOX).max() <= 0.5 / scale + 0.5
    assert found.labels.tolist() == [1]
    assert found.scores[0] == pytest.approx(0.9, abs=0.1)


@pytest.mark.parametrize("layout", sorted(FILES.keys() - {"yolo-nas-batch", "yolo-nas-flat"}))
def test_a_network_of_half_precision_finds_the_same(layout, tmp_path, names):
    if layout == "ssd-tensorflow":
        pytest.skip("it takes whole numbers")
    file = FILES[layout](tmp_path / "net.onnx", kind="float16")
    found = detector(file, names=names).detect([frame()])[0]
    assert np.abs(found.boxes[0] - BOX).max() < 1.1


@pytest.mark.parametrize("layout", ["yolov8", "yolov5", "yolo-end2end", "rt-detr", "yolo-nas"])
@pytest.mark.parametrize("batch", [1, 3, None])
def test_frames_come_back_in_their_order_whatever_the_batch(layout, batch, tmp_path, names):
    file = FILES[layout](tmp_path / "net.onnx", batch=batch)
    boxes = [(40 + 8 * i, 30, 120 + 8 * i, 90) for i in range(5)]
    frames = [frame(box, index=index) for index, box in enumerate(boxes)]
    frames.insert(2, frame((10, 10, 50, 50), size=(90, 150), index=9))
    found = detector(file, names=names).detect(frames)
    for one, box in zip(found, [*boxes[:2], (10, 10, 50, 50), *boxes[2:]], strict=True):
        assert np.abs(one.boxes[0] - box).max() < 1.1


def test_an_input_of_any_size_is_as_large_as_the_frame_needs(tmp_path, caplog):
    caplog.set_level("INFO", "masa_cli")
    graph = Graph(fixed=False, batch=None)
    row = graph.row(graph.xyxy(), [0.9, 1.0])
    file = graph.save(
        tmp_path / "net.onnx",
        {"output0": graph.rows(row, 300)},
        metadata=ULTRALYTICS | {"imgsz": "[256, 256]", "args": "{'nms': True}"},
    )
    made = detector(file)
    assert "of any size, here 256 x 256" in caplog.text
    assert made._size_for(frame()) == (160, 256)
    assert np.abs(made.detect([frame()])[0].boxes[0] - BOX).max() < 0.7
    larger = detector(file, side=400)
    assert larger._size_for(frame()) == (256, 416)
    assert np.abs(larger.detect([frame()])[0].boxes[0] - BOX).max() < 0.5


def test_another_size_than_a_fixed_one_is_refused(tmp_path):
    file = yolov8(tmp_path / "net.onnx", metadata=ULTRALYTICS)
    with pytest.raises(SettingsError, match=r"--imgsz 320: the input of net.onnx is fixed at 160"):
        detector(file, side=320)


def test_names_of_the_file_are_matched_with_the_prompt(tmp_path):
    file = yolov8(tmp_path / "net.onnx", metadata=ULTRALYTICS)
    assert request(file).classes == NAMES
    wanted = request(file, "pedestrians:0.95, vehicles, kitten")
    assert wanted.classes == ("pedestrians", "vehicles", "kitten")
    assert wanted.queries[-1].meanings == ((1,), (2,), (0,))
    found = wanted.build(SharedNetworks()).detect([frame()])[0]
    assert len(found) == 0  # 0.9 is not enough
    found = detector(file, "cat, people").detect([frame()])[0]
    assert found.labels.tolist() == [1]
    with pytest.raises(SettingsError, match=r'net.onnx does not know "unicorn"') as caught:
        request(file, "cat, unicorn")
    assert caught.value.fix.endswith("cat, person, van")


def test_a_wrong_number_of_names_is_told(tmp_path, names):
    file = yolov8(tmp_path / "net.onnx", classes=5)
    with pytest.raises(SettingsError, match=r"net.onnx has 5 classes, but there are 3 names"):
        request(file, names=names)
    file = yolov8(tmp_path / "own.onnx", metadata=ULTRALYTICS | {"names": "{0: 'a', 1: 'b'}"})
    with pytest.raises(SettingsError, match=r"own.onnx has 2 classes, but there are 3 names"):
        request(file, names=names)


def test_classes_without_names_are_coco_s_or_numbered(tmp_path, caplog):
    assert request(yolov8(tmp_path / "coco.onnx", classes=80), "car").queries[-1].meanings == (
        (2,),
    )
    assert "taken for COCO's" in caplog.text
    assert request(yolov8(tmp_path / "own.onnx", classes=5)).classes[4] == "class 4"
    assert "does not name its 5 classes" in caplog.text
    assert request(yolov8(tmp_path / "one.onnx", classes=1)).classes == ("object",)


def test_a_label_beyond_the_names_is_an_error(tmp_path, names):
    graph = Graph()
    row = graph.row(graph.xyxy(), [0.9, 7.0])
    file = graph.save(tmp_path / "net.onnx", {"output0": graph.rows(row, 300)})
    with pytest.raises(WeightsError, match="class number 7, but has names for 3 classes"):
        detector(file, names=names).detect([frame()])


def test_scores_that_cannot_be_tell_of_a_wrong_layout(tmp_path, names):
    file = yolov7_flat(tmp_path / "net.onnx")
    wrong = detector(file, names=names, layout="yolo-nas-flat")
    with pytest.raises(WeightsError, match="no scores up to 1 with whole numbers") as caught:
        wrong.detect([frame()])
    assert "--onnx-layout" in caught.value.fix


def test_what_is_no_known_detector_is_told_with_its_shapes(tmp_path, names):
    graph = Graph()
    file = graph.save(tmp_path / "net.onnx", {"logits": graph.row(graph.xyxy(), [0.0] * 996)})
    with pytest.raises(WeightsError, match=r"known layout: logits \(1, 1, 1000\)") as caught:
        request(file, names=names)
    assert "--onnx-layout" in caught.value.fix
    for forced in ("gfl", "fastestdet", "ssd"):
        with pytest.raises(WeightsError, match=f"does not fit the layout {forced}"):
            request(file, names=names, layout=forced)
    with pytest.raises(SettingsError, match='unknown layout "yolo"'):
        request(file, layout="yolo")


def test_what_is_no_file_of_onnx_is_told(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"something else")
    with pytest.raises(WeightsError, match=r"net.onnx cannot be read"):
        request(tmp_path / "net.onnx")
    with pytest.raises(WeightsError, match=r"other.onnx is not a file"):
        request(tmp_path / "other.onnx")
    with pytest.raises(SettingsError, match="only by the program that wrote it"):
        request(tmp_path / "net.pt")
    file = yolov8(tmp_path / "turned.onnx", metadata=ULTRALYTICS | {"task": "obb"})
    with pytest.raises(WeightsError, match='for the task "obb"'):
        request(file)


def test_boxes_of_masks_and_of_points_are_found(tmp_path):
    graph = Graph()
    row = graph.row(graph.xywh(), [*one_hot(1, 3), *[7.0] * 32])
    head = graph.add("Transpose", graph.rows(row, cells(graph.size)), perm=[0, 2, 1])
    masks = graph.number(np.zeros((1, 32, 40, 40)))
    about = ULTRALYTICS | {"task": "segment"}
    file = graph.save(tmp_path / "seg.onnx", {"output0": head, "output1": masks}, metadata=about)
    assert np.abs(detector(file).detect([frame()])[0].boxes[0] - BOX).max() < 1.1
    graph = Graph()
    row = graph.row(graph.xywh(), [0.9, *[7.0] * 51])
    head = graph.add("Transpose", graph.rows(row, cells(graph.size)), perm=[0, 2, 1])
    about = {"task": "pose", "kpt_shape": "[17, 3]", "names": "{0: 'person'}"}
    file = graph.save(tmp_path / "pose.onnx", {"output0": head}, metadata=about)
    assert len(detector(file, "person").detect([frame()])[0]) == 1


def test_numbered_outputs_are_told_apart_by_their_kinds(tmp_path, names):
    file = anonymous_ssd(tmp_path / "net.onnx")
    found = detector(file, names=names).detect([frame()])[0]
    assert np.abs(found.boxes[0] - BOX).max() < 1.1


def test_a_one_class_yolov5_is_no_list_of_finished_boxes(tmp_path):
    graph = Graph()
    head = graph.rows(graph.row(graph.xywh(), [0.9, 0.9]), 3 * cells(graph.size))
    file = graph.save(tmp_path / "net.onnx", {"output0": head})
    found = detector(file).detect([frame()])[0]
    assert np.abs(found.boxes[0] - BOX).max() < 1.1
    assert found.scores[0] == pytest.approx(0.81)


def decode(layout, *outputs, size=(64, 64), classes=2, further=0):
    about = Context(size, classes, further, 0.1)
    return LAYOUTS[layout].decode([np.array(each, np.float32) for each in outputs], about)


def test_a_yolox_that_is_not_decoded_counts_from_its_cell():
    head = np.zeros((cells((64, 64)), 7))
    # The second cell of the second row at stride 8; and the last one, at stride 32.
    head[9] = [0.5, 0.25, np.log(2), np.log(4), 0.8, 0.1, 1]
    head[-1] = [0, 0, 0, np.log(0.5), 1, 1, 0]
    boxes, scores, labels = decode("yolox", head)
    assert boxes.tolist() == pytest.approx(np.array([[4, -6, 20, 26], [16, 24, 48, 40]]))
    assert scores.tolist() == pytest.approx([0.8, 1])
    assert labels.tolist() == [1, 0]


def test_distances_of_a_nanodet_go_out_from_between_the_pixels():
    maps = [np.zeros((n * n, 2)) for n in (8, 4, 2)]
    bins = [np.zeros((n * n, 4, 8)) for n in (8, 4, 2)]
    maps[1][5] = [0.2, 0.7]  # second row and column at stride 16: 16 + 7.5
    bins[1][5, :, 1] = 50  # a distance of one stride
    boxes, scores, labels = decode("gfl", *maps, *(each.reshape(-1, 32) for each in bins))
    assert boxes.tolist() == pytest.approx(np.array([[7.5, 7.5, 39.5, 39.5]]))
    assert (scores.tolist(), labels.tolist()) == (pytest.approx([0.7]), [1])


def test_of_a_yolov5_no_product_below_the_threshold_stays():
    rows = [[10, 10, 4, 4, 0.3, 0.3, 0.2], [10, 10, 4, 8, 0.9, 0.2, 0.5]]
    boxes, scores, labels = decode("yolov5", rows)
    assert boxes.tolist() == [[8, 6, 12, 14]]
    assert (scores.tolist(), labels.tolist()) == (pytest.approx([0.45]), [1])


def test_an_input_that_leaves_even_its_channels_open_is_an_image(tmp_path, names):
    """As Optimum exports models of transformers, with outputs that nobody needs here."""
    graph = Graph()
    shape = ["batch", "channels", "height", "width"]
    graph.inputs = [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)]
    boxes = graph.rows(graph.row(graph.xywh(unit=True)))
    logits = graph.rows(graph.row(graph._of_batch([-9.0, 2.2, -9.0], graph.xyxy())), fill=-9.0)
    outputs = {"logits": logits, "pred_boxes": boxes}
    outputs |= {"last_hidden_state": graph.number(np.zeros((1, 40, 16)))}
    file = graph.save(tmp_path / "net.onnx", outputs)
    made = detector(file, names=names, side=160)
    assert made._graph.layout.name == "rt-detr-logits"
    assert np.abs(made.detect([frame()])[0].boxes[0] - BOX).max() < 1.1


def test_what_fills_a_list_up_is_no_box(tmp_path, names):
    graph = Graph()
    row = graph.row(graph.xyxy(), [0.9, 1.0])
    file = graph.save(tmp_path / "net.onnx", {"output0": graph.rows(row, 300, fill=-1.0)})
    found = detector(file, names=names, settings={"min_score": 0.0}).detect([frame()])[0]
    assert len(found) == 1


def test_rows_without_a_batch_and_raw_heads_beside_the_decoded_are_known(tmp_path, names):
    graph = Graph()
    row = graph.row(graph.xyxy(), [0.9, 1.0])
    flat = graph.add("Reshape", row, graph.number([-1, 6], np.int64))
    file = graph.save(tmp_path / "flat.onnx", {"boxes": flat})
    assert np.abs(detector(file, names=names).detect([frame()])[0].boxes[0] - BOX).max() < 1.1
    graph = Graph()
    head = graph.rows(graph.row(graph.xywh(), [0.95, *one_hot(1, 3)]), 3 * cells(graph.size))
    raw = graph.number(np.zeros((1, 3, 20, 20, 8)))
    file = graph.save(tmp_path / "old.onnx", {"output": head, "345": raw, "403": raw})
    made = detector(file, names=names)
    assert made._graph.layout.name == "yolov5"
    assert np.abs(made.detect([frame()])[0].boxes[0] - BOX).max() < 1.1


PUBLISHED = {
    "yolox_nano_416x416.onnx": "yolox_nano",
    "picodet_s_416_coco.onnx": "picodet_s",
    "nanodet_m_416.onnx": "nanodet_m",
    "FastestDet.onnx": "fastestdet",
}


@pytest.mark.parametrize("file", PUBLISHED)
def test_published_files_give_the_boxes_of_their_own_decoders(file, monkeypatch):
    """MASA_TEST_DETECTORS names a folder of these files with their decoders, decode.py."""
    folder = Path(os.environ.get("MASA_TEST_DETECTORS", "none"))
    if not (folder / file).is_file():
        pytest.skip(f"there is no {file}: MASA_TEST_DETECTORS names its folder")
    pytest.importorskip("onnxruntime")
    monkeypatch.syspath_prepend(folder)
    reference = importlib.import_module("decode").load(PUBLISHED[file])
    image = skimage.data.astronaut()
    boxes, scores, labels = reference(image[..., ::-1].copy())
    found = detector(folder / file, settings={"min_score": 0.05}).detect(
        [Frame(0, Fraction(0), image)]
    )[0]
    order = np.argsort(-scores, kind="stable")
    assert len(order)
    assert found.labels.tolist() == labels[order].tolist()
    assert np.abs(found.boxes - boxes[order]).max() < 0.5
    assert np.abs(found.scores - scores[order]).max() < 1e-3


def test_it_is_asked_from_python_too(tmp_path, names):
    file = yolov8(tmp_path / "net.onnx")
    folder = tmp_path / "frames"
    folder.mkdir()
    for index in range(4):
        Image.fromarray(frame(index=index).image).save(folder / f"{index:03}.png")
    asked = masa_cli.track(
        folder, detector=str(file), names=names, tiles="2x1", association="motion"
    )
    last = list(asked)[-1]
    assert last.names == ["person"]
    assert np.abs(last.boxes[0] - BOX).max() < 1.1
