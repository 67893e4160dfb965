"""A detector of the user's, named on the command line: found, made, asked and checked."""

from fractions import Fraction
from importlib import metadata

import numpy as np
import pytest

from masa_cli.detectors import ModelOptions
from masa_cli.detectors.prompt import parse_prompt
from masa_cli.detectors.request import request_prompt
from masa_cli.errors import SettingsError, WeightsError
from masa_cli.masks import pack
from masa_cli.models import SharedNetworks
from masa_cli.structures import Detections, Frame


class Birds:
    """Boxes as numpy makes them by default: float64, int64."""

    classes = ("pigeon", "kite")

    def detect(self, frames):
        boxes = np.array([[0.0, 0, 20, 20], [1, 1, 21, 21], [30, 30, 40, 50]])
        return [Detections(boxes, np.array([0.5, 0.9, 0.05]), np.array([0, 0, 1]))] * len(frames)


class WithMasks(Birds):
    def detect(self, frames):
        masks = np.full(1, None)
        masks[0] = pack(np.ones((5, 5), bool), (10, 10), (60, 80))
        row = np.float32([[10, 10, 15, 15]]), np.float32([0.5]), np.array([1])
        return [Detections(*row, masks)]


class Told(Birds):
    """Finds what it is told."""

    def __init__(self, prompt):
        self.classes = prompt or ("anything", "more")


class Few(Birds):
    def detect(self, frames):
        return super().detect(frames)[1:]


class Beyond(Birds):
    classes = ("pigeon",)


ready_made, number = Birds(), 3
FRAMES = [Frame(i, Fraction(i), np.zeros((60, 80, 3), np.uint8)) for i in range(2)]


def request(name, prompt=None, settings=None, *, at=f"{__name__}:"):
    wanted = parse_prompt(prompt) if prompt else None
    return request_prompt(wanted, f"{at}{name}", settings)


def found(*arguments, **keywords):
    made = request(*arguments, **keywords).build(SharedNetworks())
    return made.classes, made.detect(FRAMES)


@pytest.mark.parametrize("name", ["Birds", "ready_made"])
def test_all_boxes_of_a_class_or_of_an_object_are_taken(name):
    classes, (first, second) = found(name)
    assert classes == ("pigeon", "kite")
    assert first.scores.tolist() == pytest.approx([0.9, 0.5, 0.05])
    assert first.labels.tolist() == [0, 0, 1]
    assert (first.boxes.dtype, first.labels.dtype) == (np.float32, np.int64)
    assert second.boxes.tolist() == first.boxes.tolist()


def test_a_prompt_and_thresholds_choose_among_them():
    classes, (first, _) = found("Birds", "kite, bird", {"min_score": 0.1, "max_overlap": 0.5})
    assert classes == ("kite", "bird")  # a pigeon is one of COCO's birds
    assert (first.labels.tolist(), first.scores.tolist()) == ([1], pytest.approx([0.9]))


def test_its_masks_are_kept():
    (found,) = request("WithMasks", "kite").build(SharedNetworks()).detect(FRAMES[:1])
    assert found.masks[0] is not None
    assert found.labels.tolist() == [0]


def test_a_class_that_takes_a_prompt_is_given_it():
    assert found("Told", "red hat, dog")[0] == ("red hat", "dog")
    assert found("Told")[0] == ("anything", "more")


def test_packages_name_detectors_by_entry_points(monkeypatch):
    point = metadata.EntryPoint("birds", f"{__name__}:Birds", "masa.detectors")
    known = metadata.EntryPoints([point])
    monkeypatch.setattr(metadata, "entry_points", lambda group: known.select(group=group))
    assert found("birds", at="")[0] == ("pigeon", "kite")


def test_a_module_of_the_current_folder_is_found(tmp_path, monkeypatch):
    (tmp_path / "lies_here.py").write_text(f"from {__name__} import Birds\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")  # what is added to the path is taken off again
    assert found("Birds", at="lies_here:")[0] == ("pigeon", "kite")


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("missing.module:Thing", "No module named 'missing'"),
        (f"{__name__}:Missing", "cannot be imported.*Missing"),
        (f"{__name__}:number", "gives no detector, but 3"),
        (f"{__name__}:Fraction", "gives no detector"),
    ],
)
def test_what_is_no_detector_is_told(name, error):
    with pytest.raises(SettingsError, match=error):
        request(name, at="")


def test_what_a_detector_gives_is_looked_at():
    with pytest.raises(SettingsError, match="Few gave Detections for 2 frames"):
        found("Few")
    with pytest.raises(WeightsError, match="class number 1, but has names for 1 classes"):
        found("Beyond")


def test_it_is_asked_for_its_names_itself(tmp_path):
    with pytest.raises(SettingsError, match="--names tells of an exported detector"):
        request_prompt(None, f"{__name__}:Birds", options=ModelOptions(names=tmp_path))
