"""Options that commands share, declared once, each under its heading of the help.

Of what they control only the tables are imported, which load nothing heavy: their rows give names
and help. The options of one command alone stand in its module.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from masa_cli import formats
from masa_cli.cli.command import (
    DETECTOR,
    IDENTITY,
    INPUT,
    MASKS,
    OUTPUTS,
    RUNNING,
    WANTED,
    choice,
    further,
    listed,
    option,
    or_auto,
)
from masa_cli.detectors import WORDS, detectors_taking
from masa_cli.formats import detections
from masa_cli.models.variants import VARIANTS
from masa_cli.segmenters import SEGMENTERS
from masa_cli.tracking import DEFAULT, DEFAULT_WITHOUT_IMAGES, PRESET_ENDING, TRACKERS

Device = Literal["auto", "cpu", "cuda", "mps"]
Runtime = Literal["auto", "torch", "openvino"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
PreprocessingName = Literal["demo", "tao", "bdd"]


_DETECTORS = {row.written: row for row in detectors_taking(*WORDS)}


# Input.

Sources = Annotated[
    list[str] | None,
    typer.Argument(
        rich_help_panel=INPUT,
        metavar="SOURCE",
        help="Video files, folders of images, or patterns of them; or - for video on standard "
        "input, the number of a camera, an address (rtsp://, http:// and the like). Without any, "
        "frames are looked for beside the detections, as MOTChallenge has them; if there are "
        "none, boxes are tracked by motion alone.",
    ),
]
Dets = Annotated[
    Path | None,
    option(
        INPUT,
        "--dets",
        help="The boxes to track: MOTChallenge text, CSV, JSON lines or COCO. Either this or "
        "--prompt. For several videos: a folder, or a pattern such as dets/{name}.txt.",
    ),
]
DetsFormat = Annotated[
    str,
    further(
        INPUT,
        "--dets-format",
        help=f"Format of the detections, if it is not recognised: {', '.join(detections.names())}.",
        **choice(or_auto(detections.names)),
    ),
]
DetsImages = Annotated[
    Path | None,
    further(
        INPUT,
        "--dets-images",
        help="For COCO results: a JSON file whose images tell the frame of each image_id.",
    ),
]
FrameRate = Annotated[
    str | None,
    further(
        INPUT,
        "--fps",
        help="Frames per second of a folder of images or of raw frames, such as 25 or 30000/1001; "
        "of a video file, instead of its own times (its sound is left out).",
        show_default="from seqinfo.ini, else 30",
    ),
]
StreamNumber = Annotated[
    int | None,
    further(
        INPUT,
        "--stream",
        min=0,
        metavar="N",
        help="Of a file with several video streams, which one, from 0.",
        show_default="the first",
    ),
]
VideoSize = Annotated[
    str | None,
    further(
        INPUT,
        "--video-size",
        metavar="WxH",
        help="Standard input is raw frames of this size, such as 640x480 (ffmpeg -f rawvideo).",
    ),
]
PixelFormatName = Annotated[
    str | None,
    further(
        INPUT,
        "--pixel-format",
        metavar="NAME",
        help="How raw frames are laid out, by FFmpeg's names (its -pix_fmt): bgr24, rgba, gray, "
        "yuv420p, nv12 and others; a wrong name lists all.",
        show_default="rgb24",
    ),
]
Start = Annotated[
    str | None,
    further(
        INPUT,
        "--start",
        metavar="TIME",
        help="Begin here: seconds, or 1:30, or 0:01:30.5. Frames and times of the results count "
        "from there.",
    ),
]
End = Annotated[str | None, further(INPUT, "--end", metavar="TIME", help="End before this time.")]
Every = Annotated[
    int, further(INPUT, "--every", min=1, help="Take one frame of so many, leave out the others.")
]
Reconnect = Annotated[
    float,
    further(
        INPUT, "--reconnect", min=0, metavar="SECONDS", help="Retry a lost stream for so long."
    ),
]

# What to track.

Prompt = Annotated[
    str | None,
    option(
        WANTED,
        "--prompt",
        help="The objects to detect and track, in words: phrases separated by commas or dots, each "
        'a class, perhaps with its own score threshold: "car, person on a bike:0.4".',
    ),
]
PromptFile = Annotated[
    Path | None,
    further(
        WANTED,
        "--prompt-file",
        help="A text file with the prompt; a new line also begins a new phrase.",
    ),
]
Classes = Annotated[
    str,
    option(
        WANTED,
        "--classes",
        metavar="NAMES",
        help="Track only these classes of the detections, each perhaps with its own score "
        'threshold: car,person:0.6. One that has a comma is in double quotes: "bus, red".',
    ),
]
MinScore = Annotated[
    float | None,
    option(
        WANTED,
        "--min-score",
        help="Ignore detections below this score.",
        show_default="0.1 for a prompt, or 0 with a masa-... association, as in the official "
        "code; none for --dets",
    ),
]
Roi = Annotated[
    Path | None,
    further(
        WANTED,
        "--roi",
        help="Track only boxes inside the polygons of this JSON file: [[x,y],[x,y],[x,y]], a list "
        "of such lists, or GeoJSON; pixels.",
    ),
]
Ignore = Annotated[
    Path | None,
    further(WANTED, "--ignore", help="Leave out boxes inside the polygons of this JSON file."),
]
RegionBy = Annotated[
    Literal["centre", "foot", "overlap"],
    further(
        WANTED,
        "--region-by",
        help="What of a box must be inside: its centre, the middle of its lower edge, or half.",
    ),
]
MinArea = Annotated[
    float,
    further(WANTED, "--min-area", min=0, help="Leave out boxes of less area, square pixels."),
]
MinTrackLength = Annotated[
    int,
    further(
        WANTED,
        "--min-track-length",
        min=1,
        metavar="FRAMES",
        help="Leave out tracks that have boxes in fewer frames.",
    ),
]

# Detector.

DetectorName = Annotated[
    str,
    option(
        DETECTOR,
        "--detector",
        metavar="NAME|FILE",
        help="What detects the objects; one with classes of its own finds all of them without a "
        f"prompt:\n{listed(_DETECTORS)}\nFILE: of weights that masa train run --recipe "
        "lite-detector wrote\nauto: gdino where its weights are and an "
        "accelerator is, or where lite lacks a word; else lite",
    ),
]
MaxOverlap = Annotated[
    float | None,
    further(
        DETECTOR,
        "--max-overlap",
        help="For a prompt: of two boxes with a greater IoU, ignore the weaker.",
        show_default="0.5 for lite, of one phrase; 0.7 for Grounding-DINO, of whatever phrase; 1 "
        "with a masa-... association, as in the official code",
    ),
]
ImageSide = Annotated[
    int | None,
    further(
        DETECTOR,
        "--imgsz",
        min=64,
        metavar="PIXELS",
        help="Longer side of frames for networks: more finds smaller objects, and takes longer.",
        show_default="640 for lite, as published for the others",
    ),
]

# Identity.

Association = Annotated[
    str | None,
    option(
        IDENTITY,
        "--association",
        help=f"How boxes are joined over time:\n{listed(TRACKERS)}\n"
        "FILE: .toml, of settings that masa tune found",
        show_default=f"{DEFAULT}, or {DEFAULT_WITHOUT_IMAGES} without images",
        **choice(lambda: list(TRACKERS), "association", PRESET_ENDING),
    ),
]
Adapter = Annotated[
    str | None,
    further(
        IDENTITY,
        "--adapter",
        metavar="NAME|FILE",
        help="What gives boxes the embeddings that are compared:\n"
        f"{listed(VARIANTS)}\nFILE: of weights of these",
        show_default="that of the detector, raw for --dets",
    ),
]
Preprocessing = Annotated[
    PreprocessingName,
    further(
        IDENTITY,
        "--preprocessing",
        help="How MASA's own adapters resize and pad frames: as its demo, or for TAO or BDD100K.",
    ),
]
Changes = Annotated[
    list[str],
    further(
        IDENTITY,
        "--set",
        metavar="NAME=VALUE",
        help="Change one setting of the association; may be repeated. A wrong name lists all.",
    ),
]
Refine = Annotated[
    bool,
    further(
        IDENTITY,
        "--refine/--no-refine",
        help="Offline refinement over the whole video: link tracks that were broken or swapped, "
        "interpolate short gaps (marked in all results). For hybrid only; without it, identities "
        "are those of a live run. Its settings: --set linking.NAME=VALUE.",
    ),
]
CleanUp = Annotated[
    bool,
    further(
        IDENTITY,
        "--clean-up/--no-clean-up",
        help="Clean up the whole video afterwards, as MASA's demo does: drop giant boxes, smooth "
        "the others over 5 frames, average scores. Holds all boxes in memory.",
    ),
]

# Masks.

Masks = Annotated[
    bool,
    option(
        MASKS,
        "--masks",
        help="Segment each object, too: masks in the video and in tracks.jsonl.",
    ),
]
SegmenterName = Annotated[
    str | None,
    further(
        MASKS,
        "--segmenter",
        metavar="NAME|FILE",
        help=f"What segments, prompted with the boxes:\n{listed(SEGMENTERS)}\nFILE: of weights",
        show_default="auto: Segment Anything where its weights are here, else lite",
    ),
]
FitBoxes = Annotated[bool, further(MASKS, "--fit-boxes", help="Fit boxes to their masks.")]
MasksPng = Annotated[
    bool,
    further(
        MASKS,
        "--masks-png",
        help="Write a 16-bit png for each frame: each pixel is its identity.",
    ),
]

# Outputs.

Output = Annotated[
    Path | None,
    option(
        OUTPUTS,
        "--output",
        "-o",
        help="Folder for the results.",
        show_default="one named after the source, here",
    ),
]
Video = Annotated[bool, option(OUTPUTS, "--video/--no-video", help="Write the annotated video.")]
Mot = Annotated[bool, further(OUTPUTS, "--mot/--no-mot", help="Write MOTChallenge results (.txt).")]
Jsonl = Annotated[bool, further(OUTPUTS, "--jsonl/--no-jsonl", help="Write tracks.jsonl.")]
Also = Annotated[
    str,
    option(
        OUTPUTS,
        "--also",
        metavar="FORMATS",
        help="Further formats to write, such as coco,cvat; masa convert --help tells of them: "
        f"{', '.join(formats.further_names())}.",
    ),
]
MotClasses = Annotated[
    bool,
    further(
        OUTPUTS,
        "--mot-classes",
        help="Put the class number, from 1, into column 8 of the MOTChallenge results.",
    ),
]
Trails = Annotated[
    int,
    further(OUTPUTS, "--trails", min=0, metavar="FRAMES", help="Draw the path of the last frames."),
]
Names = Annotated[bool, further(OUTPUTS, "--names/--no-names", help="Draw the names of classes.")]
Scores = Annotated[bool, further(OUTPUTS, "--scores/--no-scores", help="Draw scores.")]

# Running.

DeviceName = Annotated[Device, option(RUNNING, "--device", help="Where networks run.")]
PrecisionName = Annotated[
    Precision,
    further(RUNNING, "--precision", help="Numbers of networks; auto: the quickest as good."),
]
BatchSize = Annotated[
    int, further(RUNNING, "--batch-size", min=1, help="Frames per forward pass of the network.")
]
RuntimeName = Annotated[
    Runtime,
    further(
        RUNNING,
        "--runtime",
        help="What computes networks: torch, or on a CPU OpenVINO, which takes half the time and "
        "converts each network once; auto: OpenVINO on a CPU where it is installed.",
    ),
]
Threads = Annotated[
    int | None,
    further(
        RUNNING,
        "--threads",
        min=1,
        metavar="NUMBER",
        help="Threads for each of what computes: networks, OpenCV, FFmpeg's encoder.",
        show_default="as each takes by itself, most of them one per core",
    ),
]
WeightsDir = Annotated[
    Path | None,
    further(
        RUNNING,
        "--weights-dir",
        help="Folder of weights: looked in first, written into.",
        show_default="MASA_WEIGHTS, else the caches of masa and of the Hugging Face hub",
    ),
]
Overwrite = Annotated[
    bool, option(RUNNING, "--overwrite", help="Replace results that exist already.")
]
Resume = Annotated[
    bool,
    option(
        RUNNING,
        "--resume",
        help="Go on with an interrupted run, as if it had never been interrupted.",
    ),
]
Quiet = Annotated[
    bool, further(RUNNING, "--quiet", "-q", help="No progress, no table; warnings and errors only.")
]
Trace = Annotated[
    Path | None,
    further(
        RUNNING,
        "--trace",
        metavar="FILE",
        help="Write a timeline of the run, stage by stage and thread by thread: JSON that "
        "ui.perfetto.dev and chrome://tracing open.",
    ),
]
Json = Annotated[bool, further(RUNNING, "--json", help="Print the summary as JSON, for machines.")]
