"""`masa demo`: a clip made on the spot, tracked and scored; it shows that an installation works."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from masa_cli.cli import options
from masa_cli.cli.command import choice, listed
from masa_cli.sources.scenarios import DEFAULT_DEMO, DEMOS

if TYPE_CHECKING:
    from masa_cli.evaluation.metrics import IdentityScores
    from masa_cli.sources.synthetic import SyntheticVideo

Folder = Annotated[Path, typer.Option("--output", "-o", help="Folder for clip and results.")]
Kind = Annotated[
    str,
    typer.Option(
        "--kind",
        help=f"What the clip shows:\n{listed(DEMOS)}",
        **choice(lambda: tuple(DEMOS), "kind"),
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="Another number, another clip of the kind.")]

# What finds the objects of a prompt here: it is in the package, others may be in a cache.
_DETECTOR = "lite"


def demo(
    ctx: typer.Context,
    kind: Kind = DEFAULT_DEMO,
    seed: Seed = 42,
    output: Folder = Path("masa-demo"),
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Make a short clip, track it, score the result: no video needed.

    People, cats and cups, cut out of photographs, cross and hide one another, leave the picture and
    come back. They are found by a prompt; where they are is known exactly. Other kinds are rendered
    and show what makes tracking hard; there, the boxes are the truth with noise, as of a detector.
    The clip, its truth and such detections go to <output>/input, the results beside it.
    """
    from masa_cli.cli.console import show
    from masa_cli.cli.track import track
    from masa_cli.formats.files import make_folder, refuse_existing
    from masa_cli.formats.tabular import write_detections
    from masa_cli.sources.synthetic import SyntheticVideo

    inputs = output / "input"
    clip, truth = inputs / "demo.mp4", inputs / "gt.txt"
    if not overwrite:
        refuse_existing([inputs])
    settings = replace(DEMOS[kind].settings, seed=seed)
    video = SyntheticVideo(settings)
    make_folder(inputs)
    _write_clip(video, clip, truth)
    if settings.look == "photographs":
        prompt, dets = ", ".join(video.classes), None
        how = f'--prompt "{prompt}" --detector {_DETECTOR}'
    else:
        prompt, dets = None, inputs / "detections.csv"
        write_detections(dets, map(video.detections, range(settings.num_frames)), video.classes)
        how = f"--dets {dets}"
    track(
        ctx,
        [str(clip)],
        dets,
        prompt,
        detector=_DETECTOR if prompt else "auto",
        output=output,
        overwrite=overwrite,
        quiet=quiet,
        trails=25,
    )
    if quiet:
        return
    scores = _scores(video, output / "tracks.jsonl")
    show("")
    show(f"made for this demo: {', '.join(str(file) for file in (clip, dets, truth) if file)}")
    show(
        f"against the truth: IDF1 {scores.idf1:.1%}, {scores.num_switches} identity switches, "
        f"recall {scores.recall:.1%}, MOTA {scores.mota:.1%}"
    )
    show(f"the same by hand: masa track {clip} {how}")


def _write_clip(video: SyntheticVideo, clip: Path, truth: Path) -> None:
    from masa_cli.formats.mot import MotWriter
    from masa_cli.render.video import VideoWriter

    with VideoWriter(clip, video.info) as pictures, MotWriter(truth) as truths:
        for frame in video.frames():
            pictures.write(frame)
            truths.write(frame, video.ground_truth(frame.index))


def _scores(video: SyntheticVideo, tracks: Path) -> IdentityScores:
    from masa_cli.evaluation.metrics import identity_scores
    from masa_cli.formats.jsonl import TracksReader

    found = [frame.tracks for frame in TracksReader(tracks)]
    true = [video.ground_truth(index) for index in range(len(found))]
    return identity_scores(
        [(each.boxes, each.ids) for each in true], [(each.boxes, each.ids) for each in found]
    )
