"""The floors of the house: a module imports from lower floors, or from its own room."""

import ast
import re
import sys
from pathlib import Path

import pytest

import masa_cli

ROOT = Path(masa_cli.__file__).parent

FLOORS = (
    {"structures", "errors"},
    {"boxes", "masks", "progress", "settings", "threads"},
    {"tracking", "weights"},
    {"formats"},
    {"models", "sources"},
    {"detectors", "segmenters", "render"},
    {"pipeline", "evaluation", "analysis"},
    {"jobs", "training"},
    {"api", "review"},
    {"cli"},
    {"__main__"},
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

# Rooms that may load a neural network.
TORCH_ROOMS = {"models", "training", "detectors", "segmenters"}
# What tracks is plain numpy; scipy has the assignments and the resampling, OpenCV camera motion.
HEART = {"tracking", "boxes", "structures"}
ALLOWED_IN_HEART = {"numpy", "scipy", "cv2", "masa_cli"}


def modules():
    return sorted(ROOT.rglob("*.py"))


def room_of(file):
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_names(file):
    """Every module a file imports, wherever in the file, as dotted names."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} uses a relative import"
            yield node.module
            if node.module == "masa_cli":
                yield from (f"masa_cli.{alias.name}" for alias in node.names)


def violations(file, floor_of):
    own = room_of(file)
    for name in imported_names(file):
        parts = name.split(".")
        if parts[0] != "masa_cli" or len(parts) < 2 or parts[1] in {own, "__version__"}:
            continue
        if floor_of[parts[1]] >= floor_of[own]:
            yield f"{file.relative_to(ROOT)} (floor {floor_of[own]}) imports {name}"


@pytest.mark.parametrize("file", modules(), ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_point_down(file):
    if room_of(file) == "__init__":
        # What is imported here is imported by everyone: nothing, but for type checkers.
        nodes = ast.parse(file.read_text()).body
        names = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
        assert names == {"__future__", "importlib", "typing"}
        return
    assert not list(violations(file, FLOOR_OF))


def test_an_import_that_points_up_is_found():
    assert list(violations(ROOT / "pipeline.py", FLOOR_OF | {"tracking": 9}))


@pytest.mark.parametrize("file", modules(), ids=lambda file: str(file.relative_to(ROOT)))
def test_torch_stays_in_its_rooms(file):
    if room_of(file) not in TORCH_ROOMS:
        loaded = {name.split(".")[0] for name in imported_names(file)}
        assert not loaded & {"torch", "torchvision", "timm", "transformers"}


@pytest.mark.parametrize("room", sorted(HEART))
def test_the_heart_is_plain_numpy(room):
    files = [file for file in modules() if room_of(file) == room]
    outside = {name.split(".")[0] for file in files for name in imported_names(file)}
    assert files
    assert outside - set(sys.stdlib_module_names) <= ALLOWED_IN_HEART


def test_every_room_has_a_floor():
    rooms = {room_of(file) for file in modules()} - {"__init__"}
    assert rooms == set(FLOOR_OF)


def test_the_document_shows_these_floors():
    page = (ROOT.parent / "docs/architecture.md").read_text()
    lines = re.findall(r"^ +(\d+)  ([\w, ]+)$", page, flags=re.MULTILINE)
    assert {int(floor): set(rooms.split(", ")) for floor, rooms in lines} == dict(enumerate(FLOORS))
