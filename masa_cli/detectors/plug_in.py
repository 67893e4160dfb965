"""Detectors that users write: "package.module:Class", or the name of a package's entry point.

Such an object is made before any frame is read, as the names of its classes are wanted.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np

from masa_cli.detectors import Detector, DetectorRequest
from masa_cli.detectors.closed_set import own_classes, select, with_own_classes
from masa_cli.errors import SettingsError
from masa_cli.models import SharedNetworks
from masa_cli.structures import Detections, Frame

ENTRY_POINTS = "masa.detectors"
_PROTOCOL = (
    "it needs classes, a list of names, and detect(frames), which gives a masa_cli.structures."
    "Detections for each"
)


def installed_plug_ins() -> dict[str, str]:
    """Of the packages that are installed: what they call their detectors, and where these are."""
    return {each.name: each.value for each in metadata.entry_points(group=ENTRY_POINTS)}


def with_plug_in(request: DetectorRequest) -> DetectorRequest:
    """The request with the object of the user, which is made here, and with its classes.

    Raises:
        SettingsError: it cannot be imported, is no detector, or does not know what is asked for.
    """
    name = request.model
    made = _made(_imported(installed_plug_ins().get(name, name), name), request)
    classes = getattr(made, "classes", None)
    is_named = isinstance(classes, Sequence) and not isinstance(classes, str) and len(classes) > 0
    if not (callable(getattr(made, "detect", None)) and is_named):
        raise SettingsError(f"{name} gives no detector, but {made!r:.60}", fix=_PROTOCOL)
    return with_own_classes(replace(request, queries=(made,)), tuple(map(str, classes or ())))


def _imported(target: str, name: str) -> Any:  # noqa: ANN401 - the user's own
    """What is at "module:attribute"; modules of the current folder are found, too."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        return resolve_name(target)
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingsError(
            f"--detector {name} cannot be imported: {error}",
            fix="write package.module:Class, of a module that is installed or lies in this folder",
        ) from None


def _made(found: Any, request: DetectorRequest) -> Any:  # noqa: ANN401
    """The object itself: a class or function is called, with the phrases if it takes a prompt."""
    if not callable(found) or (hasattr(found, "detect") and not isinstance(found, type)):
        return found
    takes_prompt = "prompt" in inspect.signature(found).parameters
    return found(prompt=request.classes if request.prompt else ()) if takes_prompt else found()


def build_plug_in(request: DetectorRequest, networks: SharedNetworks) -> PlugIn:
    """The user's object as the pipeline wants it; no network of masa's is asked."""
    return PlugIn(request.queries[0], request)


class PlugIn:
    """Asks the user's object, and looks at what it gives.

    Args:
        detector: the object.
        request: what is wanted of its boxes.
    """

    def __init__(self, detector: Detector, request: DetectorRequest) -> None:
        self.classes = request.classes
        self._detector, self._request = detector, request

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """The boxes of each frame that are wanted.

        Raises:
            SettingsError: the object gives something else than it must.
        """
        given = self._detector.detect(frames)
        if len(given) != len(frames) or not all(isinstance(each, Detections) for each in given):
            what = [type(each).__name__ for each in given] or ["nothing"]
            raise SettingsError(
                f"{self._request.model} gave {', '.join(what)} for {len(frames)} frames",
                fix=_PROTOCOL,
            )
        return [self._selected(*pair) for pair in zip(given, frames, strict=True)]

    def _selected(self, found: Detections, frame: Frame) -> Detections:
        boxes, scores = (np.asarray(each, np.float32) for each in (found.boxes, found.scores))
        labels = np.asarray(found.labels).astype(np.int64)
        own_classes(self._request).check(labels, self._request.model)
        height, width = frame.image.shape[:2]
        checked = Detections(boxes, scores, labels, found.masks)
        return select(checked, self._request, (width, height))
