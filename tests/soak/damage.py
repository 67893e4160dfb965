"""Random damage through the real command: `python -m tests.soak.damage [RUNS [SEED]]`.

Each run is one `masa` process with a time limit on an input that was damaged, or in a place that
works against it. It must end with 0, 1 or 2, never with a traceback or by its time limit; an error
must say how to go on; results that were there before must stay as they were; results that it says
it has written must be whole. Prints what was run and what came of it; exits 1 if anything was
wrong.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
from PIL import Image

from tests.clips import image_at, write_clip
from tests.formats.test_contract import DETECTIONS, SIZE, TRACKS
from tests.sources.encoded import write_numbered

LIMIT_SECONDS = 60
NUM_FRAMES = 20
OF_OTHERS = "of_others"  # folder of inputs
MOTION = ["--association", "motion"]
HOSTILE_NAMES = (
    "a[red]b;$(touch pwned).mp4",
    "--help.mp4",
    "new\nline.mp4",
    "'\"`id`&|<>*?.mp4",
    "日本語 é 🎬.mp4",
    "x" * 251 + ".mp4",
    " .mp4",
    "%s%n{name}.mp4",
    "\x1b[31mred.mp4",
    "con:12:30.mp4",
    "..mp4",
    b"\xff\xfe.mp4".decode(errors="surrogateescape"),
)


@dataclass
class Case:
    """One run.

    Attributes:
        kind: for the counts.
        command: after `masa`.
        folder: where it runs; results it must not touch are in `kept`.
        limits: called in the process before it begins.
        meanwhile: called when it has begun, in a thread.
    """

    kind: str
    command: list
    folder: Path
    limits: object = None
    meanwhile: object = None
    kept: dict = field(default_factory=dict)


def bases(folder):
    """Whole inputs of every kind, made once: {name: path}."""
    video, dets = write_clip(folder, NUM_FRAMES)
    images = folder / "images"
    images.mkdir()
    for index in range(NUM_FRAMES):
        Image.fromarray(image_at(index)).save(images / f"{index:03d}.jpg")
    made = {"mp4": video, "dets": dets, "images": images}
    for name, options in {
        "avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
        "mkv": {"codec": "libvpx-vp9", "sound": "aac"},
        "ts": {},
        "gif": {"codec": "gif", "pix_fmt": "rgb8"},
    }.items():
        made[name] = write_numbered(folder / f"base.{name}", NUM_FRAMES, **options)
    out = folder / "done"
    command = ["track", video, "--dets", dets, *MOTION, "-o", out, "-q"]
    command += ["--also", "coco,cvat,csv,bdd,tao"]
    subprocess.run([sys.executable, "-m", "masa_cli", *command], check=True)
    made["done"] = out
    pages = [Image.fromarray(image_at(index)) for index in range(NUM_FRAMES)]
    for name, options in {"tif": {}, "webp": {"duration": 40}, "deep.tif": {}}.items():
        made[name] = folder / f"pages.{name}"
        shown = pages
        if name == "deep.tif":
            grey = (np.asarray(page.convert("L"), np.uint16) * 9 + 7000 for page in pages)
            shown = [*map(Image.fromarray, grey)]
        shown[0].save(made[name], save_all=True, append_images=shown[1:], **options)
    return made


def flipped(data, rng, first=None):
    data = bytearray(data)
    for _ in range(rng.randint(1, 24)):
        data[rng.randrange(min(len(data), first or len(data)))] ^= 1 << rng.randrange(8)
    return bytes(data)


def cut(data, rng):
    return data[: rng.randrange(len(data))]


DAMAGE = {
    "header": lambda data, rng: flipped(data, rng, first=600),
    "flips": flipped,
    "cut": cut,
    "noise": lambda data, rng: rng.randbytes(rng.randrange(1, 5000)),
    "empty": lambda data, rng: b"",
}


def video_case(made, folder, rng):
    name = rng.choice(["mp4", "avi", "mkv", "ts", "gif"])
    how = rng.choice(list(DAMAGE))
    path = folder / f"v.{name}"
    path.write_bytes(DAMAGE[how](made[name].read_bytes(), rng))
    return Case(f"video {how}", ["track", path, "--dets", made["dets"], *MOTION], folder)


def image_case(made, folder, rng):
    images = folder / "images"
    shutil.copytree(made["images"], images)
    how = rng.choice(list(DAMAGE))
    for _ in range(rng.randint(1, 3)):
        path = images / f"{rng.randrange(NUM_FRAMES):03d}.jpg"
        path.write_bytes(DAMAGE[how](path.read_bytes() or b"x", rng))
    return Case(f"image {how}", ["track", images, "--dets", made["dets"], *MOTION], folder)


def dets_case(made, folder, rng):
    how = rng.choice(list(DAMAGE))
    source = rng.choice([made["dets"], made["done"] / "tracks.jsonl", *made["done"].glob("*.c*")])
    path = folder / source.name
    path.write_bytes(DAMAGE[how](source.read_bytes(), rng))
    return Case(f"detections {how}", ["track", made["mp4"], "--dets", path, *MOTION], folder)


def convert_case(made, folder, rng):
    how = rng.choice(list(DAMAGE))
    others = (".mp4", "run.json")
    source = rng.choice([path for path in made["done"].iterdir() if not path.name.endswith(others)])
    path = folder / source.name
    path.write_bytes(DAMAGE[how](source.read_bytes(), rng))
    target = rng.choice(["o.jsonl", "o.xml", "o.csv", "o.coco.json", "o.txt"])
    return Case(f"convert {how}", ["convert", path, target], folder)


def pages_case(made, folder, rng):
    """A file of several pages, alone or in a folder."""
    name, how = rng.choice(["tif", "webp", "deep.tif"]), rng.choice(list(DAMAGE))
    images = folder / "images"
    images.mkdir()
    path = images / f"a.{name}"
    path.write_bytes(DAMAGE[how](made[name].read_bytes(), rng))
    source = rng.choice([path, images])
    return Case(f"pages {how}", ["track", source, "--dets", made["dets"], *MOTION], folder)


def damaged_dialect(dialect, folder, rng):
    """What to read, of which one file is damaged, and how it was."""
    how = rng.choice(list(DAMAGE))
    path = dialect.write(folder)
    files = [file for file in folder.rglob("*") if file.is_file() and file.stat().st_size]
    file = rng.choice(sorted(files))
    file.write_bytes(DAMAGE[how](file.read_bytes(), rng))
    return path, how


def dialect_case(made, folder, rng):
    """Tracks as some other program writes them."""
    name = rng.choice(list(TRACKS))
    place = folder / OF_OTHERS
    path, how = damaged_dialect(TRACKS[name], place, rng)
    target = rng.choice(["o.jsonl", "o.xml", "o.csv", "o.coco.json", "o.txt"])
    command = ["convert", path, folder / "out" / target, "--size", "x".join(map(str, SIZE))]
    if TRACKS[name].images:
        command += ["--images", place / TRACKS[name].images]
    return Case(f"dialect {how}", command, folder)


def dets_dialect_case(made, folder, rng):
    name = rng.choice(list(DETECTIONS))
    place = folder / OF_OTHERS
    path, how = damaged_dialect(DETECTIONS[name], place, rng)
    command = ["track", made["mp4"], "--dets", path, *MOTION]
    if DETECTIONS[name].images:
        command += ["--dets-images", place / DETECTIONS[name].images]
    return Case(f"dialect of dets {how}", command, folder)


def eval_case(made, folder, rng):
    """A truth of one's own, whole or damaged, in all its forms."""
    names = [name for name, dialect in TRACKS.items() if dialect.format == "mot"]
    truth, how = damaged_dialect(TRACKS[rng.choice(names)], folder / OF_OTHERS / "gt", rng)
    results = TRACKS[rng.choice(names)].write(folder / OF_OTHERS / "res")
    command = ["eval", "--gt", truth, "--results", results]
    return Case(f"eval {how}", command + rng.choice([[], ["--all-classes"]]), folder)


