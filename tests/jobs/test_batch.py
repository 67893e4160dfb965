"""A task as a process, with a small program in the place of masa."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from masa_cli.errors import SettingsError
from masa_cli.jobs.batch import MOST_ATTEMPTS, LocalEngine, RayEngine, Task, run_task
from tests.clips import write_clip


def run(code, *arguments, stop=lambda: False):
    task = Task("a", ("track", *arguments), Path("a"))
    return run_task(task, stop, program=(sys.executable, "-c", code))


def test_the_last_line_is_the_summary_and_the_rest_messages():
    outcome = run(
        "import sys; print('x'); print('{\"tracks\": 3}'); print('warning: é', file=sys.stderr)"
    )
    assert (outcome.exit_code, outcome.summary, outcome.attempts) == (0, {"tracks": 3}, 1)
    assert outcome.messages == "warning: é"


def test_an_error_is_final():
    outcome = run("import sys; sys.exit('error: no')")
    assert (outcome.exit_code, outcome.summary, outcome.attempts) == (1, {}, 1)


def test_what_is_killed_goes_on_with_resume(tmp_path):
    code = f"""
import os, sys, json
first = not os.path.exists({str(tmp_path / "been")!r})
open({str(tmp_path / "been")!r}, "w").close()
if first: os.kill(os.getpid(), 9)
print(json.dumps(sys.argv[1:]) if 0 else json.dumps({{"arguments": sys.argv[1:]}}))
"""
    outcome = run(code, "--", "-v.mp4")
    assert (outcome.exit_code, outcome.attempts) == (0, 2)
    assert outcome.summary["arguments"] == ["track", "--resume", "--", "-v.mp4"]


def test_what_is_killed_again_and_again_is_given_up():
    outcome = run("import os; os.kill(os.getpid(), 9)")
    assert (outcome.exit_code, outcome.attempts) == (-signal.SIGKILL, MOST_ATTEMPTS)


def test_asked_to_stop_the_process_is_interrupted_once():
    begun = time.monotonic()
    code = """
import signal, sys, time
count = []
signal.signal(signal.SIGINT, lambda *_: count.append(1))
print("ready", flush=True)
while not count: time.sleep(0.01)
time.sleep(0.5)  # a second one would be counted
print('{"interrupts": %d}' % len(count)); sys.exit(130)
"""
    outcome = run(code, stop=lambda: time.monotonic() - begun > 0.7)
    assert (outcome.exit_code, outcome.attempts) == (130, 1)
    assert outcome.summary == {"interrupts": 1}


def test_a_process_ends_with_the_one_that_made_it(tmp_path):
    if sys.platform != "linux":
        return
    pid_file = tmp_path / "pid"
    child = f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    parent = f"""
from pathlib import Path
from masa_cli.jobs.batch import Task, run_task
import sys
run_task(Task("a", ("x",), Path("a")), lambda: False, program=(sys.executable, "-c", {child!r}))
"""
    import subprocess

    process = subprocess.Popen([sys.executable, "-c", parent])
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not (pid_file.exists() and pid_file.read_text()):
        time.sleep(0.05)
    process.kill()
    process.wait()
    pid = int(pid_file.read_text())
    while time.monotonic() < deadline and is_running(pid):
        time.sleep(0.05)
    assert not is_running(pid)


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state != "Z"


def test_a_resumed_task_replaces_nothing():
    task = Task("a", ("track", "--overwrite", "-o", "x", "--", "v.mp4"), Path("x"))
    assert task.resumed().command == ("track", "--resume", "-o", "x", "--", "v.mp4")
    assert task.resumed().resumed() == task.resumed()


def test_relative_paths_begin_where_the_task_was_made(tmp_path):
    task = Task("a", ("track",), Path("out"), place=tmp_path)
    code = "import os, json; print(json.dumps({'at': os.getcwd()}))"
    outcome = run_task(task, lambda: False, program=(sys.executable, "-c", code))
    assert outcome.summary == {"at": str(tmp_path)}
    assert not task.is_begun
    (tmp_path / "out").mkdir()
    (tmp_path / "out/checkpoint.part").touch()
    assert task.is_begun
    assert Task("a", ("track",), Path("out")).place == Path.cwd()


@pytest.fixture
def cluster():
    ray = pytest.importorskip("ray")
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
    """All results; run.json tells where they lie, and when they were made."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "run.json"
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

    monkeypatch.setattr("masa_cli.jobs.batch.import_module", missing)
    with pytest.raises(SettingsError, match="Ray is not installed"):
        RayEngine(1)
