"""Whole runs of the command, end to end: frames/s, where their time goes, and their peak memory.

    python -m tests.benchmarks.pipeline VIDEO [--cases lite,raw,...] [--runs 3] [--end 10]
        [--engines torch,openvino,openvino-bfloat16] [--threads N] [--trace FOLDER]
        [--heights 480,1080,2160] [--peers PYTHON]

Each case is `masa track` (or `segment-track`) in a process of its own, the video written. Boxes of
`raw` and `motion` are those that a first run of `lite` finds, which also converts its networks; one
more run of each case, not counted, does it for the others. An engine is a runtime, in float32
unless a precision follows. Cases and engines take turns, so that what else the machine does meets
all alike. Prints the median and the range of frames/s, each ratio to torch in the same run, time
in which no network works as a share of the whole, milliseconds and share of each stage (decoding,
encoding, and networks that look at frames ahead have threads of their own), and the most memory
(Linux). --heights
does all of it with copies of the video that are so many pixels high. --peers, a Python that has
`trackers`, times its trackers on the same boxes after each turn: what association alone takes, of
BoT-SORT with the camera's motion.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from masa_cli import __version__
from masa_cli.render.video import VideoWriter
from masa_cli.sources import open_source
from masa_cli.structures import Frame

CASES = {
    "lite": ("track", "--prompt", "person"),
    "lite --no-video": ("track", "--prompt", "person", "--no-video"),
    "raw": ("track", "--dets", "{dets}", "--adapter", "raw"),
    "motion": ("track", "--dets", "{dets}", "--association", "motion"),
    "masks": ("track", "--prompt", "person", "--masks", "--segmenter", "lite"),
    "segment-track": ("segment-track", "--model", "lite"),
}
WITHOUT_NETWORKS = ("motion",)
IN_NETWORKS = ("detect", "embed", "segment")
ALONE = ("associate", "camera")
AHEAD = (
    "wait for boxes"  # a stage of runs whose networks work all the while until boxes are tracked
)
AFTER_NETWORKS = ("refine", "draw", "write results")
BESIDE = ("decode", "encode")  # in threads of their own

# Runs a command in this process; the last line on stderr is the most memory that it held, kB.
MEASURED = """
import resource, sys
from masa_cli.__main__ import main
try:
    main()
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


