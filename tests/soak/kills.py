"""Kills at random moments, then --resume: `python -m tests.soak.kills [RUNS [SEED [OPTIONS]]]`.

Each run is killed with SIGKILL some times, at moments spread evenly over the time a whole run
takes, and then resumed to its end. Its files must be those of a run that nobody killed, byte for
byte, and no others. OPTIONS are those of `masa track` (default: --association motion).
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.clips import write_clip

NUM_FRAMES = 400
MASA = [sys.executable, "-m", "masa_cli"]


def files(folder):
    """What a run wrote; run.json is left out, for it tells times."""
    paths = folder.iterdir() if folder.exists() else ()
    return {path.name: path.read_bytes() for path in paths if path.name != "run.json"}


def killed(command, after):
    """Begin, kill after so many seconds; whether it was still running."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True
    return False


def main():
    num_runs = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    rng = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    options = sys.argv[3:] or ["--association", "motion"]
    with tempfile.TemporaryDirectory(prefix="masa-kills-") as name:
        folder = Path(name)
        video, dets = write_clip(folder, NUM_FRAMES)
        command = [*MASA, "track", str(video), "--dets", str(dets), *options, "-q", "-o"]
        begun = time.monotonic()
        subprocess.run([*command, str(folder / "whole")], check=True)
        seconds = time.monotonic() - begun
        whole = files(folder / "whole")
        num_kills, wrong = 0, []
        for number in range(num_runs):
            out = folder / f"run{number}"
            for _ in range(rng.randint(1, 3)):
                resume = ["--resume"] if out.exists() else []
                num_kills += killed([*command, str(out), *resume], rng.uniform(0, seconds))
            if files(out) != whole:  # or it came to its end before it was killed
                end = subprocess.run(
                    [*command, str(out), "--resume"], capture_output=True, text=True, check=False
                )
                if end.returncode or files(out) != whole:
                    wrong.append(number)
                    print(f"run {number}: {end.returncode}: {end.stderr}: {sorted(files(out))}")
    print(
        f"{num_runs} runs of {seconds:.1f} s, {num_kills} kills, {' '.join(options)}: "
        f"{len(wrong)} differ from the whole run ({', '.join(sorted(whole))})"
    )
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
