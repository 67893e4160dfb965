"""Which segmenter is taken, and what it gives to tracks."""

import logging
from fractions import Fraction

import numpy as np
import pytest
import torch

from masa_cli.errors import SettingsError, WeightsError
from masa_cli.masks import as_array, pack
from masa_cli.pipeline import add_masks
from masa_cli.progress import RunProgress
from masa_cli.segmenters import SegmenterRequest, TrackSegmenter, request_segmenter
from masa_cli.structures import (
    CameraMotion,
    EndedTracklets,
    Frame,
    FrameTracks,
    TrackletRecord,
    Tracks,
)
from masa_cli.weights.manifest import look_for_packaged
from tests.lite_file import write_lite

FRAME = Frame(0, Fraction(0), np.zeros((40, 60, 3), np.uint8))


def mask_at(x, y):
    return pack(np.ones((3, 4), bool), (x, y), (40, 60))


class Corners:
    """A mask in the corner of each box; None for boxes at the left edge."""

    def __init__(self):
        self.asked = []

    def segment(self, frame, boxes):
        self.asked.append(boxes.tolist())
        return [mask_at(int(box[0]), int(box[1])) if box[0] else None for box in boxes]


def tracks(*corners, masks=None):
    boxes = np.float32([[x, y, x + 20, y + 20] for x, y in corners]).reshape(-1, 4)
    count = len(boxes)
    ones, ids = np.ones(count, np.float32), np.arange(1, count + 1)
    return Tracks(boxes, ones, np.zeros(count, np.int64), ids, masks=masks)


def test_tracks_get_masks_and_keep_all_else():
    before = tracks((0, 0), (5, 6))
    after = TrackSegmenter(Corners()).segment(FRAME, before)
    assert after.masks.tolist() == [None, mask_at(5, 6)]
    np.testing.assert_array_equal(after.boxes, before.boxes)
    np.testing.assert_array_equal(after.ids, before.ids)
    assert not before.has_mask.any()


def test_masks_that_came_with_the_boxes_stay():
    given = as_array([mask_at(30, 30), None])
    corners = Corners()
    after = TrackSegmenter(corners).segment(FRAME, tracks((1, 1), (5, 6), masks=given))
    assert after.masks.tolist() == [mask_at(30, 30), mask_at(5, 6)]
    assert corners.asked == [[[5, 6, 25, 26]]]


def test_nothing_is_asked_without_boxes():
    corners = Corners()
    assert len(TrackSegmenter(corners).segment(FRAME, Tracks.empty())) == 0
    assert corners.asked == []


def test_boxes_are_fitted_on_request():
    after = TrackSegmenter(Corners(), fits_boxes=True).segment(FRAME, tracks((0, 0), (5, 6)))
    assert after.boxes.tolist() == [[0, 0, 20, 20], [5, 6, 9, 9]]
    given = as_array([mask_at(30, 30)])
    after = TrackSegmenter(None, fits_boxes=True).segment(FRAME, tracks((1, 1), masks=given))
    assert after.boxes.tolist() == [[30, 30, 34, 33]]


def test_boxes_that_may_become_a_track_get_masks_too():
    record = TrackletRecord(
        np.empty(0, np.int64), tracks((5, 6)), EndedTracklets.none(), CameraMotion.identity()
    )

    def tracked():
        yield FRAME, FrameTracks(0, 0.0, tracks((1, 2)), record)

    ((_, after),) = add_masks(tracked(), TrackSegmenter(Corners()), progress=RunProgress())
    assert after.tracks.masks.tolist() == [mask_at(1, 2)]
    assert after.record.tentative.masks.tolist() == [mask_at(5, 6)]


PACKAGED = look_for_packaged("lite.safetensors")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of weights that is the only one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none"))
    monkeypatch.delenv("MASA_WEIGHTS", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "none"))
    return tmp_path


def test_auto_takes_the_lightest_that_is_here_and_says_so(folder, caplog):
    caplog.set_level(logging.INFO)
    assert request_segmenter("auto", folder=folder) == SegmenterRequest("lite", PACKAGED)
    assert "masks by lite" in caplog.text
    (folder / "sam_vit_h_4b8939.pth").touch()
    assert request_segmenter("auto", folder=folder).name == "sam-vit-h"
    (folder / "sam_vitb_masa.pth").touch()
    request = request_segmenter("auto", folder=folder)
    assert request == SegmenterRequest("sam-b", folder / "sam_vitb_masa.pth")
    assert f"masks by the ViT-B inside MASA-SAM-B ({request.weights})" in caplog.text


def test_auto_takes_what_is_inside_the_adapter(folder):
    (folder / "sam_vit_b_01ec64.pth").touch()
    own = folder / "my_sam_h.pth"
    request = request_segmenter("auto", folder=folder, adapter="sam-h", weights=own)
    assert request == SegmenterRequest("sam-h", own)
    assert request_segmenter("auto", folder=folder, adapter="raw").name == "sam-vit-b"


def test_named_weights_that_are_missing_say_how_to_get_them(folder):
    with pytest.raises(WeightsError) as error:
        request_segmenter("sam-vit-l", folder=folder)
    assert 'the weights "sam-vit-l" (sam_vit_l_0b3195.pth, 1.2 GB)' in error.value.problem
    assert error.value.fix.startswith("masa weights pull sam-vit-l")


def test_an_unknown_name_lists_the_known_ones(folder):
    for name in ("hf", "sam"):
        with pytest.raises(SettingsError) as error:
            request_segmenter(name, folder=folder)
        assert error.value.problem == f'unknown segmenter "{name}"'
    assert "auto, sam-vit-b, sam-b" in error.value.fix
    assert "hf:MODEL" in error.value.fix


def test_a_file_is_recognised_by_what_it_holds(folder):
    file = folder / "mine.pth"
    torch.save({"image_encoder.pos_embed": torch.zeros(1, 64, 64, 1024)}, file)
    assert request_segmenter(str(file)) == SegmenterRequest("sam-vit-l", file)


def test_masks_of_lite_are_preferred_in_the_file_of_the_adapter(folder):
    own = write_lite(folder / "own.safetensors", with_masks=True)
    request = SegmenterRequest("lite", own)
    assert request_segmenter("lite", adapter="lite", weights=own) == request
    assert request_segmenter("auto", folder=folder, adapter="lite", weights=own) == request
    assert request_segmenter(str(own)) == request
    assert request_segmenter("lite", adapter="r50", weights=own).weights == PACKAGED
    without = write_lite(folder / "without.safetensors")
    assert request_segmenter("lite", adapter="lite", weights=without).weights == PACKAGED
    with pytest.raises(SettingsError, match="was not trained to segment"):
        request_segmenter(str(without))


def test_grabcut_is_what_is_left_where_there_are_no_weights_at_all(folder, monkeypatch):
    monkeypatch.setattr("masa_cli.segmenters.look_for_packaged", lambda name: None)
    assert request_segmenter("auto", folder=folder) == SegmenterRequest("grabcut")
    with pytest.raises(WeightsError, match="not in this installation"):
        request_segmenter("lite", folder=folder)


def test_a_file_without_segment_anything_is_refused(folder):
    file = folder / "mine.pth"
    torch.save({"backbone.conv1.weight": torch.zeros(64, 3, 7, 7)}, file)
    with pytest.raises(SettingsError, match="weights of r50, in which there is no segmenter"):
        request_segmenter(str(file))
    with pytest.raises(WeightsError, match="cannot be read"):
        request_segmenter(str(folder / "none.pth"))