def name_case(made, folder, rng):
    path = folder / rng.choice(HOSTILE_NAMES)
    shutil.copy(made["mp4"], path)
    command = ["track", "--dets", made["dets"], *MOTION, "--also", "cvat,coco", "--", path]
    return Case("hostile name", command, folder)


def full_disk_case(made, folder, rng):
    """A limit on the size of files stands for the disk: mounting a small one needs rights."""
    limit = rng.choice([0, 100, 2_000, 20_000])

    def limits():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = ["track", made["mp4"], "--dets", made["dets"], *MOTION, "-o", "out"]
    return Case("full disk", command, folder, limits=limits)


def no_place_case(made, folder, rng):
    (folder / "file").touch()
    place = rng.choice(["file", "file/below", "/proc/none", "/dev/null", "x" * 300])
    command = ["track", made["mp4"], "--dets", made["dets"], *MOTION, "-o", place]
    return Case("no place for results", command, folder)


def vanished_case(made, folder, rng):
    name = rng.choice(["mp4", "avi", "ts"])
    path = folder / f"v.{name}"
    shutil.copy(made[name], path)
    how = rng.choice(["deleted", "cut", "replaced"])

    def meanwhile():
        time.sleep(rng.uniform(0, 1.5))
        if how == "deleted":
            path.unlink(missing_ok=True)
        elif how == "cut":
            os.truncate(path, rng.randrange(path.stat().st_size))
        else:
            path.write_bytes(b"something else")

    command = ["track", path, "--dets", made["dets"], *MOTION]
    return Case("source vanishes", command, folder, meanwhile=meanwhile)


