"""Settings of an association compared on kept runs, each many times with a few boxes missing.

    python -m tests.benchmarks.perturbed --run RUN TRUTH [--run RUN TRUTH ...]
        [--try "defer_margin=1 linking.min_llr=4" ...] [--seeds 10] [--live] [--jobs 2]

RUN is a folder that `masa track --save-embeddings` wrote, TRUTH MOTChallenge's truth of its video.
One confusion of two people costs a clip several points, and whether it happens hangs on a hair: on
one box more or less. So each clip is associated once for every seed with 6 % of its boxes left out
and scores off by 0.03 (one standard deviation), with the settings of its own run and with each
--try on top of them. Told are means over clips and seeds, and of each gain the standard error of
its mean over seeds, which all settings share. Boxes on truth that does not count are taken out, as
in sequences.py. --live scores what a live run would have shown.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np

from masa_cli.formats.embeddings import EmbeddingsReader
from masa_cli.structures import Observation
from tests.benchmarks.sequences import Entry, Truth, read_counted, scored, track

MISSING, SCORE_SPREAD = 0.06, 0.03
METRICS = ("HOTA", "AssA", "IDF1", "IDSW")


@cache
def observations(run: Path) -> list[Observation]:
    """All that a tracker is told in a run."""
    return list(EmbeddingsReader(run / "embeddings.masa"))


def settings_of(run: Path) -> tuple[str, tuple[str, ...]]:
    """The association of a run, and what it was set to."""
    association = json.loads((run / "run.json").read_text())["association"]
    return association["name"], tuple(f"{k}={v}" for k, v in association["settings"].items())


def perturbed(seen: Sequence[Observation], seed: int) -> list[Observation]:
    """The same with some boxes left out, and other scores."""
    rng = np.random.default_rng(seed)
    found = []
    for observation in seen:
        kept = rng.random(len(observation.detections)) >= MISSING
        detections = observation.detections[kept]
        scores = detections.scores + rng.normal(0, SCORE_SPREAD, len(detections))
        detections = replace(detections, scores=np.clip(scores, 0, 1).astype(np.float32))
        rows = observation.embeddings[kept]
        found.append(replace(observation, detections=detections, embeddings=rows))
    return found


def measure(run: Path, truth: Truth, seed: int, changes: str, live: bool) -> list[float]:
    """The metrics of one clip, one seed, one setting."""
    name, settings = settings_of(run)
    entry = Entry(changes, name, (*settings, *changes.split()), is_refined=not live)
    tracks, _ = track(entry, perturbed(observations(run), seed))
    length = len(truth.boxes)
    scores = scored(truth, tracks[:length])
    return [scores[metric] for metric in METRICS]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    both = ("RUN", "TRUTH")
    parser.add_argument("--run", nargs=2, type=Path, action="append", required=True, metavar=both)
    parser.add_argument("--try", dest="tried", action="append", default=[])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--live", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    clips = [(run, read_counted(truth, len(observations(run)))) for run, truth in options.run]
    settings = ["", *options.tried]
    with ProcessPoolExecutor(options.jobs) as pool:
        jobs = [
            pool.submit(measure, run, truth, seed, changes, options.live)
            for changes, (run, truth), seed in product(settings, clips, range(options.seeds))
        ]
        rows = np.array([job.result() for job in jobs])
    table = rows.reshape(len(settings), len(clips), options.seeds, len(METRICS))
    idf1 = METRICS.index("IDF1")
    print(f"{'':32}" + "".join(f"{metric:>8}" for metric in METRICS) + f"{'gain in IDF1':>22}")
    for changes, values in zip(settings, table, strict=True):
        gains = (values - table[0])[..., idf1].mean(axis=0)
        error = gains.std(ddof=1) / np.sqrt(len(gains)) if len(gains) > 1 else np.nan
        told = f"{gains.mean():+14.1f} +- {error:.1f}" if changes else ""
        means = "".join(f"{value:8.1f}" for value in values.mean(axis=(0, 1)))
        print(f"{changes or 'as they were run':32}{means}{told}")
        own = zip(options.run, values[..., idf1], strict=True)
        print("    " + ", ".join(f"{run.name} {each.mean():.1f}" for (run, _), each in own))


if __name__ == "__main__":
    main()
