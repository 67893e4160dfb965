"""On a Ray instance of this machine, with a worker killed on the way."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from masa_cli.errors import SettingsError
from masa_cli.fleet import Task
from masa_cli.fleet.local import LocalEngine
from masa_cli.fleet.ray_cluster import RayEngine
from tests.clips import write_clip

ray = pytest.importorskip("ray")


@pytest.fixture
def cluster():
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH")]))}
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": environment},
    )
    yield
    ray.shutdown()


def tasks(folder, out):
    made = []
    for name in ("one", "two"):
        place = folder / name
        place.mkdir(exist_ok=True)
        video, dets = write_clip(place, 30)
        target = folder / out / name
        options = ("--dets", str(dets), "--association", "motion", "-o", str(target))
        made.append(Task(name, ("track", *options, "--json", "--", str(video)), target))
    return made


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_results_are_those_of_a_local_run(tmp_path, cluster):
    def never():
        return False

    there = list(RayEngine(2).run(tasks(tmp_path, "ray"), never))
    here = list(LocalEngine(2).run(tasks(tmp_path, "local"), never))
    assert [each.exit_code for each in (*there, *here)] == [0] * 4, there
    assert files(tmp_path / "ray") == files(tmp_path / "local")
    assert len(files(tmp_path / "ray")) == 6


def test_a_lost_worker_is_replaced_and_goes_on(tmp_path, cluster, monkeypatch):
    killed = []

    def kill_the_first_worker():
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not killed:
            # The process of a task is a child of its worker, which is what is killed here.
            for entry in Path("/proc").glob("[0-9]*"):
                try:
                    command = (entry / "cmdline").read_bytes()
                    if b"masa_cli\0track" in command and str(tmp_path).encode() in command:
                        status = (entry / "stat").read_text()
                        worker = int(status.rpartition(")")[2].split()[1])
                        os.kill(worker, signal.SIGKILL)
                        killed.append(worker)
                        break
                except OSError:
                    continue
            time.sleep(0.01)

    threading.Thread(target=kill_the_first_worker, daemon=True).start()
    outcomes = list(RayEngine(1).run(tasks(tmp_path, "ray"), lambda: False))
    assert killed
    assert [each.exit_code for each in outcomes] == [0, 0], outcomes
    local = list(LocalEngine(1).run(tasks(tmp_path, "local"), lambda: False))
    assert [each.exit_code for each in local] == [0, 0]
    assert files(tmp_path / "ray") == files(tmp_path / "local")


def test_without_ray_it_says_how_to_install_it(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr("masa_cli.fleet.ray_cluster.import_module", missing)
    with pytest.raises(SettingsError, match="Ray is not installed"):
        RayEngine(1)
