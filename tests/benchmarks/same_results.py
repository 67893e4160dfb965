"""Whether two commits give the same results, byte for byte: for changes that should change nothing.

    python tests/benchmarks/same_results.py record OUT --checkout FOLDER [--assets FOLDER]
    python tests/benchmarks/same_results.py compare OUT OUT [--only CASES]

`record` runs the commands below with the code of a checkout, one after the other, and keeps all
they write in OUT, a folder for each; some must give what another of them gives (a run that was
interrupted and resumed: what the whole run gives). `compare` compares two such recordings file by
file: pictures, tracks, every format. Both print a row for each case and end with 1 if one differs.

`--assets` is a folder with videos/vtest.avi (PETS09-S2L1) and sequences/eth-sunnyday/video.mp4,
whose camera moves, each with its detections; without it, `masa demo` makes the only video. Takes
about 4 minutes of one core. Results are compared as they are but for two things: the header of
embeddings.masa tells in `facts` and `found_by` what its boxes depend on, in words of the code at
that time, and run.json tells how long a run took.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

LONG, SHORT, FEW = 120, 60, 30  # frames
RECORD = "record.json"  # what was recorded, in OUT
STDOUT = "stdout.txt"  # what commands printed, in the folder of a case
EMBEDDINGS = "embeddings.masa"
RUN = "run.json"  # of masa, tells times and versions
OF_BOXES = ("tao", "coco", "bdd", "cvat", "csv", "parquet", "yolo", "yolo-tracks")
OF_MASKS = (*OF_BOXES, "mots", "ytvis")
NOT_READ = "yolo"  # holds no identities
# Results must depend on neither the number of cores nor an accelerator.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


@dataclass(frozen=True)
class Case:
    """Commands of `masa`, which run in OUT and write into its folder `name`.

    Attributes:
        name: of the case, and of the folder.
        commands: their arguments; the folder is there already.
        same_as: name of an earlier case whose results these must equal.
        interrupt_after: if not 0, the command gets a Ctrl-C after so many frames, then --resume.
    """

    name: str
    commands: tuple[tuple[str, ...], ...]
    same_as: str = ""
    interrupt_after: int = 0


@dataclass(frozen=True)
class Clip:
    """A video with its detections, paths from OUT on."""

    video: str
    dets: str
    size: str
    rate: int  # frames per second

    def until(self, num_frames: int) -> tuple[str, ...]:
        return (self.video, "--end", f"{num_frames / self.rate:g}")


# Made by the case "demo".
DEMO_TRUTH, DEMO_RESULTS = "demo/input/gt.txt", "demo/demo.txt"
DEMO = Clip("demo/input/demo.mp4", "demo/input/detections.csv", "640x360", 25)


def clips_of(assets: Path) -> tuple[Clip, Clip]:
    """One of a camera that stands still, one of a camera that moves."""
    videos, sequence = assets / "videos", assets / "sequences" / "eth-sunnyday"
    dets = assets / "gt" / "pets09-s2l1" / "det_yolox_nano.txt"
    return (
        Clip(str(videos / "vtest.avi"), str(dets), "768x576", 10),
        Clip(str(sequence / "video.mp4"), str(sequence / "det_yolox.txt"), "640x480", 14),
    )


def all_cases(still: Clip, moving: Clip | None) -> Iterator[Case]:
    """Every case, in an order in which each finds what it needs of earlier ones."""

    def track(name: str, clip: Clip, frames: int, *options: str, **more: object) -> Case:
        source = ("--dets", clip.dets) if "--prompt" not in options else ()
        command = ("track", *clip.until(frames), *source, *options, "-o", name)
        return Case(name, (command,), **more)

    lite = ("--prompt", "person", "--detector", "lite")
    masks = (*lite, "--masks", "--segmenter", "lite", "--also", ",".join(OF_MASKS))
    yield Case("demo", (("demo", "-o", "demo"),))
    yield track("hybrid", still, LONG)
    for preset, frames in ("masa-demo", LONG), ("masa-benchmark", SHORT), ("masa-bdd", SHORT):
        yield track(preset, still, frames, "--association", preset, "--no-video")
    yield track("motion", still, LONG, "--association", "motion")
    few = ("--min-score", "0.5", "--min-area", "3000")
    yield track("selection", still, LONG, "--association", "motion", *few)
    yield track("also", still, LONG, "--association", "motion", "--also", ",".join(OF_BOXES))
    yield track("short", still, SHORT, "--trails", "10")
    yield track("resumed", still, SHORT, "--trails", "10", same_as="short", interrupt_after=25)
    yield track("no-relink", still, SHORT, "--no-relink")
    yield track("live", still, SHORT, "--jsonl", "-")
    yield track("min-track-length", still, SHORT, "--min-track-length", "50", "--no-video")
    yield track("clean-up", still, SHORT, "--association", "masa-demo", "--clean-up")
    yield Case("dets-alone", (("track", "--dets", still.dets, "-o", "dets-alone"),))
    yield track("prompt", still, SHORT, *lite)
    yield track("masks", still, FEW, *masks)
    yield track("masks-resumed", still, FEW, *masks, same_as="masks", interrupt_after=10)
    everything = ("segment-track", *still.until(FEW), "--model", "lite", "--masks-png")
    yield Case("segment-track", ((*everything, "-o", "segment-track"),))
    yield track("embeddings", still, SHORT, *lite, "--save-embeddings", "--no-video")
    for preset, same_as in ("hybrid", "embeddings"), ("masa-demo", ""), ("motion", ""):
        again = ("retrack", f"embeddings/{EMBEDDINGS}", "--association", preset)
        yield Case(f"retrack-{preset}", ((*again, "-o", f"retrack-{preset}"),), same_as)
    yield conversions("convert", "short/tracks.jsonl", OF_BOXES, still)
    yield conversions("convert-masks", "masks/tracks.jsonl", OF_MASKS, still)
    drawn = ("render", *still.until(FEW), "masks/tracks.jsonl", "-o", "render/drawn.mp4")
    yield Case("render", (drawn,))
    views = ("crops", *still.until(SHORT), "short/tracks.jsonl", "-o", "crops/views")
    yield Case("crops", (views,))
    yield Case("stats", (("stats", "short/tracks.jsonl", "--json"),))
    line = ("--line", "gate:300,0,300,1000")
    yield Case("count", (("count", "hybrid/tracks.jsonl", *line, "--json"),))
    truth = ("--gt", DEMO_TRUTH, "--results", DEMO_RESULTS)
    yield Case("eval", (("eval", *truth, "--json"),))
    if moving:
        both = (still.video, moving.video, "--end", "1")
        yield Case("batch", (("track", *both, *lite, "--no-video", "-o", "batch"),))
        yield track("moving", moving, SHORT)
        yield track("moving-masa-demo", moving, SHORT, "--association", "masa-demo")
        yield track("moving-motion", moving, SHORT, "--association", "motion")


def conversions(name: str, tracks: str, formats: tuple[str, ...], clip: Clip) -> Case:
    """To each format, and back to jsonl."""
    facts = ("--size", clip.size, "--fps", str(clip.rate), "-q")
    commands = []
    for each in ("mot", *formats):
        there = f"{name}/tracks.{each}"
        commands.append(("convert", tracks, there, "--to", each, *facts))
        if each != NOT_READ:
            back = ("convert", there, f"{name}/from-{each}.jsonl", "--from", each, *facts)
            commands.append(back)
    return Case(name, tuple(commands))


def record(out: Path, checkout: Path, clips: tuple[Clip, Clip | None], only: set[str]) -> bool:
    """Run the cases in `out`; whether all end well, and as those that they must equal."""
    inputs = [path for clip in clips if clip for path in (clip.video, clip.dets)]
    facts = {
        "commit": commit_of(checkout),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "packages": {name: version(name) for name in ("torch", "numpy", "av", "opencv-python")},
        "inputs": {path.name: digest(path) for path in map(Path, inputs) if path.is_absolute()},
        "cases": [],
    }
    all_same = True
    for case in all_cases(*clips):
        if only and case.name not in only:
            continue
        begun = time.monotonic()
        try:
            run_case(case, out, checkout)
        except RuntimeError as error:
            print(f"{case.name:<18} failed: {error}", flush=True)
            all_same = False
            continue
        row = f"{case.name:<18} {time.monotonic() - begun:6.1f} s"
        if case.same_as:
            # What `embeddings` keeps is read by what must equal it, not written anew.
            found = differences(out / case.name, out / case.same_as, leave_out=EMBEDDINGS)
            all_same &= not found
            row += f"  {'; '.join(found) or 'the same'} as {case.same_as}"
        print(row, flush=True)
        facts["cases"].append(case.name)
        (out / RECORD).write_text(json.dumps(facts, indent=2))
    return all_same


def run_case(case: Case, out: Path, checkout: Path) -> None:
    """Run its commands one after the other; RuntimeError if one fails."""
    folder = out / case.name
    folder.mkdir()
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(checkout)}
    for arguments in case.commands:
        command = [sys.executable, "-m", "masa_cli", *arguments]
        if case.interrupt_after:
            interrupt(command, out, environment, folder, case.interrupt_after)
            command.append("--resume")
        run = subprocess.run(
            command, cwd=out, env=environment, capture_output=True, text=True, check=False
        )
        if run.returncode:
            raise RuntimeError(f"{' '.join(arguments)} ended with {run.returncode}:\n{run.stderr}")
        if "-" in arguments or "--json" in arguments:  # the others print how long they took
            (folder / STDOUT).write_text(run.stdout)


def interrupt(
    command: list[str], out: Path, environment: dict[str, str], folder: Path, num_frames: int
) -> None:
    """Begin, and press Ctrl-C once so many frames are tracked; RuntimeError if it was too late."""
    process = subprocess.Popen(command, cwd=out, env=environment, stderr=subprocess.PIPE)
    while process.poll() is None:
        spools = folder.glob("tracks*.part")  # a line for each frame
        if any(path.read_bytes().count(b"\n") >= num_frames for path in spools):
            process.send_signal(signal.SIGINT)
            break
        time.sleep(0.01)
    _, errors = process.communicate()
    if process.returncode != 130:
        told = errors.decode(errors="replace")
        raise RuntimeError(f"interrupted, it ended with {process.returncode}, not 130:\n{told}")


def compare(one: Path, other: Path, only: set[str]) -> bool:
    """Print a row for each case; whether all are the same."""
    facts = [json.loads((out / RECORD).read_text()) for out in (one, other)]
    for out, each in zip((one, other), facts, strict=True):
        print(f"{out}: commit {each['commit']}; {each['machine']}; {each['packages']}")
    if facts[0]["inputs"] != facts[1]["inputs"]:
        sys.exit("the recordings are of different inputs: record one of them again")
    all_same = True
    for name in dict.fromkeys(facts[0]["cases"] + facts[1]["cases"]):
        if only and name not in only:
            continue
        if all(name in each["cases"] for each in facts):
            found = differences(one / name, other / name)
        else:
            found = ["recorded in one of them alone"]
        all_same &= not found
        sizes = [path.stat().st_size for path in (one / name).rglob("*") if path.is_file()]
        amount = f"{len(sizes):3d} files {sum(sizes) / 1e3:8.1f} kB"
        print(f"{name:<18} {amount}  {'; '.join(found) or 'the same'}")
    return all_same


def differences(one: Path, other: Path, *, leave_out: str = "") -> list[str]:
    """What differs between the files of two folders, a short text for each."""
    found = []
    names = {path.relative_to(top) for top in (one, other) for path in top.rglob("*")}
    for name in sorted(names):
        is_folder = (one / name).is_dir() and (other / name).is_dir()
        if is_folder or name.name in (leave_out, RUN):
            continue
        missing = [str(top) for top in (one, other) if not (top / name).is_file()]
        if missing:
            found.append(f"{name} is missing in {' and '.join(missing)}")
        elif (pair := [content(top / name) for top in (one, other)])[0] != pair[1]:
            where = first_difference(*pair)
            line = pair[0].count(b"\n", 0, where) + 1
            found.append(f"{name} differs from byte {where} on, line {line}")
    if not names:
        found.append(f"{one} and {other} are empty or missing")
    return found


def first_difference(one: bytes, other: bytes) -> int:
    """Index of the first byte that differs, or is in one alone."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(one), len(other)))


