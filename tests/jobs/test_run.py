"""Frames of a live source that nobody had time for leave no gaps in the results."""

import threading
from fractions import Fraction

import numpy as np
import pytest

from masa_cli.detectors import given
from masa_cli.detectors.filter import FromFile
from masa_cli.errors import Interrupted, OutputError, SettingsError
from masa_cli.formats.detections import read_detections
from masa_cli.jobs.run import live_frames, run
from masa_cli.jobs.sinks import render
from masa_cli.progress import RunProgress
from masa_cli.segmenters import SegmenterRequest
from masa_cli.sources import open_source
from masa_cli.structures import Frame, VideoInfo
from masa_cli.tracking.hybrid import HybridTracker
from tests.clips import write_clip
from tests.jobs.jobs import changed, new_job


class Camera:
    """A frame for each that it is allowed, whether somebody looks or not."""

    newest_only = True
    info = VideoInfo("camera0", 16, 16, Fraction(100), Fraction(1, 100))

    def __init__(self, num_frames):
        self._num_frames = num_frames
        self.allowed, self.taken = threading.Semaphore(1), threading.Semaphore(0)

    def frames(self, start=0):
        for index in range(self._num_frames):
            assert self.allowed.acquire(timeout=60)
            yield Frame(index, Fraction(index, 100), np.zeros((16, 16, 3), np.uint8))
            self.taken.release()  # asked for the next, so this one lies ready

    def go_on(self, num_frames):
        """Give so many, all but the last of them unseen."""
        self.allowed.release(num_frames)
        assert all(self.taken.acquire(timeout=60) for _ in range(num_frames))


def test_frames_are_numbered_without_gaps_and_keep_their_times(tmp_path):
    dets = tmp_path / "dets.txt"
    dets.write_text("")
    detector = given(FromFile(read_detections(dets)))
    camera = Camera(21)
    job = new_job(camera, detector, tmp_path, association="motion")
    seen = []
    for frame, _ in live_frames(job, RunProgress()):
        assert seen or camera.taken.acquire(timeout=60)
        seen.append(frame)
        if len(seen) < 5:
            camera.go_on(5)
    assert [frame.index for frame in seen] == [0, 1, 2, 3, 4]
    assert [frame.time for frame in seen] == [Fraction(each, 100) for each in (0, 5, 10, 15, 20)]


NUM_FRAMES = 30
FINAL = {"street.mp4", "street.txt", "tracks.jsonl", "run.json"}


@pytest.fixture
def job(tmp_path):
    video, dets = write_clip(tmp_path, NUM_FRAMES)
    return new_job(
        open_source(video),
        given(FromFile(read_detections(dets))),
        tmp_path / "whole",
        origin=video,
        association="motion",
        files=(video, dets),
    )


def into(job, name):
    return changed(job, folder=job.outputs.folder.with_name(name))


def names(job):
    return {path.name for path in job.outputs.folder.iterdir()}


def contents(job):
    """All but the times that a run took."""
    files = job.outputs.folder.iterdir()
    return {path.name: path.read_bytes() for path in files if path.name != "run.json"}


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
        {"association": "hybrid", "segmenter": SegmenterRequest("grabcut"), "fits_boxes": True},
        {"association": "motion", "min_track_length": 12},
    ],
    ids=str,
)
@pytest.mark.parametrize("stop", [("tracking", 11), ("writing", 7)], ids=str)
def test_resumed_run_equals_one_that_never_stopped(job, settings, stop):
    job = changed(job, **settings)
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
    assert len(job.outputs.spool.read_text().splitlines()) == 11


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
    with killed.outputs.spool.open("a") as spool:
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
        run(
            changed(broken, detector=given(Failing(job.perception.detector.queries[0]))),
            RunProgress(),
        )
    run(broken, RunProgress(), resume=True)
    assert contents(broken) == contents(job)


def test_the_state_of_another_version_is_an_error_that_says_so(job, monkeypatch):
    with pytest.raises(Interrupted):
        run(job, StopAfter("tracking", 11))

    def lacks(self, state):
        raise KeyError("spread")

    monkeypatch.setattr(HybridTracker, "restore", lacks)
    with pytest.raises(OutputError, match=r"another version of masa: its state lacks 'spread'"):
        run(job, RunProgress(), resume=True)


def test_a_run_is_not_resumed_under_other_conditions(job):
    with pytest.raises(Interrupted):
        run(job, StopAfter("tracking", 11))
    with pytest.raises(SettingsError, match=r"changes was .* is .*memory_seconds=1"):
        run(changed(job, changes=("memory_seconds=1",)), RunProgress(), resume=True)
    job.input.files[1].write_text("1,-1,0,0,5,5,1\n")
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
        changed(job, wants_video=False, wants_tracks=False),
        RunProgress(),
    )
    assert names(job) == {"street.txt", "run.json"}


def test_summary_counts_frames_boxes_and_identities(job):
    summary = run(job, RunProgress())
    assert (summary.num_frames, summary.num_boxes, summary.num_tracks) == (30, 60, 2)
    assert {path.name for path in summary.written} == FINAL - {"run.json"}


def drawn_over(job):
    return {"origin": job.input.origin, "drawing": job.outputs.drawing}


def test_rendering_gives_the_video_that_tracking_gave(job):
    run(job, RunProgress())
    again = job.outputs.folder / "again.mp4"
    summary = render(
        job.input.source, [job.outputs.tracks], again, RunProgress(), **drawn_over(job)
    )
    assert again.read_bytes() == job.outputs.video.read_bytes()
    assert (summary.num_boxes, summary.written) == (60, (again,))


def test_rendering_overwrites_neither_results_unasked_nor_inputs(job):
    run(job, RunProgress())
    video, tracks = job.outputs.video, job.outputs.tracks
    with pytest.raises(OutputError, match="exists already"):
        render(job.input.source, [tracks], video, RunProgress(), **drawn_over(job))
    with pytest.raises(OutputError, match="is an input"):
        render(
            job.input.source,
            [tracks],
            job.input.origin,
            RunProgress(),
            **drawn_over(job),
            overwrite=True,
        )


def test_a_video_without_detections_gives_results_without_tracks(job):
    summary = run(
        changed(
            job,
            detector=given(FromFile(job.perception.detector.queries[0]._table.scored(2)[0])),
            association="masa-demo",
        ),
        RunProgress(),
    )
    assert (summary.num_frames, summary.num_boxes) == (30, 0)
    assert job.outputs.mot.read_text() == ""
    assert len(job.outputs.tracks.read_text().splitlines()) == 30
