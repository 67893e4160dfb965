"""What a prompt means to Detic: classes of LVIS, which its weights know, or words for CLIP.

The names are those of the categories of LVIS v1 (lvisdataset.org) by their numbers, which is the
order of the columns in Detic's weights. Nothing here loads torch.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

from masa_cli.detectors import DetectorRequest
from masa_cli.detectors.prompt import Prompt, Vocabulary, load_vocabulary
from masa_cli.errors import SettingsError
from masa_cli.weights.manifest import look_for_model

ALL = "lvis"  # in a prompt, stands for all classes
# A class of LVIS by the names it stands for, as numbers, of which the best counts; or a text.
Query = tuple[int, ...] | str

TEXT_ENCODER = "openai/clip-vit-base-patch32"  # on the hub of Hugging Face
_TEXT_FOLDER = TEXT_ENCODER.partition("/")[2]
# What of it must be there: one of each.
_NEEDED = (
    ("config.json",),
    ("model.safetensors", "pytorch_model.bin"),
    ("tokenizer.json", "merges.txt"),
)

logger = logging.getLogger(__name__)


@cache
def load_lvis() -> Vocabulary:
    """LVIS's 1203 classes: "traffic light" and "traffic_light" both mean "traffic_light".

    What a name has in brackets may be left out, "bow" means every kind of bow.
    """
    text = (files("masa_cli") / "detectors" / "lvis_v1_names.txt").read_text(encoding="utf-8")
    names = tuple(text.splitlines())
    without_brackets: dict[str, tuple[str, ...]] = {}
    for name in names:
        short = as_words(name.partition("_(")[0])
        without_brackets[short] = (*without_brackets.get(short, ()), name)
    whole = {as_words(name): (name,) for name in names}
    return Vocabulary(names, MappingProxyType(without_brackets | whole))


def as_words(name: str) -> str:
    """A name as people write it: small letters, spaces, no brackets."""
    return " ".join(re.sub(r"[_()]", " ", name).lower().split())


def with_lvis_words(request: DetectorRequest) -> DetectorRequest:
    """The request with a `Query` for each phrase; "lvis" becomes all classes.

    Raises:
        SettingsError: a phrase is no class of LVIS, and there is no text encoder here.
    """
    weights = request.weights
    if request.prompt is None or weights is None:
        raise ValueError(f"{request.row.name} was requested without a prompt or its weights")
    prompt, lvis = _expanded(request.prompt), load_lvis()
    numbers = {name: number for number, name in enumerate(lvis.classes)}
    meanings = [lvis.meaning(as_words(phrase)) for phrase in prompt.classes]
    queries: tuple[Query, ...] = tuple(
        tuple(numbers[name] for name in names) or phrase
        for phrase, names in zip(prompt.classes, meanings, strict=True)
    )
    request = replace(request, prompt=prompt, classes=prompt.classes, queries=queries)
    texts = [query for query in queries if isinstance(query, str)]
    if not texts:
        return request
    folder = find_text_encoder(weights.parent)
    if folder is None:
        raise _no_encoder(texts, weights.parent)
    logger.info("%s: CLIP's text encoder in %s", ", ".join(f'"{each}"' for each in texts), folder)
    return replace(request, files=(*request.files, *_files_of(folder)))


def find_text_encoder(beside: Path) -> Path | None:
    """The folder of CLIP's text encoder; None if it is not on this machine.

    Args:
        beside: a folder of weights, which comes before those that all weights are looked for in,
            and the cache of the hub.
    """
    found = look_for_model(TEXT_ENCODER, beside)
    return found if found and len(_files_of(found)) == len(_NEEDED) else None


def text_encoder_of(request: DetectorRequest) -> Path | None:
    """The folder of the text encoder that a request names, if its phrases need one."""
    own = [path for path in request.files if path.name == _NEEDED[0][0]]
    return own[0].parent if own else None


def _files_of(folder: Path) -> list[Path]:
    found = (
        next((folder / name for name in names if (folder / name).is_file()), None)
        for names in _NEEDED
    )
    return [file for file in found if file]


def _expanded(prompt: Prompt) -> Prompt:
    """The same, all classes in the place of "lvis"; a class that is named has its own threshold."""
    thresholds: dict[str, float | None] = {}
    own = dict(zip(prompt.classes, prompt.thresholds, strict=True))
    for phrase, threshold in own.items():
        if phrase != ALL:
            thresholds[phrase] = threshold
            continue
        named = {name for other in own for name in load_lvis().meaning(as_words(other))}
        thresholds |= {name: threshold for name in load_lvis().classes if name not in named}
    return Prompt(tuple(thresholds), tuple(thresholds.values()))


def _no_encoder(texts: Sequence[str], folder: Path) -> SettingsError:
    phrases = ", ".join(f'"{text}"' for text in texts)
    nearest = (_suggestion(text) for text in texts)
    return SettingsError(
        f"detic knows 1203 names of LVIS by itself, but not {phrases}{''.join(nearest)}",
        # Not masa weights pull: where it was published first, there are no safetensors.
        fix=f"use other names, or get the text encoder that knows any word: hf download "
        f"{TEXT_ENCODER} config.json pytorch_model.bin tokenizer.json; or save these files by "
        f"other means in {folder / _TEXT_FOLDER}",
    )


def _suggestion(text: str) -> str:
    """Names that mean the same by the aliases of COCO's classes, or are spelt alike."""
    lvis = load_lvis()
    near = [name for coco in load_vocabulary().meaning(text) for name in lvis.meaning(coco)]
    near = near or lvis.nearest(text)
    return f'; like "{text}", it knows {", ".join(near)}' if near else ""
