"""Detectors that know classes of their own: which of them a prompt means, and which boxes stay.

Names come from a file of the model, or of the user; a prompt is matched with them by name and by
the aliases of COCO's classes.
"""

from __future__ import annotations

import ast
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import yaml

from masa_cli.boxes import area, wholly_outside
from masa_cli.detectors import DetectorRequest
from masa_cli.detectors.prompt import load_vocabulary, word_forms
from masa_cli.errors import SettingsError, WeightsError, shortened
from masa_cli.formats.files import encoding_of
from masa_cli.structures import BoolArray, Detections, IntArray

# Numbers up to 90 that COCO gave to no class it kept; its 80 classes have the others.
_COCO_GAPS = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
_MOST_LISTED = 30  # names in an error

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OwnClasses:
    """The classes of a network, and what each class of a request means by them.

    Attributes:
        names: that the network's labels index; "" for one that it never gives.
        meanings: for each class of the request the labels of the network that it stands for.
    """

    names: tuple[str, ...]
    meanings: tuple[tuple[int, ...], ...]

    def check(self, labels: IntArray, where: object) -> None:
        """Raise WeightsError for a label beyond the names."""
        if len(labels) and (labels.min() < 0 or labels.max() >= len(self.names)):
            wrong = int(labels.min() if labels.min() < 0 else labels.max())
            raise WeightsError(
                f"{where} found a box of class number {wrong}, but has names for "
                f"{len(self.names)} classes, from 0",
                fix="give the names of all its classes, a line each: --names FILE; if its numbers "
                'begin at 1, the first line is "background"',
            )


def with_own_classes(
    request: DetectorRequest, names: Sequence[str], *, max_overlap: float | None = None
) -> DetectorRequest:
    """The request with the classes that it is about, and what they mean as its last query.

    Args:
        request: with a prompt, or without one for all classes.
        names: of the network's classes, "" for one that it never gives.
        max_overlap: the default of this network, unless the user gave one.

    Raises:
        SettingsError: a phrase of the prompt stands for none of the names.
    """
    settings = request.settings
    if max_overlap is not None and "max_overlap" not in request.asked:
        settings = replace(settings, max_overlap=max_overlap)
    meanings: tuple[tuple[int, ...], ...]
    if request.prompt is None:
        labels = [label for label, name in enumerate(names) if name]
        classes, meanings = tuple(names[i] for i in labels), tuple((i,) for i in labels)
    else:
        classes = request.classes
        meanings = _meanings(classes, names, request.model or request.row.name)
    own = OwnClasses(tuple(names), meanings)
    return replace(request, settings=settings, classes=classes, queries=(*request.queries, own))


def own_classes(request: DetectorRequest) -> OwnClasses:
    """What `with_own_classes` put into a request."""
    own = request.queries[-1]
    if not isinstance(own, OwnClasses):
        raise TypeError(f"{request.row.name} was requested without its classes")
    return own


def _meanings(
    phrases: Sequence[str], names: Sequence[str], what: str
) -> tuple[tuple[int, ...], ...]:
    found = tuple(labels_of(phrase, names) for phrase in phrases)
    unknown = [phrase for phrase, labels in zip(phrases, found, strict=True) if not labels]
    if unknown:
        known = [name for name in names if name]
        more = f" and {len(known) - _MOST_LISTED} more" if len(known) > _MOST_LISTED else ""
        raise SettingsError(
            f"{what} does not know " + ", ".join(f'"{phrase}"' for phrase in unknown),
            fix=f"name some of its classes, or none for all: {', '.join(known[:_MOST_LISTED])}"
            + more,
        )
    return found


def labels_of(phrase: str, names: Sequence[str]) -> tuple[int, ...]:
    """The labels of the names that a phrase stands for: by name, else by what COCO's words mean."""
    forms = set(word_forms(_plain(phrase)))
    own = [_plain(name) for name in names]
    if same := [i for i, name in enumerate(own) if name and forms & set(word_forms(name))]:
        return tuple(same)
    vocabulary = load_vocabulary()
    meaning = set(vocabulary.meaning(_plain(phrase)))
    meant = [set(vocabulary.meaning(name)) if name else set() for name in own]
    return tuple(i for i, each in enumerate(meant) if each and each <= meaning)


def _plain(name: str) -> str:
    return " ".join(re.sub(r"[_\-\s]+", " ", name).lower().split())


# Which boxes stay.