def content(path: Path) -> bytes:
    """What is compared of a file: everything, but for the words in the header of embeddings."""
    if path.name != EMBEDDINGS:
        return path.read_bytes()
    with path.open("rb") as file:
        header = json.loads(np.load(file).tobytes())
        del header["facts"], header["found_by"]
        return json.dumps(header).encode() + file.read()


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def commit_of(checkout: Path) -> str:
    """Its commit, marked where files differ from it."""
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=12"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record", help="run all cases and keep their results")
    recording.add_argument("out", type=Path, help="a folder that is not there yet")
    recording.add_argument("--checkout", type=Path, required=True, help="holds masa_cli")
    recording.add_argument("--assets", type=Path, help="videos to use (default: a rendered one)")
    comparison = commands.add_parser("compare", help="compare two recordings")
    comparison.add_argument("one", type=Path)
    comparison.add_argument("other", type=Path)
    for each in (recording, comparison):
        each.add_argument("--only", default="", help="names of cases, separated by commas")
    arguments = parser.parse_args()
    only = set(filter(None, arguments.only.split(",")))
    if arguments.command == "compare":
        sys.exit(not compare(arguments.one, arguments.other, only))
    checkout = arguments.checkout.resolve()
    if not (checkout / "masa_cli").is_dir():
        parser.error(f"{checkout} holds no masa_cli")
    if arguments.out.exists():
        parser.error(f"{arguments.out} exists already")
    arguments.out.mkdir(parents=True)
    clips = clips_of(arguments.assets.resolve()) if arguments.assets else (DEMO, None)
    sys.exit(not record(arguments.out.resolve(), checkout, clips, only))


if __name__ == "__main__":
    main()
