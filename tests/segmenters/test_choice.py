import logging

import pytest
import torch

from masa_cli.checkpoints.packaged import look_for_packaged
from masa_cli.errors import SettingsError, WeightsError
from masa_cli.segmenters.choice import SegmenterPlan, plan_segmenter
from tests.lite_file import write_lite

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
    assert plan_segmenter("auto", folder=folder) == SegmenterPlan("lite", PACKAGED)
    assert "masks by lite" in caplog.text
    (folder / "sam_vit_h_4b8939.pth").touch()
    assert plan_segmenter("auto", folder=folder).name == "sam-vit-h"
    (folder / "sam_vitb_masa.pth").touch()
    plan = plan_segmenter("auto", folder=folder)
    assert plan == SegmenterPlan("sam-b", folder / "sam_vitb_masa.pth")
    assert f"masks by the ViT-B inside MASA-SAM-B ({plan.weights})" in caplog.text


def test_auto_takes_what_is_inside_the_adapter(folder):
    (folder / "sam_vit_b_01ec64.pth").touch()
    own = folder / "my_sam_h.pth"
    plan = plan_segmenter("auto", folder=folder, adapter="sam-h", weights=own)
    assert plan == SegmenterPlan("sam-h", own)
    assert plan_segmenter("auto", folder=folder, adapter="raw").name == "sam-vit-b"


def test_named_weights_that_are_missing_say_how_to_get_them(folder):
    with pytest.raises(WeightsError) as error:
        plan_segmenter("sam-vit-l", folder=folder)
    assert 'the weights "sam-vit-l" (sam_vit_l_0b3195.pth, 1.2 GB)' in error.value.problem
    assert error.value.fix.startswith("masa weights pull sam-vit-l")


def test_an_unknown_name_lists_the_known_ones(folder):
    with pytest.raises(SettingsError) as error:
        plan_segmenter("sam", folder=folder)
    assert error.value.problem == 'unknown segmenter "sam"'
    assert "auto, lite, grabcut, sam-vit-b" in error.value.fix


def test_a_file_is_recognised_by_what_it_holds(folder):
    file = folder / "mine.pth"
    torch.save({"image_encoder.pos_embed": torch.zeros(1, 64, 64, 1024)}, file)
    assert plan_segmenter(str(file)) == SegmenterPlan("sam-vit-l", file)


def test_masks_of_lite_are_preferred_in_the_file_of_the_adapter(folder):
    own = write_lite(folder / "own.safetensors", with_masks=True)
    plan = SegmenterPlan("lite", own)
    assert plan_segmenter("lite", adapter="lite", weights=own) == plan
    assert plan_segmenter("auto", folder=folder, adapter="lite", weights=own) == plan
    assert plan_segmenter(str(own)) == plan
    assert plan_segmenter("lite", adapter="r50", weights=own).weights == PACKAGED
    without = write_lite(folder / "without.safetensors")
    assert plan_segmenter("lite", adapter="lite", weights=without).weights == PACKAGED
    with pytest.raises(SettingsError, match="was not trained to outline"):
        plan_segmenter(str(without))


def test_grabcut_is_what_is_left_where_there_are_no_weights_at_all(folder, monkeypatch):
    monkeypatch.setattr("masa_cli.segmenters.choice.look_for_packaged", lambda name: None)
    assert plan_segmenter("auto", folder=folder) == SegmenterPlan("grabcut")
    with pytest.raises(WeightsError, match="not in this installation"):
        plan_segmenter("lite", folder=folder)


def test_a_file_without_segment_anything_is_refused(folder):
    file = folder / "mine.pth"
    torch.save({"backbone.conv1.weight": torch.zeros(64, 3, 7, 7)}, file)
    with pytest.raises(SettingsError, match="weights of r50, in which there is no Segment"):
        plan_segmenter(str(file))
    with pytest.raises(WeightsError, match="cannot be read"):
        plan_segmenter(str(folder / "none.pth"))
