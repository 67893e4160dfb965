"""Inside a run, libraries have the threads they should have; outside, those they had."""

import os
import subprocess
import sys
import threading
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from threadpoolctl import ThreadpoolController, threadpool_info

import masa_cli
from masa_cli.detectors import given
from masa_cli.jobs.run import run
from masa_cli.progress import RunProgress
from masa_cli.sources import open_source
from masa_cli.structures import Detections
from masa_cli.threads import limited, limited_steps, num_cores
from tests.clips import write_clip
from tests.jobs.jobs import new_job

BEFORE = 3  # threads that everything has outside


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Every pool has three threads, which is neither one nor the number of cores here."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    blas = ThreadpoolController().select(user_api="blas")
    if not blas.lib_controllers:
        pytest.skip("no BLAS here whose threads can be counted (as Accelerate's, on a Mac)")
    before = cv2.getNumThreads(), torch.get_num_threads()
    with blas.limit(limits=BEFORE):
        cv2.setNumThreads(BEFORE)
        torch.set_num_threads(BEFORE)
        yield
    cv2.setNumThreads(before[0])
    torch.set_num_threads(before[1])


def pools():
    """Threads of BLAS (all libraries), OpenCV and torch."""
    blas = {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}
    return sorted(blas), cv2.getNumThreads(), torch.get_num_threads()


OUTSIDE = ([BEFORE], BEFORE, BEFORE)


class Witness:
    """A detector that finds nothing, but notes what threads there are."""

    classes = ("car",)

    def __init__(self):
        self.seen = set()

    def detect(self, frames):
        blas, *others = pools()
        self.seen.add((*blas, *others))
        return [Detections.empty() for _ in frames]


def test_whatever_brings_a_blas_is_limited():
    with limited():
        assert pools() == ([1], BEFORE, BEFORE)
    assert pools() == OUTSIDE


def test_a_number_of_threads_is_that_of_all_but_blas():
    with limited(2):
        assert pools() == ([1], 2, 2)
    assert pools() == OUTSIDE


def test_the_environment_counts_for_opencv_too(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2,1")
    with limited():
        assert cv2.getNumThreads() == 2
    with limited(4):
        assert cv2.getNumThreads() == 4
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    with limited():
        assert cv2.getNumThreads() == BEFORE


def test_what_was_there_comes_back_after_an_error():
    with pytest.raises(KeyError), limited(2):
        raise KeyError
    assert pools() == OUTSIDE


def test_limits_within_one_another_and_beside_one_another_end_with_the_last():
    entered, leave = threading.Event(), threading.Event()

    def other():
        with limited():
            entered.set()
            leave.wait()

    beside = threading.Thread(target=other)
    with limited():
        beside.start()
        entered.wait()
        with limited():
            pass
        assert pools()[0] == [1]
    assert pools()[0] == [1]  # the other thread is still inside
    leave.set()
    beside.join()
    assert pools()[0] == [BEFORE]


def test_between_the_steps_of_a_generator_nothing_is_limited():
    inside = []

    def items():
        for number in range(2):
            inside.append(pools())
            yield number

    outside = [pools() for _ in limited_steps(items(), 2)]
    assert inside == [([1], 2, 2)] * 2
    assert outside == [OUTSIDE] * 2


def test_a_run_has_one_thread_for_blas_and_those_asked_for(tmp_path):
    video, _ = write_clip(tmp_path, 4)
    for threads, expected in ((None, (1, BEFORE, BEFORE)), (2, (1, 2, 2))):
        witness = Witness()
        job = new_job(
            open_source(video), given(witness), tmp_path / f"{threads}", association="motion"
        )
        run(replace(job, threads=threads), RunProgress())
        assert witness.seen == {expected}
        assert pools() == OUTSIDE


def test_callers_of_the_python_api_find_their_threads_between_frames(tmp_path):
    video, _ = write_clip(tmp_path, 4)
    witness = Witness()
    frames = masa_cli.track(video, dets=witness, association="motion", threads=2)
    assert [pools() for _ in frames] == [OUTSIDE] * 4
    assert witness.seen == {(1, 2, 2)}


def test_a_tracker_for_loops_of_ones_own_multiplies_on_one_thread(monkeypatch):
    seen = []
    tracker = masa_cli.build_tracker("motion")
    own = tracker._tracker.__class__.update

    def update(self, observation):
        seen.append(pools())
        return own(self, observation)

    monkeypatch.setattr(tracker._tracker.__class__, "update", update)
    tracker.update(np.empty((0, 4)), np.empty(0))
    assert seen == [([1], BEFORE, BEFORE)]
    assert pools() == OUTSIDE


SHARES = """
import sys, json
from masa_cli.jobs.batch import LocalEngine, Task
import masa_cli.jobs.batch as batch
from pathlib import Path
import functools
show = "import os, json; print(json.dumps({'threads': os.environ['OMP_NUM_THREADS']}))"
batch.run_task = functools.partial(batch.run_task, program=(sys.executable, "-c", show))
tasks = [Task(str(number), (), Path()) for number in range(2)]
print(json.dumps([each.summary["threads"] for each in LocalEngine(2).run(tasks, lambda: False)]))
"""


def test_jobs_share_the_cores_of_this_process():
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    shares = subprocess.run(
        [sys.executable, "-c", SHARES], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert shares.strip() == f'["{max(1, num_cores() // 2)}", "{max(1, num_cores() // 2)}"]'
