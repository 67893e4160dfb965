"""How a review of hours opens: 2 h at 30 frames/s with 5,000 tracks, in a real browser.

    python -m tests.benchmarks.review FOLDER

Writes `long.mp4` and `tracks.jsonl` into FOLDER once (160 MB), then measures, each from the start
of the command: until the address is told, the page is there, its tracks are there, suspicious
places are there; then opening the page again, drawing a frame, scrubbing and an edit. Edits of an
earlier run are deleted: an edit that was made already would be refused. Needs playwright and a
Chromium.
"""

import argparse
import os
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import orjson

from masa_cli.render.video import VideoWriter
from masa_cli.structures import Frame, VideoInfo
from tests.review.browser import READY, browser, reviewing

NUM_FRAMES, NUM_TRACKS, LENGTH, RATE = 216_000, 5_000, 432, 30
WIDTH, HEIGHT = 192, 108
WISHES = 120  # of another frame, while scrubbing


def write_tracks(path):
    random = np.random.default_rng(0)
    starts = np.sort(random.integers(0, NUM_FRAMES - LENGTH, NUM_TRACKS))
    begin = random.uniform((0, 0), (WIDTH * 0.9, HEIGHT * 0.8), (NUM_TRACKS, 2))
    speed = random.normal(0, 0.15, (NUM_TRACKS, 2))
    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
    with path.open("wb") as file:
        for frame in range(NUM_FRAMES):
            first, last = np.searchsorted(starts, [frame - LENGTH + 1, frame + 1])
            ids = np.arange(first, last)
            age = frame - starts[ids]
            ids = ids[~((age > 200) & (age < 215) & (ids % 3 == 0))]  # every third one is away
            age = (frame - starts[ids])[:, None]
            corners = begin[ids] + speed[ids] * age + random.normal(0, 0.05, (len(ids), 2))
            boxes = np.concatenate([corners, corners + np.array([5, 11])], axis=1)
            record = {
                "frame": frame,
                "time": frame / RATE,
                "boxes": boxes.astype(np.float32),
                "ids": ids + 1,
                "labels": ["person"] * len(ids),
                "scores": np.full(len(ids), 0.8, np.float32),
            }
            file.write(orjson.dumps(record, option=options))


def write_video(path):
    info = VideoInfo("long", WIDTH, HEIGHT, Fraction(RATE), Fraction(1, RATE), NUM_FRAMES)
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    with VideoWriter(path, info, key_every=15) as writer:
        for frame in range(NUM_FRAMES):
            image[:] = frame % 256
            writer.write(Frame(frame, Fraction(frame, RATE), image))


DRAW = """() => {
  const spent = [0, 0], count = 300;
  for (let each = 0; each < count; each += 1) {
    review.player.frame = (each * 719) % review.player.times.length;
    let from = performance.now(); review.stage.draw(); spent[0] += performance.now() - from;
    from = performance.now(); review.timeline._draw(); spent[1] += performance.now() - from;
  }
  return spent.map((each) => each / count);
}"""

SCRUB = """async (wishes) => {
  // A wish at each picture of the screen, along the whole video, as when the slider is dragged.
  const last = review.player.last, shown = [];
  const seen = () => shown.push(performance.now());
  review.player.video.addEventListener("seeked", seen);
  const from = performance.now();
  for (let each = 0; each < wishes; each += 1) {
    review.player.seek(Math.round((last * (each + 1)) / (wishes + 1)), true);
    await new Promise(requestAnimationFrame);
  }
  const seconds = (performance.now() - from) / 1000;
  review.player.video.removeEventListener("seeked", seen);
  return [wishes / seconds, shown.length / seconds];
}"""


def measure(video, tracks):
    begin = time.perf_counter()

    def tell(what):
        print(f"{what}: {time.perf_counter() - begin:.1f} s", flush=True)

    with browser() as chromium, reviewing(video, tracks) as address:
        tell("address")
        page = chromium.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(300_000)
        page.goto(address)
        page.wait_for_function(
            "() => document.body.dataset.ready || document.getElementById('video').readyState >= 2"
        )
        tell("page with the video")
        page.wait_for_selector(READY)
        tell("tracks")
        page.locator("#tab-places", has_text="Suspicious (2").wait_for()
        tell("suspicious places")
        begin = time.perf_counter()
        page.goto(address)
        page.wait_for_selector(READY)
        tell("opened again")
        overlay, timeline = page.evaluate(DRAW)
        print(f"a frame: overlay {overlay:.2f} ms, timeline {timeline:.2f} ms")
        wished, shown = page.evaluate(SCRUB, WISHES)
        print(f"scrubbing: {wished:.0f} frames/s of boxes, {shown:.0f} of pictures")
        begin = time.perf_counter()
        page.evaluate("() => review.player.seek(review.store.tracks.get(100).first + 50)")
        page.keyboard.press("Escape")
        page.evaluate("() => { review.select(100); review.act('split'); }")
        page.locator("#status", has_text="done: split 100").wait_for()
        tell("a split")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    video, tracks = folder / "long.mp4", folder / "tracks.jsonl"
    if not video.exists():
        write_video(video)
    if not tracks.exists():
        write_tracks(tracks)
    tracks.with_name("tracks.edits.jsonl").unlink(missing_ok=True)
    print(f"load of this machine: {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    measure(video, tracks)


if __name__ == "__main__":
    main()
