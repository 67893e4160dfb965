"""Frames of a live source that nobody had time for leave no gaps in the results."""

import threading
import time
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from masa_cli.detectors import given
from masa_cli.detectors.from_file import FromFile
from masa_cli.errors import Interrupted, OutputError, SettingsError
from masa_cli.formats.detections import read_detections
from masa_cli.jobs.job import Results, TrackJob
from masa_cli.jobs.run import live_frames, render, run
from masa_cli.progress import RunProgress
from masa_cli.segmenters import SegmenterRequest
from masa_cli.sources import open_source
from masa_cli.structures import Frame, VideoInfo
from tests.clips import write_clip


class Camera:
    """A hundred frames, whether somebody looks or not."""

    newest_only = True
    info = VideoInfo("camera0", 16, 16, Fraction(100), Fraction(1, 100))

    def frames(self, start=0):
        for index in range(100):
            time.sleep(0.001)
            yield Frame(index, Fraction(index, 100), np.zeros((16, 16, 3), np.uint8))


def test_frames_are_numbered_without_gaps_and_keep_their_times(tmp_path):
    dets = tmp_path / "dets.txt"
    dets.write_text("")
    detector = given(FromFile(read_detections(dets)))
    job = TrackJob(Camera(), detector, Results(tmp_path, "x"), association="motion")
    seen = []
    for frame, _ in live_frames(job, RunProgress()):
        seen.append(frame)
        time.sleep(0.005)
    assert len(seen) < 60
    assert [frame.index for frame in seen] == list(range(len(seen)))
    ticks = [int(frame.time * 100) for frame in seen]
    assert ticks == sorted(set(ticks))
    assert ticks[-1] == 99


NUM_FRAMES = 30
FINAL = {"street.mp4", "street.txt", "tracks.jsonl"}


@pytest.fixture
def job(tmp_path):
    video, dets = write_clip(tmp_path, NUM_FRAMES)
    return TrackJob(
        source=open_source(video),
        detector=given(FromFile(read_detections(dets))),
        results=Results(tmp_path / "whole", "street"),
        origin=video,
        association="motion",
        inputs=(video, dets),
    )


def into(job, name):
    return replace(job, results=replace(job.results, folder=job.results.folder.with_name(name)))


def names(job):
    return {path.name for path in job.results.folder.iterdir()}


def contents(job):
    return {path.name: path.read_bytes() for path in job.results.folder.iterdir()}


class StopAfter(RunProgress):
    """Asks to stop once that many frames of a pass are done."""

    def __init__(self, name, num_frames):
        super().__init__()
        self._pass = ""

        def on_pass(current, done):
            self._pass = current

        def on_frame(done, num_tracks):
            self.stop_requested |= self._pass == name and done == num_frames

        self.on_pass, self.on_frame = on_pass, on_frame


@pytest.mark.parametrize(
    "settings",
    [
        {"association": "motion"},
        {"association": "masa-demo"},
        {"association": "hybrid"},
        {"association": "masa-bdd", "batch_size": 4},
        {"association": "masa-demo", "clean_up": True},
        {"association": "hybrid", "segmenter": SegmenterRequest("grabcut"), "tightens": True},
        {"association": "motion", "min_track_length": 12},
    ],
    ids=str,
)
@pytest.mark.parametrize("stop", [("tracking", 11), ("writing", 7)], ids=str)
def test_resumed_run_equals_one_that_never_stopped(job, settings, stop):
    job = replace(job, **settings)
    run(job, RunProgress())
    stopped = into(job, "stopped")
    with pytest.raises(Interrupted) as interruption:
        run(stopped, StopAfter(*stop))
    assert "--resume" in interruption.value.kept
    run(stopped, RunProgress(), resume=True)
    assert contents(stopped) == contents(job)
    assert names(stopped) == FINAL


def test_an_interrupted_run_says_what_it_kept(job):
    with pytest.raises(Interrupted, match=r"tracks of 11 frames are kept in .*whole"):
        run(job, StopAfter("tracking", 11))
    assert names(job) == {"tracks.jsonl.part", "checkpoint.part"}
    assert len(job.results.spool.read_text().splitlines()) == 11


