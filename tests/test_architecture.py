"""The floors of the house: a module imports from lower floors, or from its own package."""

import ast
from pathlib import Path

import pytest

import masa_cli

ROOT = Path(masa_cli.__file__).parent

FLOORS = (
    {
        "structures",
        "rows",
        "trace",
        "boxes",
        "errors",
        "settings",
        "usual",
        "toml_data",
        "official_keys",
        "detector_keys",
    },
    {
        "checkpoints",
        "packages",
        "association",
        "motion",
        "kalman",
        "hybrid",
        "second_look",
        "camera",
        "smoothing",
        "selection",
        "masks",
        "mask_drawing",
        "drawing",
        "blurring",
        "overlap",
        "watch",
        "forecast",
        "results",
        "summary",
    },
    {"models", "formats", "trackers"},
    {"detectors", "segmenters", "sources", "annotation", "preview", "replay"},
    {
        "pipeline",
        "job",
        "assembly",
        "runner",
        "live_run",
        "fleet",
        "conversion",
        "insight",
        "training",
        "evaluation",
        "readiness",
    },
    {"cli", "api", "__main__"},
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

# The only steps sideways, from the first to the second.
SIDEWAYS = {
    ("boxes", "structures"),
    ("settings", "errors"),
    ("rows", "structures"),
    ("trace", "structures"),
    ("official_keys", "detector_keys"),
    ("drawing", "blurring"),
    ("motion", "kalman"),
    ("motion", "camera"),
    ("association", "camera"),
    ("hybrid", "kalman"),
    ("hybrid", "camera"),
    ("detectors", "sources"),  # detections of a part of a video
    ("second_look", "masks"),
    ("drawing", "mask_drawing"),
    ("mask_drawing", "masks"),
    ("runner", "job"),
    ("runner", "assembly"),
    ("live_run", "job"),
    ("live_run", "assembly"),
    ("live_run", "pipeline"),
    ("assembly", "job"),
    ("runner", "pipeline"),
    ("training", "evaluation"),
    ("runner", "assembly"),
    ("assembly", "job"),
    ("__main__", "cli"),
    ("api", "cli"),
}

# Rooms that may load a neural network.
TORCH_ROOMS = {"models", "training", "detectors", "segmenters"}
NUMPY_ONLY = {
    "association",
    "motion",
    "kalman",
    "hybrid",
    "second_look",
    "smoothing",
    "boxes",
    "structures",
}


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
        if floor_of[parts[1]] >= floor_of[own] and (own, parts[1]) not in SIDEWAYS:
            yield f"{file.relative_to(ROOT)} (floor {floor_of[own]}) imports {name}"


@pytest.mark.parametrize("file", modules(), ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_point_down(file):
    if room_of(file) == "__init__":
        # What is imported here is imported by everyone.
        assert {name.split(".")[:2][-1] for name in imported_names(file)} <= {"api"}
        return
    assert not list(violations(file, FLOOR_OF))


def test_an_import_that_points_up_is_found():
    assert list(violations(ROOT / "pipeline.py", FLOOR_OF | {"formats": 6}))


@pytest.mark.parametrize("file", modules(), ids=lambda file: str(file.relative_to(ROOT)))
def test_torch_stays_in_its_rooms(file):
    if room_of(file) not in TORCH_ROOMS:
        loaded = {name.split(".")[0] for name in imported_names(file)}
        assert not loaded & {"torch", "torchvision", "timm", "transformers"}


@pytest.mark.parametrize("room", sorted(NUMPY_ONLY))
def test_the_heart_needs_numpy_only(room):
    files = [file for file in modules() if room_of(file) == room]
    outside = {name.split(".")[0] for file in files for name in imported_names(file)}
    assert files
    allowed = {
        "__future__",
        "numpy",
        "masa_cli",
        "scipy" if room in {"motion", "hybrid", "second_look"} else "numpy",
    }
    known = {"collections", "dataclasses", "fractions", "math", "typing", "types", "itertools"}
    assert outside <= allowed | known


def test_every_room_has_a_floor():
    rooms = {room_of(file) for file in modules()} - {"__init__"}
    assert rooms <= set(FLOOR_OF)
