"""Random sequences full of ties and borders, against TrackEval's own readers and preprocessing."""

import numpy as np
import pytest
from pycocotools import mask as coco

from masa_cli.evaluation import evaluate
from tests.evaluation.trackeval_datasets import scores_of

pytest.importorskip("trackeval")


# Sums in another order differ in the last bits; anything above is another result.
EXACT = 1e-9
LENGTHS = {"first": 25, "second": 14}


def assert_rows_equal(rows, expected):
    assert set(rows) == set(expected)
    for name, fields in expected.items():
        for field, value in fields.items():
            assert rows[name][field] == pytest.approx(np.mean(value), abs=EXACT), (name, field)


def write(folder, sequence, length, truth, results):
    (folder / "gt" / sequence / "gt").mkdir(parents=True)
    (folder / "gt" / sequence / "gt" / "gt.txt").write_text(truth)
    (folder / "gt" / sequence / "seqinfo.ini").write_text(f"[Sequence]\nseqLength={length}\n")
    (folder / "res").mkdir(exist_ok=True)
    (folder / "res" / f"{sequence}.txt").write_text(results)


def random_boxes(generator, length, with_classes):
    """Truth of all classes and flags, results on and beside it; rows in random order.

    Whole pixels on a coarse grid: many pairs are equally good, or exactly at IoU 0.5.
    """
    truth, results = [], []
    for frame in range(1, length + 1):
        if frame % 7 == 0:
            continue
        for who in generator.permutation(9):
            left, top = 20 * who + 2 * (frame % 5), 10 * (who % 3)
            class_ = (1, 1, 1, 1, 2, 6, 7, 8, 12)[who] if with_classes else -1
            flag = int(generator.random() > 0.2)
            tail = f"{class_},1" if with_classes else "-1,-1,-1"
            truth.append(f"{frame},{who + 1},{left},{top},30,30,{flag},{tail}\n")
            for _ in range(generator.integers(3)):
                shift = generator.choice((0, 2, 5, 15))
                results.append((frame, left + shift, top, 30 - shift))
    rows, ids = [], {}
    for index in generator.permutation(len(results)):
        frame, left, top, width = results[index]
        taken = ids.setdefault(frame, list(generator.permutation(30)))
        rows.append(f"{frame},{taken.pop()},{left},{top},{width},30,0.5,-1,-1,-1\n")
    return "".join(truth), "".join(rows)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("benchmark", ["mot", "mot20", "mot15"])
def test_boxes_score_as_in_trackeval(tmp_path, benchmark, seed):
    generator = np.random.default_rng(seed)
    for sequence, length in LENGTHS.items():
        write(tmp_path, sequence, length, *random_boxes(generator, length, benchmark != "mot15"))
    protocol = "mot" if benchmark == "mot15" else benchmark
    report = evaluate(tmp_path / "gt", tmp_path / "res", protocol=protocol)
    expected = scores_of(benchmark, tmp_path / "gt", tmp_path / "res", LENGTHS)["pedestrian"]
    assert expected["COMBINED"]["CLR_TP"] > 20
    assert_rows_equal({**report.sequences, "COMBINED": report.combined}, expected)
    for field in ("HOTA", "DetA", "AssA"):
        np.testing.assert_allclose(report.curves[field], expected["COMBINED"][field], atol=EXACT)


def random_masks(generator, length, first_frame, with_ignore):
    """Strips of 12 pixels beside each other, cut and moved; the right third is often ignored."""
    height, width = 20, 96
    files = ([], [])
    for frame in range(first_frame, length + first_frame):
        for side, lines in enumerate(files):
            pixels = np.full((height, width), -1)
            for who in range(8):
                if generator.random() < 0.25:
                    continue
                left = max(0, 12 * who + int(generator.integers(-3, 4)))
                pixels[: generator.integers(8, height + 1), left : left + 12] = who
            ids = generator.permutation(8) if side and generator.random() < 0.2 else np.arange(8)
            ignored = side == 0 and with_ignore and generator.random() < 0.8
            if ignored:
                pixels[:, 70:] = 99
            for who in np.unique(pixels[pixels >= 0]).tolist():
                class_ = 10 if who == 99 else 1 + who % 2
                number = 10000 if who == 99 else 1000 * class_ + ids[who]
                mask = coco.encode(np.asfortranarray(pixels == who))["counts"].decode()
                lines.append(f"{frame} {number} {class_} {height} {width} {mask}\n")
    return tuple("".join(lines) for lines in files)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("protocol", ["mots", "kitti-mots"])
def test_masks_score_as_in_trackeval(tmp_path, protocol, seed):
    generator = np.random.default_rng(seed)
    first_frame = 0 if protocol == "kitti-mots" else 1
    for sequence, length in LENGTHS.items():
        files = random_masks(generator, length, first_frame, with_ignore=seed > 0)
        write(tmp_path, sequence, length, *files)
    report = evaluate(tmp_path / "gt", tmp_path / "res", protocol=protocol)
    expected = scores_of(protocol, tmp_path / "gt", tmp_path / "res", LENGTHS)
    if protocol == "mots":
        rows = {**report.sequences, "COMBINED": report.combined}
        assert_rows_equal(rows, expected["pedestrian"])
        return
    assert_rows_equal(
        report.classes, {class_: rows["COMBINED"] for class_, rows in expected.items()}
    )
    assert_rows_equal(
        report.sequences,
        {f"{name} {class_}": rows[name] for name in LENGTHS for class_, rows in expected.items()},
    )