def run_masa(arguments):
    """What the command says as JSON, and the peak of its memory in MB."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *map(str, arguments), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"masa {' '.join(map(str, arguments))}: {done.stderr}")
    return json.loads(done.stdout), int(done.stderr.split()[-1]) / 1024


def command_of(case, engine, options, folder):
    verb, *given = CASES[case]
    given = [each.format(dets=folder / "dets.txt") for each in given]
    more = ["--end", options.end] if options.end else []
    more += ["--threads", options.threads] if options.threads else []
    if options.trace:
        options.trace.mkdir(parents=True, exist_ok=True)
        more += ["--trace", options.trace / f"{case.replace(' ', '')}-{engine}.json"]
    runtime, _, precision = engine.partition("-")
    own = ["--runtime", runtime, "--precision", precision or "float32", "--device", "cpu"]
    return [verb, options.video, *given, *more, *own, "-o", folder / "out", "--overwrite"]


def find_boxes(options, folder):
    """Boxes of lite, as MOTChallenge has detections; all cases that are given boxes take them."""
    more = ["--end", options.end] if options.end else []
    out = folder / "found"
    run_masa(["track", options.video, "--prompt", "person", "--no-video", "-o", out, *more])
    rows = [line.split(",") for line in (out / f"{options.video.stem}.txt").read_text().split()]
    (folder / "dets.txt").write_text("".join(f"{r[0]},-1,{','.join(r[2:7])}\n" for r in rows))


def run_peers(options, folder):
    """Milliseconds per frame of each of the other trackers for the same boxes."""
    info = open_source(options.video).info
    rows = np.loadtxt(folder / "dets.txt", delimiter=",", ndmin=2)
    frames = rows[:, 0].astype(int) - 1
    boxes = np.concatenate([rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]], axis=1)
    np.savez(folder / "boxes.npz", frames=frames, boxes=boxes, scores=rows[:, 6])
    job = {
        "video": str(options.video),
        "boxes": str(folder / "boxes.npz"),
        "frame_rate": float(info.frame_rate),
        "num_frames": int(frames.max()) + 1,
        "out": str(folder / "peers"),
    }
    listed = folder / "jobs.json"
    listed.write_text(json.dumps([job]))
    script = Path(__file__).with_name("peers.py")
    subprocess.run([options.peers, script, listed], check=True, capture_output=True)
    seconds = json.loads((folder / "peers" / "seconds.json").read_text())
    return {name: each / job["num_frames"] * 1e3 for name, each in seconds.items()}


def measure(options):
    """By case and engine: all counted runs, each its summary and peak; and those of peers."""
    kinds = [
        (case, engine)
        for case in options.cases
        for engine in (options.engines[:1] if case in WITHOUT_NETWORKS else options.engines)
    ]
    found, peers = {kind: [] for kind in kinds}, []
    with tempfile.TemporaryDirectory() as name:
        find_boxes(options, Path(name))
        for turn in range(options.runs + 1):
            for kind in kinds:
                result = run_masa(command_of(*kind, options, Path(name)))
                if turn:
                    found[kind].append(result)
            if turn and options.peers:
                peers.append(run_peers(options, Path(name)))
    return found, peers


def rate(summary):
    """Frames/s without what is done once: loading, which tells little of a longer video."""
    return summary["frames"] / (summary["seconds"] - summary["stages"].get("load", 0))


def outside_networks(summary):
    """Share of that time in which no network works."""
    stages, seconds = summary["stages"], summary["frames"] / rate(summary)
    if AHEAD in stages:
        return sum(stages.get(name, 0) for name in AFTER_NETWORKS) / seconds
    return 1 - sum(stages.get(name, 0) for name in IN_NETWORKS) / seconds


def scaled(video, height, end, folder):
    """A copy of the video, or of its beginning, that is so many pixels high."""
    source = open_source(video)
    even = round(source.info.width * height / source.info.height / 2) * 2
    path = folder / f"{height}p.mp4"
    info = replace(source.info, width=even, height=height, pixel_aspect=Fraction(1))
    with VideoWriter(path, info) as writer:
        for frame in source.frames():
            if end and frame.time > float(end):
                break
            image = cv2.resize(frame.image, (even, height), interpolation=cv2.INTER_AREA)
            writer.write(Frame(frame.index, frame.time, image))
    return path


def print_runs(found):
    print(f"{'case':16} {'engine':17} {'frames/s':>9} {'range':>13} {'ratio':>6} ", end="")
    print(f"{'outside networks':>17} {'load s':>7} {'peak MB':>8}")
    for (case, engine), runs in found.items():
        rates = [rate(summary) for summary, _ in runs]
        others = [rate(summary) for summary, _ in found.get((case, "torch"), [])]
        ratios = [a / b for a, b in zip(rates, others, strict=False)]
        ratio = f"{statistics.median(ratios):.2f}" if ratios else "-"
        outside = statistics.median(outside_networks(s) for s, _ in runs)
        load = statistics.median(s["stages"].get("load", 0) for s, _ in runs)
        span = f"{min(rates):.1f} to {max(rates):.1f}"
        print(
            f"{case:16} {engine:17} {statistics.median(rates):9.1f} {span:>13} {ratio:>6} "
            f"{outside:17.1%} {load:7.2f} {max(peak for _, peak in runs):8.0f}"
        )


def print_stages(found):
    names = dict.fromkeys(n for runs in found.values() for s, _ in runs for n in s["stages"])
    print("\nms per frame (share of the time without loading)")
    for (case, engine), runs in found.items():
        cells = []
        for name in names:
            spent = [s["stages"].get(name, 0) / s["frames"] * 1e3 for s, _ in runs]
            share = [ms * rate(s) / 1e3 for ms, (s, _) in zip(spent, runs, strict=True)]
            if name != "load" and any(spent):
                is_beside = name in BESIDE or (name == "detect" and AHEAD in runs[0][0]["stages"])
                beside = ", beside" if is_beside else ""
                part = f"{statistics.median(share):.1%}{beside}"
                cells.append(f"{name} {statistics.median(spent):.2f} ({part})")
        print(f"{case}, {engine}: {'; '.join(cells)}")


def print_peers(found, peers):
    """Association alone, beside ours on the same boxes."""
    print("\nms per frame for association alone (range)")
    rows = {}
    for (case, engine), runs in found.items():
        if case in WITHOUT_NETWORKS or (case == "raw" and engine != "torch"):
            spent = [[s["stages"].get(n, 0) / s["frames"] * 1e3 for n in ALONE] for s, _ in runs]
            rows[f"masa, {case}"] = [each[0] for each in spent]
            rows[f"masa, {case}, camera's motion"] = [each[1] for each in spent]
    for name in peers[0]:
        rows[name] = [turn[name] for turn in peers]
    for name, spent in rows.items():
        if any(spent):
            low, high = min(spent), max(spent)
            print(f"{name:30} {statistics.median(spent):7.2f} ({low:.2f} to {high:.2f})")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("video", type=Path)
    parser.add_argument("--cases", default=",".join(CASES), help=", ".join(CASES))
    parser.add_argument("--engines", default="torch,openvino,openvino-bfloat16")
    parser.add_argument("--end", help="seconds of the video (default: all)")
    parser.add_argument("--heights", help="of copies of the video, pixels (default: as it is)")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads")
    parser.add_argument("--peers", help="a Python that has `trackers`")
    parser.add_argument("--trace", type=Path, help="folder for a timeline of the last run of each")
    options = parser.parse_args()
    options.cases = options.cases.split(",")
    options.engines = options.engines.split(",")
    if strange := set(options.cases) - set(CASES):
        parser.error(f"no such cases: {', '.join(sorted(strange))}")
    print(
        f"masa {__version__}, {platform.platform()}, {os.cpu_count()} cores, load "
        f"{os.getloadavg()[0]:.1f}, {options.video.name}, {options.runs} runs after one"
    )
    with tempfile.TemporaryDirectory() as name:
        video = options.video
        for height in options.heights.split(",") if options.heights else [None]:
            if height:
                print(f"\n{height} pixels high")
                options.video = scaled(video, int(height), options.end, Path(name))
            found, peers = measure(options)
            print_runs(found)
            print_stages(found)
            if peers:
                print_peers(found, peers)


if __name__ == "__main__":
    main()