@pytest.mark.parametrize("name", ["tracking", "writing"])
def test_an_interrupted_run_leaves_no_thread_behind(job, name):
    before = set(threading.enumerate())
    with pytest.raises(Interrupted) as interruption:
        run(job, StopAfter(name, 11))
    assert interruption.value.kept
    assert set(threading.enumerate()) <= before


def test_frames_spooled_after_the_last_checkpoint_are_found_again(job):
    """What a kill leaves: a spool that is ahead of its checkpoint, its last line cut."""
    run(job, RunProgress())
    killed = into(job, "killed")
    with pytest.raises(Interrupted):
        run(killed, StopAfter("tracking", 11))
    with killed.results.spool.open("a") as spool:
        spool.write('{"frame":11,"time":0.44,"bo')
    run(killed, RunProgress(), resume=True)
    assert contents(killed) == contents(job)


class Failing:
    """A detector that breaks in frame 3."""

    classes = ("object",)

    def __init__(self, detector):
        self._detector = detector

    def detect(self, frames):
        if frames[0].index == 3:
            raise RuntimeError("out of memory")
        return self._detector.detect(frames)


def test_a_run_that_broke_in_its_first_seconds_can_be_resumed(job):
    run(job, RunProgress())
    broken = into(job, "broken")
    with pytest.raises(RuntimeError):
        run(replace(broken, detector=given(Failing(job.detector.queries[0]))), RunProgress())
    run(broken, RunProgress(), resume=True)
    assert contents(broken) == contents(job)


def test_a_run_is_not_resumed_under_other_conditions(job):
    with pytest.raises(Interrupted):
        run(job, StopAfter("tracking", 11))
    with pytest.raises(SettingsError, match=r"changes was .* is .*memory_seconds=1"):
        run(replace(job, changes=("memory_seconds=1",)), RunProgress(), resume=True)
    job.inputs[1].write_text("1,-1,0,0,5,5,1\n")
    with pytest.raises(SettingsError, match=r"dets.txt was \d+ bytes"):
        run(job, RunProgress(), resume=True)


def test_an_interrupted_run_is_not_started_over_unasked(job):
    with pytest.raises(Interrupted):
        run(job, StopAfter("tracking", 11))
    with pytest.raises(OutputError, match="holds an interrupted run"):
        run(job, RunProgress())
    run(job, RunProgress(), overwrite=True)
    assert names(job) == FINAL


def test_resuming_without_a_beginning_starts_and_says_so(job, caplog):
    run(job, RunProgress(), resume=True)
    assert names(job) == FINAL
    assert "nothing to resume" in caplog.text


def test_only_what_is_wanted_is_written(job):
    run(
        replace(job, results=replace(job.results, wants_video=False, wants_tracks=False)),
        RunProgress(),
    )
    assert names(job) == {"street.txt"}


def test_summary_counts_frames_boxes_and_identities(job):
    summary = run(job, RunProgress())
    assert (summary.num_frames, summary.num_boxes, summary.num_tracks) == (30, 60, 2)
    assert {path.name for path in summary.written} == FINAL


def test_rendering_gives_the_video_that_tracking_gave(job):
    run(job, RunProgress())
    again = job.results.folder / "again.mp4"
    summary = render(
        job.source, job.results.tracks, again, RunProgress(), origin=job.origin, drawing=job.drawing
    )
    assert again.read_bytes() == job.results.video.read_bytes()
    assert (summary.num_boxes, summary.written) == (60, (again,))


def test_rendering_overwrites_neither_results_unasked_nor_inputs(job):
    run(job, RunProgress())
    video, tracks = job.results.video, job.results.tracks
    with pytest.raises(OutputError, match="exists already"):
        render(job.source, tracks, video, RunProgress(), origin=job.origin, drawing=job.drawing)
    with pytest.raises(OutputError, match="is an input"):
        render(
            job.source,
            tracks,
            job.origin,
            RunProgress(),
            origin=job.origin,
            drawing=job.drawing,
            overwrite=True,
        )


def test_a_video_without_detections_gives_results_without_tracks(job):
    summary = run(
        replace(
            job,
            detector=given(FromFile(job.detector.queries[0]._table.scored(2)[0])),
            association="masa-demo",
        ),
        RunProgress(),
    )
    assert (summary.num_frames, summary.num_boxes) == (30, 0)
    assert job.results.mot.read_text() == ""
    assert len(job.results.tracks.read_text().splitlines()) == 30
