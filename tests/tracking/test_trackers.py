"""The names of the command line and the settings they stand for."""

import pytest

from masa_cli.errors import SettingsError
from masa_cli.formats.embeddings import defaults_as_fact, defaults_in
from masa_cli.tracking import build_tracker
from masa_cli.tracking.masa import PRESETS, MasaTracker
from masa_cli.tracking.motion import MotionTracker


def test_every_preset_builds_its_tracker():
    for name, settings in PRESETS.items():
        tracker = build_tracker(name)
        assert isinstance(tracker, MasaTracker)
        assert tracker.settings == settings
    assert isinstance(build_tracker("motion"), MotionTracker)


def test_single_settings_can_be_changed():
    tracker = build_tracker(
        "masa-demo", changes=["memory_frames=30", "momentum = 0.2", "same_label=true"]
    )
    assert tracker.settings.memory_frames == 30
    assert tracker.settings.momentum == 0.2
    assert tracker.settings.same_label is True


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("memory=3", "memory_frames=10"),  # the fix lists what there is
        ("memory_frames", "no setting to change"),
        ("memory_frames=3.5", '"3.5" is no int'),
        ("same_label=maybe", "true or false"),
        ("momentum=7", "momentum is within"),
    ],
)
def test_a_change_that_cannot_be_made_says_why(change, message):
    with pytest.raises(SettingsError) as caught:
        build_tracker("masa-demo", changes=[change])
    assert message in str(caught.value)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(SettingsError, match="masa-bdd, motion"):
        build_tracker("sort")


def test_changes_come_back_from_the_facts_of_a_run():
    usual = {"hybrid": ("birth_score=0.4",), "motion": []}
    assert defaults_in(dict([defaults_as_fact(usual)])) == {
        "hybrid": ("birth_score=0.4",),
        "motion": (),
    }


def test_what_is_no_changes_is_passed_over():
    name, _ = defaults_as_fact({})
    assert defaults_in({}) == {}
    for text in ("", "[1]", '{"hybrid": 3}', "{"):
        assert defaults_in({name: text}) == {}
