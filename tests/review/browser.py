"""A real browser, headless, as tests of the page drive it."""

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager

import pytest

_BROWSERS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
READY = "body[data-ready]"


@contextmanager
def browser():
    """A Chromium of this machine; the test is skipped where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if path is None:
        pytest.skip("there is no Chromium here: apt-get install chromium")
    with api.sync_playwright() as driver:
        # Without its sandbox: it has none for root, as whom CI runs. Only our own page is opened.
        opened = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


@contextmanager
def reviewing(*arguments):
    """The address of `masa review` of these arguments, while it runs."""
    command = [sys.executable, "-m", "masa_cli", "review", *map(str, arguments), "--no-browser"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    ) as process:
        address = process.stdout.readline().strip()
        try:
            assert address.startswith("http://127.0.0.1:"), process.stderr.read()
            yield address
        finally:
            process.terminate()
            process.wait(10)


@contextmanager
def opened_page(browser, address, **settings):
    """The page once its video is there; any error on it fails the test."""
    page = browser.new_page(**{"viewport": {"width": 1200, "height": 760}, **settings})
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))

    def heard(told):
        # What the server refuses is told by the page, and by the browser's console as well.
        if told.type == "error" and "with a status of 4" not in told.text:
            wrong.append(told.text)

    page.on("console", heard)
    page.goto(address)
    page.wait_for_selector(READY)
    yield page
    page.close()
    assert wrong == []