def select(found: Detections, request: DetectorRequest, size: tuple[int, int]) -> Detections:
    """The boxes that a request wants, under its own labels, the best first.

    Args:
        found: boxes of one frame, with labels of the network's own classes.
        request: with its own classes.
        size: width and height of the frame; boxes outside of it are left out.
    """
    import torch
    from torchvision.ops import nms

    settings, min_scores = request.settings, np.array(request.min_scores, np.float32)
    fits: BoolArray = np.all(np.isfinite(found.boxes), axis=1)
    fits &= found.scores >= min_scores.min(initial=1.0)
    fits &= ~wholly_outside(found.boxes, *size)
    found = found[fits]
    chosen, numbers = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for number, meaning in enumerate(own_classes(request).meanings):
        is_own = np.isin(found.labels, meaning) & (found.scores >= min_scores[number])
        (rows,) = is_own.nonzero()
        if len(rows) > 1 and settings.max_overlap < 1:
            of_class = found[rows]
            kept = nms(
                torch.from_numpy(of_class.boxes),
                torch.from_numpy(of_class.scores),
                settings.max_overlap,
            )
            rows = rows[kept.numpy()]
        chosen.append(rows)
        numbers.append(np.full(len(rows), number, np.int64))
    rows, wanted = np.concatenate(chosen), np.concatenate(numbers)
    order = np.argsort(-found.scores[rows], kind="stable")
    best = replace(found[rows[order]], labels=wanted[order])
    areas = area(best.boxes)
    return best[(areas > 0) & (areas >= settings.min_area)][: settings.max_boxes]


# Names.


def coco_names() -> tuple[str, ...]:
    """COCO's 80 classes, from 0."""
    return load_vocabulary().classes


def coco_names_with_gaps() -> tuple[str, ...]:
    """COCO's classes by the numbers that its files give them, 1 to 90; "" for those unused."""
    left = iter(coco_names())
    return "", *("" if number in _COCO_GAPS else next(left) for number in range(1, 91))


def read_names(file: Path) -> tuple[str, ...]:
    """The names of classes in a file: a line each, or the `names` of a YAML or JSON file.

    Raises:
        SettingsError: it cannot be read, or has no names, or one of them twice.
    """
    fix = "give a text file with a name on each line, in the order of the model's classes"
    try:
        text = file.read_text(encoding=encoding_of(file))
        if file.suffix.lower() in (".yaml", ".yml"):
            names = _listed(yaml.safe_load(text))
        elif file.suffix.lower() == ".json":
            names = _listed(orjson.loads(text))
        else:
            names = tuple(line.strip() for line in text.rstrip().splitlines())
    except (OSError, UnicodeDecodeError, yaml.YAMLError, orjson.JSONDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is damaged, or no text in UTF-8"
        raise SettingsError(f"--names: {file} cannot be read: {reason}", fix=fix) from None
    if not any(names):
        raise SettingsError(f"--names: {file} has no names of classes", fix=fix)
    twice = [name for name in names if name and names.count(name) > 1]
    if twice:
        raise SettingsError(f'--names: {file} has "{shortened(twice[0])}" twice', fix=fix)
    return names


def parse_names_in_model(text: str) -> tuple[str, ...] | None:
    """The names that Ultralytics writes into its files, as Python; None if it is something else."""
    try:
        return _listed(ast.literal_eval(text)) or None
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _listed(content: Any) -> tuple[str, ...]:  # noqa: ANN401 - of YAML, JSON or Python
    """Names in a list, by their numbers, or either of them under "names"; none if it is neither."""
    if isinstance(content, Mapping) and "names" in content:
        content = content["names"]
    if isinstance(content, Mapping):
        numbers = {int(key): str(name) for key, name in content.items() if str(key).isdecimal()}
        last = max(numbers, default=-1)
        if len(numbers) < len(content) or last >= _MOST_NAMES:
            return ()
        return tuple(numbers.get(number, "") for number in range(last + 1))
    if isinstance(content, list | tuple):
        return tuple(str(name) for name in content)
    return ()


_MOST_NAMES = 100_000


def named_or_numbered(
    num_classes: int | None, names: Sequence[str] | None, where: object
) -> tuple[str, ...]:
    """The names to use for a model that may know their number, and may know them; says a guess.

    Args:
        num_classes: that the outputs tell of; None: they do not.
        names: of the user or of the model, if there are any.
        where: the model, for messages.

    Raises:
        SettingsError: there are not as many names as classes.
    """
    if names is not None:
        if num_classes is not None and len(names) != num_classes:
            raise SettingsError(
                f"{where} has {num_classes} classes, but there are {len(names)} names",
                fix="give the names of all its classes in their order, a line each: --names FILE",
            )
        return tuple(names)
    usual = {80: coco_names(), 91: coco_names_with_gaps(), 1: ("object",)}
    if num_classes is not None and num_classes not in usual:
        logger.warning(
            "%s does not name its %d classes: they are called class 0, class 1, ...; --names FILE "
            "names them",
            where,
            num_classes,
        )
        return tuple(f"class {number}" for number in range(num_classes))
    if num_classes != 1:
        logger.warning("%s does not name its classes: taken for COCO's (else --names FILE)", where)
    return usual[80 if num_classes is None else num_classes]
