"""The same objects have the same ids in several videos, and people see and change what is known."""

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from masa_cli.cli.app import app
from masa_cli.formats.gallery import changing, reading
from masa_cli.formats.gallery_records import AdapterKey
from masa_cli.render.video import VideoWriter
from masa_cli.structures import Frame, VideoInfo
from tests.clips import write_clip

RATE, SIZE = Fraction(10), (160, 96)
NUM_FRAMES = 16


def masa(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def write_scene(folder, name, objects, seed):
    """Objects of their own colours that walk side by side over a place of its own."""
    video, dets = folder / f"{name}.mp4", folder / f"{name}.txt"
    if video.exists():
        return video, dets
    rng = np.random.default_rng(seed)
    width, height = SIZE
    background = np.full((height, width, 3), rng.integers(60, 150, 3), np.uint8)
    lines = []
    with VideoWriter(video, VideoInfo(name, width, height, RATE, 1 / RATE, NUM_FRAMES)) as writer:
        for index in range(NUM_FRAMES):
            image = background.copy()
            for place, number in enumerate(objects):
                own = np.random.default_rng(1000 + number)
                colours = own.integers(0, 255, (7, 3))
                left, top = 8 + 24 * place + index // 2, 20 + 10 * (place % 3)
                for stripe in range(7):
                    rows = slice(top + 6 * stripe, top + 6 * stripe + 6)
                    image[rows, left : left + 18] = colours[stripe]
                lines.append(f"{index + 1},-1,{left},{top},18,42,0.9\n")
            noise = rng.normal(0, 4, image.shape)
            noisy = np.clip(image + noise, 0, 255).astype(np.uint8)
            writer.write(Frame(index, index / RATE, noisy))
    dets.write_text("".join(lines))
    return video, dets


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def track(folder, name, objects, seed, *options):
    video, dets = write_scene(folder, name, objects, seed)
    return masa(
        "track", video, "--dets", dets, "--gallery", "shop.gallery", "-o", f"out-{name}",
        "--no-video", *options,
    )  # fmt: skip


def report(name):
    return json.loads(Path(f"out-{name}/identities.json").read_text())["identities"]


def ids_by_place(name):
    """Identity of each object, from left to right."""
    line = json.loads(Path(f"out-{name}/tracks.jsonl").read_text().splitlines()[8])
    order = np.argsort([box[0] for box in line["boxes"]])
    return [line["ids"][place] for place in order]


def test_the_same_objects_have_the_same_ids_in_another_video(folder):
    first = track(folder, "one", [0, 1, 2, 3, 4], 1)
    assert first.exit_code == 0, first.output
    assert "0 known, 5 new" in first.stderr
    second = track(folder, "two", [3, 1, 7, 0, 4], 2)
    assert second.exit_code == 0, second.output
    before, after = ids_by_place("one"), ids_by_place("two")
    assert sorted(before) == [1, 2, 3, 4, 5]
    assert after[2] > 5  # it was never seen before
    known = [after[0] == before[3], after[1] == before[1], after[3] == before[0]]
    assert sum([*known, after[4] == before[4]]) >= 3
    for each in report("two"):
        assert each["verdict"] in ("known", "new", "unsure")
    assert not Path("out-two/embeddings.masa").exists()
    assert not Path("out-two/embeddings.masa.part").exists()
    crops = [each.crop for each in identities()]
    assert all(crop.startswith(b"\xff\xd8") for crop in crops)


def identities():
    with reading(Path("shop.gallery")) as gallery:
        return gallery.identities()


def test_ids_that_were_given_are_never_given_again(folder):
    track(folder, "one", [0, 1], 1)
    highest = max(ids_by_place("one"))
    assert masa("gallery", "remove", "shop.gallery", *sorted(ids_by_place("one"))).exit_code == 0
    track(folder, "two", [0, 1], 2)
    assert min(ids_by_place("two")) > highest


def test_a_run_that_is_resumed_after_the_gallery_was_written_gets_the_same_ids(folder, monkeypatch):
    class Killed(BaseException):
        pass

    def kill(*_args, **_options):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("masa_cli.jobs.run.open_sinks", kill)
        with pytest.raises(Killed):
            track(folder, "one", [0, 1, 2], 1)
    first = [each["id"] for each in report("one")]
    assert len(identities()) == 3
    again = track(folder, "one", [0, 1, 2], 1, "--resume")
    assert again.exit_code == 0, again.output
    assert len(identities()) == 3
    assert sorted(ids_by_place("one")) == sorted(first)


def test_a_gallery_of_another_adapter_is_refused_before_anything_is_loaded(folder, monkeypatch):
    with changing(Path("shop.gallery"), AdapterKey("lite", "ab" * 32), 8):
        pass
    monkeypatch.setattr("masa_cli.jobs.run.build_networks", None)
    result = track(folder, "one", [0, 1], 1)
    assert result.exit_code == 1
    assert "holds embeddings of the adapter lite" in result.stderr
    assert "--adapter lite" in result.stderr
    assert not Path("out-one").exists()


def test_a_live_run_gives_ids_as_soon_as_they_are_sure(folder):
    first = track(folder, "one", [0, 1, 2, 3, 4], 1, "--jsonl", "-")
    assert first.exit_code == 0, first.output
    assert "0 known, 5 new" in first.stderr
    second = track(folder, "two", [3, 1, 7, 0, 4], 2, "--jsonl", "-")
    assert second.exit_code == 0, second.output
    lines = [json.loads(line) for line in second.stdout.splitlines()]
    kept = [json.loads(line) for line in Path("out-two/tracks.jsonl").read_text().splitlines()]
    ids = [line["ids"] for line in lines if "ids" in line]
    assert ids == [line["ids"] for line in kept if "ids" in line]  # nothing is changed afterwards
    assert all(len(set(each)) == len(each) for each in ids)
    before = ids_by_place("one")
    assert sorted(before) == [1, 2, 3, 4, 5]
    seen_first = next(each for each in ids if len(each) == 5)
    assert min(seen_first) > 5  # nobody is known before five boxes were seen
    last = ids[-1]
    known = set(last) & set(before)
    assert len(known) >= 3
    told = {each["id"]: each for each in report("two")}
    for identity in known:
        assert told[identity]["verdict"] == "known"
        assert set(told[identity]["shown_before_as"]) <= set(seen_first)
    learned = {each.id for each in identities()}
    assert learned == {*before, *last}
    assert all(each.crop.startswith(b"\xff\xd8") for each in identities())


def test_a_live_run_recognises_what_an_offline_run_learned_and_the_other_way_round(folder):
    track(folder, "one", [0, 1, 2, 3, 4], 1)
    live = track(folder, "two", [3, 1, 7, 0, 4], 2, "--jsonl", "-")
    assert live.exit_code == 0, live.output
    fresh = max(each.id for each in identities())
    third = track(folder, "three", [7, 0, 8, 1, 2], 3)
    assert third.exit_code == 0, third.output
    found = {each["id"] for each in report("three")}
    assert len(found & {1, 2, 3, 4, 5, fresh}) >= 3
    assert min(found - {1, 2, 3, 4, 5, fresh}) == 11  # 6 to 10 were shown before it was sure


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--association", "motion"], "makes no embeddings"),
        (["--max-false-matches", "2"], "a share between 0 and 1"),
        (["--same-time", "soon"], "expects a time"),
    ],
)
def test_what_cannot_work_is_told_at_once(folder, options, words):
    result = track(folder, "one", [0], 1, *options)
    assert result.exit_code in (1, 2)
    assert words in " ".join(result.stderr.split())
    assert not Path("shop.gallery").exists()


