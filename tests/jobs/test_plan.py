"""`masa track` with masks: by colour, given, or wanted where there can be none."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from pycocotools import mask as coco
from typer.testing import CliRunner

from masa_cli.cli.app import app
from masa_cli.formats.jsonl import TracksReader
from masa_cli.formats.mots import read_masks
from masa_cli.jobs.plan import Options, plan_job
from masa_cli.masks import frames_of
from masa_cli.segmenters import SegmenterRequest
from masa_cli.sources import open_source
from tests.clips import HEIGHT, WIDTH, write_clip

NUM_FRAMES = 12
BY_COLOUR = ("--masks", "--segmenter", "grabcut", "--association", "motion")


def masa(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def clip(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "none"))
    write_clip(tmp_path, NUM_FRAMES)
    return ("street.mp4", "--dets", "dets.txt")


def tracks_of(path="street/tracks.jsonl"):
    return [tracks for tracks in (frame.tracks for frame in TracksReader(Path(path)))]


def test_masks_are_in_all_results_and_say_the_same(clip):
    formats = ("--also", "mots,ytvis,coco,bdd", "--masks-png")
    result = masa("track", *clip, *BY_COLOUR, *formats)
    assert result.exit_code == 0, result.output
    assert "24 boxes (24 with masks)" in result.stdout
    assert "tracks in a frame: 2.0 on average, 2 at most" in result.stdout
    tracks = tracks_of()
    assert all(each.has_mask.all() for each in tracks)
    assert {mask.size for each in tracks for mask in each.masks} == {(HEIGHT, WIDTH)}
    # Found inside the boxes, and most of them.
    for each in tracks:
        found = frames_of(each.masks)
        assert (found[:, :2] >= np.floor(each.boxes[:, :2])).all()
        assert (found[:, 2:] <= np.ceil(each.boxes[:, 2:])).all()
    expected = [mask.counts for each in tracks for mask in each.masks]
    assert read_masks(Path("street/street.mots.txt")).masks == expected
    annotations = json.loads(Path("street/street.coco.json").read_text())["annotations"]
    assert [entry["segmentation"]["counts"] for entry in annotations] == expected
    by_identity = json.loads(Path("street/street.ytvis.json").read_text())["annotations"]
    for entry in by_identity:
        masks = [each.masks[each.ids == entry["id"]][0].counts for each in tracks]
        assert [mask["counts"] for mask in entry["segmentations"]] == masks
    for number, each in enumerate(tracks, start=1):
        picture = cv2.imread(f"street/street.masks/{number:06d}.png", cv2.IMREAD_UNCHANGED)
        for identity, mask in zip(each.ids, each.masks, strict=True):
            whole = coco.decode({"size": list(mask.size), "counts": mask.counts.encode()})
            np.testing.assert_array_equal(picture == identity, whole.astype(bool))


def test_masks_are_drawn(clip):
    assert masa("track", *clip, "--association", "motion", "-o", "plain").exit_code == 0
    assert masa("track", *clip, *BY_COLOUR, "-o", "masked").exit_code == 0
    plain, masked = (
        next(iter(open_source(Path(folder) / "street.mp4").frames())).image.astype(int)
        for folder in ("plain", "masked")
    )
    [first, *_] = tracks_of("masked/tracks.jsonl")
    x1, y1, x2, y2 = frames_of(first.masks)[0].astype(int)
    inside = np.abs(plain - masked)[y1 + 4 : y2 - 4, x1 + 4 : x2 - 4]
    assert inside.mean() > 10
    assert np.abs(plain - masked)[-8:].mean() < 3  # no object is there
    # What was tracked once is drawn again with its masks.
    assert masa("render", "street.mp4", "masked/tracks.jsonl", "-o", "again.mp4").exit_code == 0
    again = next(iter(open_source(Path("again.mp4")).frames())).image
    np.testing.assert_array_equal(again, masked)


def test_tracks_with_masks_are_detections_with_masks(clip):
    assert masa("track", *clip, *BY_COLOUR, "-o", "first").exit_code == 0
    again = ("--dets", "first/tracks.jsonl", "--association", "motion", "--also", "mots")
    result = masa("track", "street.mp4", *again, "-o", "second")
    assert result.exit_code == 0, result.output
    for first, second in zip(
        tracks_of("first/tracks.jsonl"), tracks_of("second/tracks.jsonl"), strict=True
    ):
        assert first.masks.tolist() == second.masks.tolist()


def test_boxes_are_fitted_to_their_masks(clip):
    assert masa("track", *clip, *BY_COLOUR, "--fit-boxes").exit_code == 0
    for tracks in tracks_of():
        np.testing.assert_array_equal(tracks.boxes, frames_of(tracks.masks))


def test_the_second_look_and_the_clean_up_keep_masks(clip):
    options = ("--masks", "--segmenter", "grabcut", "--clean-up")
    assert masa("track", *clip, *options).exit_code == 0
    tracks = tracks_of()
    assert sum(len(each) for each in tracks) == 24
    assert all(each.has_mask.all() for each in tracks)


def test_identities_that_are_hardly_seen_are_left_out(clip):
    dets = Path("dets.txt")
    dets.write_text(dets.read_text() + "".join(f"{n},-1,80,2,9,9,0.9\n" for n in (3, 4, 5)))
    plain = ("--association", "motion", "--no-video")
    assert masa("track", *clip, *plain).exit_code == 0
    assert sum(len(each) for each in tracks_of()) == 27
    assert masa("track", *clip, *plain, "--min-track-length", 4, "--overwrite").exit_code == 0
    assert sum(len(each) for each in tracks_of()) == 24
    assert masa("track", *clip, *plain, "--min-track-length", 3, "--overwrite").exit_code == 0
    assert sum(len(each) for each in tracks_of()) == 27


def test_auto_takes_what_comes_with_masa_where_there_is_nothing_else_and_says_so(clip):
    result = masa("track", *clip, "--masks", "--association", "motion", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "info: masks by lite" in result.stderr
    assert "24 boxes (24 with masks)" in result.stdout


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--also", "mots"), "mots needs masks, but only boxes are tracked"),
        (("--also", "ytvis"), "ytvis needs masks"),
        (("--masks-png",), "--masks-png needs masks"),
        (("--fit-boxes",), "--fit-boxes needs masks"),
        (("--masks", "--segmenter", "sam-vit-h"), 'the weights "sam-vit-h"'),
        (("--segmenter", "sam"), 'unknown segmenter "sam"'),
        (("--segmenter", "dets.txt"), "dets.txt is no file of weights"),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused_before_anything_is_written(clip, options, problem):
    result = masa("track", *clip, *options)
    assert result.exit_code == 1
    assert problem in " ".join(result.stderr.split())
    assert not Path("street").exists()


def test_masks_are_the_detectors_own_where_the_adapter_has_none(clip, tmp_path):
    (tmp_path / "detic_masa.pth").touch()
    options = Options(
        source=Path("street.mp4"),
        prompt="person",
        detector="detic",
        adapter="raw",
        masks=True,
        weights_dir=tmp_path,
    )
    own = SegmenterRequest("detic", tmp_path / "detic_masa.pth")
    assert plan_job(options).perception.segmenter == own
    assert plan_job(replace(options, segmenter="lite")).perception.segmenter.name == "lite"


def test_masks_need_pictures(clip):
    result = masa("track", "--dets", "dets.txt", "--masks", "--segmenter", "grabcut")
    assert result.exit_code == 1
    assert "masks need images, but there are no images" in result.stderr
    # Masks that are given do not, but for pictures of identities.
    assert masa("track", *clip, *BY_COLOUR, "-o", "first").exit_code == 0
    given = ("--dets", "first/tracks.jsonl", "--association", "motion", "-o", "second")
    result = masa("track", *given, "--masks-png")
    assert result.exit_code == 1
    assert "masks need images" in result.stderr
    result = masa("track", *given, "--also", "mots,ytvis")
    assert result.exit_code == 0, result.output
    assert sum(each.has_mask.sum() for each in tracks_of("second/tracks.jsonl")) == 24


def test_masks_of_another_video_are_refused(clip):
    assert masa("track", *clip, *BY_COLOUR, "-o", "first").exit_code == 0
    lines = Path("first/tracks.jsonl").read_text()
    Path("other.jsonl").write_text(lines.replace(f'"size":[{HEIGHT},{WIDTH}]', '"size":[96,64]'))
    result = masa("track", "street.mp4", "--dets", "other.jsonl")
    assert result.exit_code == 1
    said = " ".join(result.stderr.split())
    assert "other.jsonl: masks of 64 x 96 pixels, but the frames have 96 x 64" in said


def test_a_file_of_another_size_of_segment_anything_is_named_as_what_it_is(clip, tmp_path):
    file = tmp_path / "sam_vit_b_01ec64.pth"
    torch.save({"image_encoder.pos_embed": torch.zeros(1, 64, 64, 1280)}, file)
    options = ("--masks", "--segmenter", "sam-vit-b", "--weights-dir", tmp_path)
    result = masa("track", *clip, *options, "--association", "motion")
    assert result.exit_code == 1
    said = " ".join(result.stderr.split())
    assert "sam_vit_b_01ec64.pth does not hold the weights of variant sam-vit-b" in said
    assert "these are weights of sam-vit-h: use --segmenter sam-vit-h" in said
