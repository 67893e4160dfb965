"""The names of the command line and the settings they stand for."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import masa_cli
from masa_cli.cli.app import app
from masa_cli.cli.command import listed
from masa_cli.errors import SettingsError
from masa_cli.formats.embeddings import defaults_as_fact, defaults_in
from masa_cli.formats.jsonl import TracksReader
from masa_cli.structures import EndedTracklets, FrameTracks
from masa_cli.tracking import TRACKERS, TrackerRow, build_tracker
from masa_cli.tracking.hybrid import HybridTracker
from masa_cli.tracking.masa import PRESETS, MasaTracker
from tests.clips import write_clip


def test_every_preset_builds_its_tracker():
    for name, settings in PRESETS.items():
        tracker = build_tracker(name)
        assert isinstance(tracker, MasaTracker)
        assert tracker.settings == settings
    assert isinstance(build_tracker("motion"), HybridTracker)
    assert not build_tracker("motion").uses_camera_motion


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
    with pytest.raises(SettingsError, match=r"masa-bdd, .*, motion"):
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


class EveryBoxAnew:
    """A toy: every box of every frame is another object."""

    uses_camera_motion = False

    def __init__(self, settings, temperature):
        self.first = settings.first
        self.count = 0

    def update(self, observation):
        found = observation.detections
        ids = self.first + self.count + np.arange(len(found))
        self.count += len(found)
        return FrameTracks(observation.index, observation.time, found.named(ids))

    def finish(self):
        return EndedTracklets.none()

    def state(self):
        return {"count": np.array(self.count)}

    def restore(self, state):
        self.count = int(state["count"])


@dataclass(frozen=True)
class ToySettings:
    first: int = 1


def test_a_row_is_all_that_a_tracker_needs(tmp_path, monkeypatch):
    """From the command line, by its name and settings, in the help and in errors, and in Python."""
    row = TrackerRow("a toy", ToySettings, EveryBoxAnew, needs_embeddings=False)
    monkeypatch.setitem(TRACKERS, "toy", row)
    video, dets = write_clip(tmp_path, 5)
    monkeypatch.chdir(tmp_path)
    command = ["track", str(video), "--dets", str(dets), "--no-video", "-o", "out"]
    result = CliRunner().invoke(app, [*command, "--association", "toy", "--set", "first=5"])
    assert result.exit_code == 0, result.stderr
    ids = [frame.tracks.ids.tolist() for frame in TracksReader(Path("out/tracks.jsonl"))]
    assert ids == [[5, 6], [7, 8], [9, 10], [11, 12], [13, 14]]
    assert "toy: a toy" in listed(TRACKERS)
    wrong = CliRunner().invoke(app, [*command, "--association", "sort"])
    assert (wrong.exit_code, "motion, toy" in wrong.stderr) == (2, True)
    assert len(list(masa_cli.track(video, dets=dets, association="toy"))) == 5
