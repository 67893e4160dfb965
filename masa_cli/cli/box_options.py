"""Options of where boxes come from, and which of them count, declared once for all commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from masa_cli.formats.detections import DetectionFormat

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
