"""A task as a process, with a small program in the place of masa."""

import os
import signal
import sys
import time
from pathlib import Path

from masa_cli.fleet import Task
from masa_cli.fleet.process import MOST_ATTEMPTS, run_task


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
from masa_cli.fleet import Task
from masa_cli.fleet.process import run_task
import sys
run_task(Task("a", ("x",), Path("a")), lambda: False, program=(sys.executable, "-c", {child!r}))
"""
    import subprocess  # noqa: PLC0415

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