def test_options_of_a_gallery_need_one(folder):
    video, dets = write_clip(folder, 4)
    result = masa("track", video, "--dets", dets, "--same-time", "0")
    assert result.exit_code == 2
    assert "--gallery FILE" in result.stderr


def test_cameras_that_film_at_the_same_time_have_nothing_in_common(folder):
    assert track(folder, "one", [0, 1, 2, 3, 4], 1, "--same-time", "0").exit_code == 0
    assert track(folder, "two", [0, 1, 2, 3, 4], 2, "--same-time", "0.5").exit_code == 0
    assert not set(ids_by_place("one")) & set(ids_by_place("two"))
    assert track(folder, "three", [0, 1, 2, 3, 4], 3, "--same-time", "60").exit_code == 0
    seen_before = {*ids_by_place("one"), *ids_by_place("two")}
    assert set(ids_by_place("three")) & seen_before


def test_retrack_recognises_as_well(folder):
    video, dets = write_scene(folder, "one", [0, 1, 2], 1)
    kept = masa("track", video, "--dets", dets, "--save-embeddings", "-o", "kept", "--no-video")
    assert kept.exit_code == 0, kept.output
    again = masa("retrack", "kept/embeddings.masa", "--gallery", "shop.gallery", "-o", "out-one")
    assert again.exit_code == 0, again.output
    assert sorted(ids_by_place("one")) == [1, 2, 3]


