"""What all tests share, also those that run in two processes at a time."""

import os
import random
import shutil
import signal
import tempfile
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported, which reads it once
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # several on one core wait for each other
    os.environ.pop("PYTHONHASHSEED", None)  # programs that tests start have their own

import pytest
import torch

from tests.recipe import published_state_dict

SHARED = "MASA_TESTS_SHARED"  # in the environment: a folder for as long as the tests run
MOST_PROCESSES = 4  # each takes up to 2 GB


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """A process for each core if the whole suite runs; files that are named run in this one."""
    is_whole = config.args_source is not pytest.Config.ArgsSource.ARGS
    return min(MOST_PROCESSES, os.cpu_count() or 1) if is_whole else 0


def pytest_configure(config):
    # A job in the background ignores Ctrl-C, and so would all commands that tests interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput"):
        os.environ[SHARED] = tempfile.mkdtemp(prefix="masa-tests-")
        # Sets in parameters are in the names of tests, which have to be the same in all processes.
        os.environ.setdefault("PYTHONHASHSEED", str(random.randrange(2**32)))


def pytest_unconfigure(config):
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ.pop(SHARED))


@pytest.fixture(scope="session", autouse=True)
def converted_graphs():
    """One cache for the graphs of all tests, whatever cache each has beside it."""
    folder = Path(os.environ[SHARED], "graphs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("masa_cli.models.runtime.cache_folder", lambda: folder)
        yield folder


@pytest.fixture(scope="session")
def published_file():
    """Makes the file of a variant as it would be published, with the weights of the recipe.

    Of the names only those that begin with `parts`; each is made once for all processes.
    """
    folder = Path(os.environ[SHARED], "weights")
    folder.mkdir(exist_ok=True)

    def make(variant, *parts):
        file = folder / f"{variant}{''.join(parts)}.pth"
        if not file.exists():
            part = file.with_suffix(f".{os.getpid()}")
            torch.save({"meta": {}, "state_dict": published_state_dict(variant, parts)}, part)
            part.rename(file)
        return file

    return make