def existing_case(made, folder, rng):
    """Earlier results, and a run that would replace them or fails on the way to that."""
    shutil.copytree(made["done"], folder / "out")
    path = folder / "street.mp4"
    path.write_bytes(DAMAGE[rng.choice(["cut", "header"])](made["mp4"].read_bytes(), rng))
    command = ["track", path, "--dets", made["dets"], *MOTION, "-o", "out"]
    case = Case("earlier results", command, folder)
    case.kept = {file: file.read_bytes() for file in (folder / "out").iterdir()}
    return case


KINDS = (
    *[video_case] * 6,
    *[dets_case] * 4,
    *[convert_case] * 4,
    *[image_case] * 2,
    *[pages_case] * 2,
    *[dialect_case] * 6,
    *[dets_dialect_case] * 3,
    *[eval_case] * 2,
    *[name_case] * 3,
    *[full_disk_case] * 2,
    *[no_place_case] * 1,
    *[vanished_case] * 2,
    *[existing_case] * 2,
)


def outcome(case):
    """What came of a case in a word, and what was wrong, if anything."""
    command = [sys.executable, "-m", "masa_cli", *map(os.fsencode, map(str, case.command))]
    process = subprocess.Popen(
        command,
        cwd=case.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=case.limits,  # noqa: PLW1509 - one thread only
    )
    if case.meanwhile:
        threading.Thread(target=case.meanwhile, daemon=True).start()
    try:
        printed, said = process.communicate(timeout=LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return "hangs", f"no end within {LIMIT_SECONDS} s"
    said = (printed + said).decode(errors="replace")
    code = process.returncode
    kept = [file for file, data in case.kept.items() if file.read_bytes() == data]
    faults = {
        "traceback": "Traceback" in said,
        f"code {code}": code not in (0, 1, 2),
        "says nothing": code and not ("error:" in said and "fix:" in said),
        "runs names": (case.folder / "pwned").exists(),
        "loses results": len(kept) < len(case.kept),
    }
    for word, is_so in faults.items():
        if is_so:
            return word, said
    if code == 0 and (broken := broken_result(case.folder)):
        return "breaks results", broken
    return ("error" if code else "results"), ""


def broken_result(folder):
    """The first result that is not whole; "" if all are."""
    for path in folder.rglob("*"):
        if "out" not in path.parts and (path.parent == folder or OF_OTHERS in path.parts):
            continue  # inputs
        if path.suffix == ".part":
            return f"{path} is left"
        try:
            if path.suffix == ".jsonl":
                [json.loads(line) for line in path.read_text().splitlines()]
            elif path.suffix == ".json":
                json.loads(path.read_text())
            elif path.suffix == ".mp4":
                with av.open(str(path)) as video:
                    assert next(video.decode(video=0), None) is not None
            elif path.suffix == ".txt" and path.stat().st_size:
                np.loadtxt(path, delimiter=",", ndmin=2)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told
            return f"{path}: {error}"
    return ""


def soak(num_runs, seed, folder, tell=print, kinds=KINDS):
    """Run that many cases; (counts by kind and outcome, what was wrong)."""
    rng = random.Random(seed)
    made = bases(folder)
    counts, wrong = Counter(), []
    for number in range(num_runs):
        place = folder / f"run{number}"
        place.mkdir()
        case = kinds[number % len(kinds)](made, place, rng)
        word, why = outcome(case)
        counts[case.kind, word] += 1
        if why:
            wrong.append((number, case.kind, word, case.command, why))
            tell(f"run {number}: {case.kind}: {word}: {case.command}\n{why}")
        else:
            shutil.rmtree(place)
    return counts, wrong


def main():
    num_runs, seed = (*map(int, sys.argv[1:3]), *(200, 0)[len(sys.argv) - 1 :])
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="masa-soak-") as folder:
        counts, wrong = soak(num_runs, seed, Path(folder))
    for (kind, word), count in sorted(counts.items()):
        print(f"{count:4d}  {kind:24s} {word}")
    seconds = time.monotonic() - begun
    print(f"{num_runs} runs with seed {seed} in {seconds:.0f} s: {len(wrong)} wrong")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