def test_identities_are_listed_named_merged_removed_and_exported(folder):
    track(folder, "one", [0, 1, 2], 1)
    track(folder, "two", [5, 6, 7], 2)
    assert masa("gallery", "rename", "shop.gallery", 2, "Anna").exit_code == 0
    listed = masa("gallery", "list", "shop.gallery")
    assert "by the adapter raw" in listed.output
    assert "Anna" in listed.output
    rows = json.loads(masa("gallery", "list", "shop.gallery", "--json").stdout)["identities"]
    others = [row["id"] for row in rows if row["seen"][0]["video"] == "two"]
    assert masa("gallery", "merge", "shop.gallery", 2, others[0]).exit_code == 0
    shown = masa("gallery", "show", "shop.gallery", 2)
    assert "2 (Anna): object" in shown.stdout
    assert "two" in shown.stdout
    assert masa("gallery", "remove", "shop.gallery", 1).exit_code == 0
    assert masa("gallery", "export", "shop.gallery", "exported").exit_code == 0
    exported = json.loads(Path("exported/identities.json").read_text())
    assert [each["id"] for each in exported["identities"]] == [2, 3, *others[1:]]
    assert Path("exported/crops/2.jpg").read_bytes().startswith(b"\xff\xd8")
    arrays = np.load("exported/embeddings.npz")
    assert set(arrays["identities"].tolist()) == {2, 3, *others[1:]}
    assert len(arrays["embeddings"]) == len(arrays["identities"])


def test_an_identity_that_is_not_there_is_told(folder):
    track(folder, "one", [0], 1)
    for command in (("show", 9), ("remove", 9), ("merge", 1, 9), ("rename", 9, "x")):
        name, *rest = command
        result = masa("gallery", name, "shop.gallery", *rest)
        assert result.exit_code == 1
        assert "has no identity 9" in result.stderr


def test_no_gallery_is_told(folder):
    result = masa("gallery", "list", "no.gallery")
    assert result.exit_code == 1
    assert "no.gallery does not exist" in result.stderr
    assert not Path("no.gallery").exists()


@pytest.fixture
def finished(folder):
    """A run of three objects, ids 1 to 3, and one that is seen in four frames, id 4."""
    video, dets = write_scene(folder, "one", [0, 1, 2, 3], 1)
    lines = [line.split(",") for line in dets.read_text().splitlines()]
    kept = [row for number, row in enumerate(lines) if number % 4 != 3 or 8 <= int(row[0]) < 12]
    dets.write_text("".join(",".join(row) + "\n" for row in kept))
    result = masa("track", video, "--dets", dets, "--save-embeddings", "-o", "kept", "--no-video")
    assert result.exit_code == 0, result.output
    return Path("kept")


