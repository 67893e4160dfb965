"""Options that commands share, declared once: how is tracked, and what is written.

Those of frames are in `source_options`, those of boxes in `box_options`. None imports what its
options control.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from masa_cli.formats import DetectionFormat

AssociationName = Literal["hybrid", "masa-demo", "masa-benchmark", "masa-bdd", "motion"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["float32", "bfloat16", "float16"]
PreparationName = Literal["demo", "tao", "bdd"]

Jobs = Annotated[
    int,
    typer.Option(
        "--jobs",
        min=0,
        help="Of several videos, so many at a time (with --engine ray: at most; 0 for no limit).",
    ),
]
EngineName = Annotated[
    Literal["local", "ray"],
    typer.Option(
        "--engine",
        help="Where several videos are tracked: on this machine, or on a Ray cluster, where all "
        "machines see the files under the same paths.",
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="Folder for the results (default: one named after the source, here).",
        show_default=False,
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace results that exist already.")]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume", help="Go on with an interrupted run, as if it had never been interrupted."
    ),
]
Video = Annotated[bool, typer.Option("--video/--no-video", help="Write the annotated video.")]
Mot = Annotated[bool, typer.Option("--mot/--no-mot", help="Write MOTChallenge results (.txt).")]
Jsonl = Annotated[bool, typer.Option("--jsonl/--no-jsonl", help="Write tracks.jsonl.")]
JsonlOut = Annotated[
    Literal["-"] | None,
    typer.Option(
        "--jsonl",
        help="With -, also write the line of each frame to standard output as soon as it is "
        "tracked; identities are then those of a live run.",
        show_default=False,
    ),
]
NoJsonl = Annotated[bool, typer.Option("--no-jsonl", help="Do not write tracks.jsonl.")]
Preview = Annotated[
    bool,
    typer.Option(
        "--preview",
        help="Show each frame in a window as soon as it is tracked (q stops); identities are then "
        "those of a live run.",
    ),
]
SaveEmbeddings = Annotated[
    bool,
    typer.Option(
        "--save-embeddings",
        help="Write embeddings.masa: boxes, embeddings (float16) and the camera's motion, for masa "
        "retrack. The run itself tracks by them as they are written.",
    ),
]
Also = Annotated[
    str,
    typer.Option(
        "--also",
        metavar="FORMATS",
        help="Further formats to write, such as tao,coco: tao (TAO results), coco (COCO with "
        "videos and track ids), bdd (BDD100K, scalabel), cvat (CVAT for video 1.1), csv, parquet, "
        "yolo (labels to train with, no identities), yolo-tracks (with score and id); of masks "
        "also mots (MOTS text) and ytvis (YouTube-VIS).",
        show_default=False,
    ),
]
MotClasses = Annotated[
    bool,
    typer.Option(
        "--mot-classes",
        help="Put the number of the class, from 1, into column 8 of the MOTChallenge results.",
    ),
]
Adapter = Annotated[
    str | None,
    typer.Option(
        "--adapter",
        metavar="NAME|FILE",
        help="What gives boxes the embeddings that are compared. raw: an ImageNet backbone as it "
        "is. lite: the same, whitened, in the look of the detector lite. r50, gdino, detic, sam-b, "
        "sam-h: MASA's own, with their published weights. Or the file of such weights, wherever it "
        "is.",
        show_default="that of the detector, raw for --dets",
    ),
]
Preparation = Annotated[
    PreparationName,
    typer.Option(
        "--preparation",
        help="How frames are resized and padded for MASA's own adapters: as in its demo, or as in "
        "its configurations for TAO or BDD100K.",
    ),
]
ImageSide = Annotated[
    int | None,
    typer.Option(
        "--imgsz",
        min=64,
        metavar="PIXELS",
        help="Fit the longer side of frames to so many pixels before networks look at them: more "
        "shows smaller objects, and takes longer.",
        show_default="640 for lite, as published for the others",
    ),
]
Association = Annotated[
    AssociationName | None,
    typer.Option(
        "--association",
        help="How boxes are joined over time: by motion and appearance together; by appearance "
        "alone, with MASA's own settings for its demo, for TAO, for BDD; or by motion alone (no "
        "pictures needed).",
        show_default="hybrid, or motion without pictures",
    ),
]
AppearanceAssociation = Annotated[
    Literal["hybrid", "masa-demo", "masa-benchmark", "masa-bdd"],
    typer.Option(
        "--association",
        help="How objects are joined over time: by motion and appearance together, or by "
        "appearance alone, with MASA's own settings.",
    ),
]
Changes = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Change one setting of the association; may be repeated. A wrong name lists all.",
        show_default=False,
    ),
]
BatchSize = Annotated[
    int, typer.Option("--batch-size", min=1, help="Frames per forward pass of the network.")
]
DeviceName = Annotated[Device, typer.Option("--device", help="Where the network runs.")]
PrecisionName = Annotated[Precision, typer.Option("--precision", help="Numbers it computes with.")]
Masks = Annotated[
    bool,
    typer.Option(
        "--masks",
        help="Find the pixels of each object as well: drawn into the video, and in tracks.jsonl.",
    ),
]
SegmenterName = Annotated[
    str | None,
    typer.Option(
        "--segmenter",
        metavar="NAME|FILE",
        help="What finds masks, prompted with the boxes: lite (a small network, comes with masa), "
        "grabcut (by colours alone), sam-vit-b, sam-vit-l, sam-vit-h (Segment Anything as "
        "published), sam-b, sam-h (as it is inside MASA's files), or the file of one of these.",
        show_default="auto: Segment Anything where its weights are here, else lite",
    ),
]
Tighten = Annotated[bool, typer.Option("--tighten", help="Draw boxes closely around their masks.")]
MasksPng = Annotated[
    bool,
    typer.Option(
        "--masks-png",
        help="Write a 16-bit png for each frame: each pixel is the identity it belongs to.",
    ),
]
Relink = Annotated[
    bool,
    typer.Option(
        "--relink/--no-relink",
        help="Look at the whole video a second time: join tracks that were broken or swapped, fill "
        "short gaps by interpolation (marked in all results). For hybrid only; without it, "
        "identities are those of a live run. Its settings: --set relink.NAME=VALUE.",
    ),
]
CleanUp = Annotated[
    bool,
    typer.Option(
        "--clean-up/--no-clean-up",
        help="Clean up the whole video afterwards, as MASA's demo does: drop giant boxes, smooth "
        "the others over 5 frames, average scores. Holds all boxes in memory.",
    ),
]
Trails = Annotated[
    int,
    typer.Option("--trails", min=0, metavar="FRAMES", help="Draw the path of the last frames."),
]
Names = Annotated[bool, typer.Option("--names/--no-names", help="Draw the names of classes.")]
Scores = Annotated[bool, typer.Option("--scores/--no-scores", help="Draw scores.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress and no table; warnings and errors only.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the summary as JSON, for machines.")]
WeightsDir = Annotated[
    Path | None,
    typer.Option(
        "--weights-dir",
        help="Folder of weights: looked in first, written into (default: MASA_WEIGHTS, else the "
        "caches of masa and of the Hugging Face hub).",
        show_default=False,
    ),
]


Dets = Annotated[
    Path | None,
    typer.Option(
        "--dets",
        help="The boxes to track, in any of the formats described below. Either this or --prompt. "
        "For several videos: a folder, or a pattern such as dets/{name}.txt.",
        show_default=False,
    ),
]
DetsFormat = Annotated[
    DetectionFormat,
    typer.Option("--dets-format", help="Format of the detections, if it is not recognised."),
]
DetsImages = Annotated[
    Path | None,
    typer.Option(
        "--dets-images",
        help="For COCO results: a JSON file whose images tell the frame of each image_id.",
        show_default=False,
    ),
]
Prompt = Annotated[
    str | None,
    typer.Option(
        "--prompt",
        help="The objects to find and track, in words: phrases separated by commas or dots, each a "
        'class, perhaps with its own least score: "car, person on a bike:0.4".',
        show_default=False,
    ),
]
PromptFile = Annotated[
    Path | None,
    typer.Option(
        "--prompt-file",
        help="A text file with the prompt; a new line also begins a new phrase.",
        show_default=False,
    ),
]
DetectorName = Annotated[
    str,
    typer.Option(
        "--detector",
        metavar="NAME|FILE",
        help="What finds the objects of a prompt. gdino: Grounding-DINO as it is inside "
        "gdino_masa.pth, whose features the adapter gdino shares; gdino-swinb, gdino-swint: as its "
        "authors published it; lite: 80 classes, small and quick; a file that masa train run "
        "--recipe lite-detector wrote; auto: gdino where its weights and an accelerator are, or "
        "where its weights are and lite lacks a word; else lite.",
    ),
]
MinScore = Annotated[
    float | None,
    typer.Option(
        "--min-score",
        help="Ignore detections below this score (default: 0.1 for a prompt; 0 with a masa-... "
        "association, as in the official code; none for a file).",
        show_default=False,
    ),
]
Classes = Annotated[
    str,
    typer.Option(
        "--classes",
        metavar="NAMES",
        help="Track only these classes of the detections, each perhaps with a least score: "
        "car,person:0.6.",
        show_default=False,
    ),
]
Roi = Annotated[
    Path | None,
    typer.Option(
        "--roi",
        help="Track only boxes inside the polygons of this JSON file: [[x,y],[x,y],[x,y]], a list "
        "of such lists, or GeoJSON; pixels.",
        show_default=False,
    ),
]
Ignore = Annotated[
    Path | None,
    typer.Option(
        "--ignore",
        help="Leave out boxes inside the polygons of this JSON file.",
        show_default=False,
    ),
]
RegionBy = Annotated[
    Literal["centre", "foot", "overlap"],
    typer.Option(
        "--region-by",
        help="When a box is inside a region: if its centre is, the middle of its lower edge, or "
        "more than half of it.",
    ),
]
MinArea = Annotated[
    float, typer.Option("--min-area", min=0, help="Leave out boxes of less area, square pixels.")
]
MinTrackLength = Annotated[
    int,
    typer.Option(
        "--min-track-length",
        min=1,
        metavar="FRAMES",
        help="Leave out identities that are seen in fewer frames.",
    ),
]
MaxOverlap = Annotated[
    float | None,
    typer.Option(
        "--max-overlap",
        help="For a prompt: of two boxes with a greater IoU, ignore the weaker (default: 0.5 for "
        "lite, of one phrase; 0.7 for Grounding-DINO, of whatever phrase; 1 with a masa-... "
        "association, as in the official code).",
        show_default=False,
    ),
]


Sources = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[SOURCE]...",
        help="Video files, folders of images, or patterns of them; or one of: - for video on "
        "standard input (raw pictures: --video-size), the number of a camera, an address (rtsp://, "
        "http:// and the like). Without any, the frames are looked for beside the detections, "
        "where MOTChallenge has them (<sequence>/img1 for <sequence>/det/det.txt); if there are "
        "none, boxes are tracked by motion alone.",
        show_default=False,
    ),
]
FrameRate = Annotated[
    str | None,
    typer.Option(
        "--fps",
        help="Frames per second of a folder of images or of raw pictures, such as 25 or 30000/1001 "
        "(default: from seqinfo.ini, else 30).",
        show_default=False,
    ),
]
VideoSize = Annotated[
    str | None,
    typer.Option(
        "--video-size",
        metavar="WxH",
        help="Standard input is raw pictures of this size in pixels, such as 640x480, one after "
        "the other, as ffmpeg -f rawvideo writes them.",
        show_default=False,
    ),
]
PixelFormatName = Annotated[
    str | None,
    typer.Option(
        "--pixel-format",
        metavar="NAME",
        help="How raw pictures are laid out, by FFmpeg's names (its -pix_fmt): bgr24, rgba, gray, "
        "yuv420p, nv12 and others; a wrong name lists all.",
        show_default="rgb24",
    ),
]
Start = Annotated[
    str | None,
    typer.Option(
        "--start",
        metavar="TIME",
        help="Begin here: seconds, or 1:30, or 0:01:30.5. Frames and times of the results count "
        "from there.",
        show_default=False,
    ),
]
End = Annotated[
    str | None,
    typer.Option("--end", metavar="TIME", help="End before this time.", show_default=False),
]
Every = Annotated[int, typer.Option("--every", min=1, help="Take only every so many frames.")]
Reconnect = Annotated[
    float,
    typer.Option(
        "--reconnect",
        min=0,
        metavar="SECONDS",
        help="How long a lost connection of a stream is tried to be made again, first after 1 "
        "second, then twice as long each time.",
    ),
]