def add(*arguments):
    result = masa("gallery", "add", "shop.gallery", *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_identities_of_a_finished_run_are_added_as_new_ones(finished):
    told = add(finished)
    assert [(each["id"], each["of_run"]) for each in told["added"]] == [(1, 1), (2, 2), (3, 3)]
    assert told["too_short"] == [4]
    with reading(Path("shop.gallery")) as gallery:
        assert gallery.adapter == AdapterKey("raw")
        assert [each.name for each in gallery.videos()] == ["one"]
        assert [each.num_boxes for each in gallery.sightings()] == [NUM_FRAMES] * 3
    known = track(finished.parent, "two", [2, 0, 1, 7], 2)
    assert known.exit_code == 0, known.output
    assert set(ids_by_place("two")) & {1, 2, 3}


def test_what_is_added_can_be_chosen_and_named(finished):
    result = masa(
        "gallery", "add", "shop.gallery", finished / "embeddings.masa", "--ids", 2, "--name", "Anna"
    )
    assert result.exit_code == 0, result.output
    assert "shop.gallery: 1 added, 0 left out" in result.stdout
    assert "Anna" in result.stdout
    assert [(each.id, each.name) for each in identities()] == [(1, "Anna")]
    assert [each["of_run"] for each in add(finished, "--ids", "3,1")["added"]] == [3, 1]
    with reading(Path("shop.gallery")) as gallery:
        assert len(gallery.videos()) == 1  # what was seen together is still known to be distinct
    told = add(finished, "--ids", "1,2,3")
    assert not told["added"]
    assert [each["id"] for each in told["already_there"]] == [3, 1, 2]


def test_what_was_added_before_is_left_out_until_it_is_removed(finished):
    add(finished, "--ids", "1,2")
    assert masa("gallery", "remove", "shop.gallery", 2).exit_code == 0
    told = add(finished)
    assert [(each["id"], each["of_run"]) for each in told["added"]] == [(3, 2), (4, 3)]
    assert told["already_there"] == [{"id": 1, "of_run": 1}]
    again = masa("gallery", "add", "shop.gallery", finished)
    assert "2 of the run was left out: it is 3 already" in again.stdout
    assert "4 of the run was left out: it was seen in too few boxes" in again.stdout


def test_an_addition_that_fails_leaves_the_gallery_as_it_was(finished, monkeypatch):
    add(finished, "--ids", "1")

    def fail(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("masa_cli.formats.gallery.Gallery.set_ids", fail)
    assert masa("gallery", "add", "shop.gallery", finished, "--ids", "2").exit_code == 1
    assert [each.id for each in identities()] == [1]


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--ids", "9"], 1, "has no identity 9"),
        (["--ids", "4"], 1, "was seen in 5 boxes"),
        (["--ids", ""], 2, "--ids expects ids"),
        (["--ids", "1,two"], 2, "--ids expects ids"),
        (["--name", "Anna"], 2, "--name is for a single identity"),
        (["--ids", "1,2", "--name", "Anna"], 2, "--name is for a single identity"),
    ],
)
def test_what_cannot_be_added_is_told_and_makes_no_gallery(finished, options, code, words):
    result = masa("gallery", "add", "shop.gallery", finished, *options)
    assert result.exit_code == code
    assert words in " ".join(result.stderr.split())
    assert not Path("shop.gallery").exists()


def test_a_run_without_embeddings_cannot_be_added(finished):
    (finished / "embeddings.masa").unlink()
    result = masa("gallery", "add", "shop.gallery", finished)
    assert result.exit_code == 1
    assert "has no embeddings.masa" in result.stderr
    assert "--save-embeddings" in result.stderr


def test_nothing_is_added_to_a_gallery_of_another_adapter(finished):
    with changing(Path("shop.gallery"), AdapterKey("lite", "ab" * 32), 8):
        pass
    result = masa("gallery", "add", "shop.gallery", finished)
    assert result.exit_code == 1
    assert "holds embeddings of the adapter lite" in result.stderr
    assert not identities()


def test_identities_are_listed_without_what_reads_videos(folder):
    with changing(Path("shop.gallery"), AdapterKey("lite", "ab" * 32), 8):
        pass
    code = (
        "import sys; from masa_cli.__main__ import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'cv2', 'av', 'PIL', 'scipy.optimize'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "gallery", "list", "shop.gallery"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
