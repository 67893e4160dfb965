"""Detectors of the Hugging Face hub, through transformers: those with classes, and those for words.

A model is looked for on this machine alone, and only safetensors are read: no code of a model runs.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from inspect import signature
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from huggingface_hub import constants
from safetensors import SafetensorError
from torch import Tensor, nn

from masa_cli.detectors import DetectorRequest
from masa_cli.detectors.closed_set import own_classes, select, with_own_classes
from masa_cli.detectors.prompt import nothing_wanted, split_to_fit
from masa_cli.errors import SettingsError, WeightsError, shortened
from masa_cli.models import SharedNetworks
from masa_cli.models.device import choose_placement
from masa_cli.structures import Detections, Frame, of_one_size
from masa_cli.weights.manifest import folders, look_for_model

# By the type in a configuration, where its text is made: that is done once for a prompt.
WORDS: Mapping[str, str] = MappingProxyType(
    {
        "owlvit": "owlvit.text_model",
        "owlv2": "owlv2.text_model",
        "grounding-dino": "model.text_backbone",
        "mm-grounding-dino": "model.text_backbone",
        "omdet-turbo": "",  # it keeps what it has read itself
    }
)
CLASSES = (
    *("conditional_detr", "d_fine", "dab-detr", "deformable_detr", "detr", "rt_detr"),
    *("rt_detr_v2", "table-transformer", "yolos"),
)
_IN_CAPTIONS = ("grounding-dino", "mm-grounding-dino")
_ONE_SIZE = ("owlvit", "owlv2", "omdet-turbo")  # positions are learned for one size of input
_WORDS_OVERLAP = 0.7  # queries find an object of a phrase several times
# Scores of those that look for words are lower than other detectors'; as for Grounding-DINO.
_WORDS_CHANGES = MappingProxyType(
    {
        "hybrid": ("birth_score=0.35", "confident_score=0.3"),
        "motion": ("birth_score=0.4", "confident_score=0.3"),
    }
)
_CONFIGURATION, _IMAGES = "config.json", "preprocessor_config.json"
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_CANNOT = (
    SafetensorError,
    OSError,
    ValueError,
    RuntimeError,
    KeyError,
    TypeError,
    AttributeError,
    ImportError,
)

logger = logging.getLogger(__name__)


def models_here(folder: Path | None = None) -> list[tuple[str, str, bool]]:
    """Detectors in the folders of weights and in the hub's cache: name, type, whether for words."""
    names = [file.parent.name for place in folders(folder) for file in place.glob("*/config.json")]
    cached = sorted(Path(constants.HF_HUB_CACHE).glob("models--*"))
    names += [place.name.removeprefix("models--").replace("--", "/") for place in cached]
    found = []
    for name in dict.fromkeys(names):
        place = look_for_model(name, folder)
        if place is None or not any((place / file).is_file() for file in _WEIGHTS):
            continue
        kind = _settings(place / _CONFIGURATION).get("model_type")
        if kind in (*WORDS, *CLASSES):
            found.append((name, str(kind), kind in WORDS))
    return found


def with_model(request: DetectorRequest) -> DetectorRequest:
    """The request with the folder of its model, and what the model knows; nothing is loaded.

    Raises:
        WeightsError: it is not on this machine, or is no detector, or not in safetensors.
        UsageError: it looks for words, and there are none.
        SettingsError: it has classes, and a phrase of the prompt is none of them.
    """
    folder, name = _folder_of(request), request.model
    settings = _settings(folder / _CONFIGURATION)
    kind = settings.get("model_type")
    weights = next((folder / file for file in _WEIGHTS if (folder / file).is_file()), None)
    if kind not in (*WORDS, *CLASSES):
        raise WeightsError(
            f'{name} is a model of type "{shortened(str(kind))}", which is no known detector',
            fix=f"use one of type {', '.join((*CLASSES, *WORDS))}",
        )
    if weights is None:
        has_other = any(folder.glob("*.bin")) or any(folder.glob("*.pt*"))
        raise WeightsError(
            f"{name} has no weights in safetensors"
            + (", and others may run code when they are read" if has_other else ""),
            fix="take a revision that has them (MODEL@REVISION), or convert them: "
            "save_pretrained(folder, safe_serialization=True)",
        )
    if not (folder / _IMAGES).is_file():
        raise WeightsError(
            f"{name} lacks {_IMAGES}: it is not all of a model of transformers",
            fix=f"get all of it: masa weights pull hf:{name}",
        )
    files = (weights, *sorted(folder.glob("*.json")), *sorted(folder.glob("*.safetensors")))
    request = replace(
        request,
        weights=weights,
        files=tuple(dict.fromkeys(file for file in files if file.is_file())),
        queries=(folder, kind),
    )
    if kind in CLASSES:
        logger.info("hf:%s: a %s, with classes of its own", name, kind)
        return with_own_classes(request, _names(settings, name))
    if request.prompt is None:
        raise nothing_wanted()
    logger.info("hf:%s: a %s, for any words", name, kind)
    request = replace(request, changes=_WORDS_CHANGES)
    return with_own_classes(request, request.classes, max_overlap=_WORDS_OVERLAP)


def _folder_of(request: DetectorRequest) -> Path:
    folder = look_for_model(request.model, request.folder)
    if folder is None:
        raise WeightsError(
            f"the model {request.model or 'after hf:'} is not on this machine",
            fix=f"masa weights pull hf:{request.model or 'OWNER/NAME'}, or give the folder it is "
            "in: --detector hf:FOLDER",
        )
    if not (folder / _CONFIGURATION).is_file():
        raise WeightsError(
            f"{folder} has no {_CONFIGURATION}: it is no model of transformers",
            fix="give the folder that save_pretrained wrote",
        )
    return folder


def _settings(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{file} cannot be read: {error}", fix="get the model again") from None
    return found if isinstance(found, dict) else {}


def _names(settings: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Of the classes, "" for numbers without one."""
    given = settings.get("id2label")
    names = {int(key): str(each) for key, each in given.items()} if isinstance(given, dict) else {}
    if not names:
        raise WeightsError(
            f"{name} does not name its classes", fix=f"write id2label into its {_CONFIGURATION}"
        )
    found = [names.get(number, "") for number in range(max(names) + 1)]
    return tuple("" if each in ("N/A", "no-object") else each for each in found)


def build_hub_detector(request: DetectorRequest, networks: SharedNetworks) -> HubDetector:
    """The detector for a request; it shares nothing.

    Raises:
        SettingsError: it cannot work on this machine, or its input has one size.
        WeightsError: the weights are not those of the configuration.
    """
    folder, kind, _ = request.queries
    placement = choose_placement(networks.device, networks.precision)
    if networks.side and kind in _ONE_SIZE:
        raise SettingsError(
            f"--imgsz {networks.side}: hf:{request.model} takes images of one size",
            fix="leave out --imgsz, or look at parts of the frame: --tiles 2x2",
        )
    model, processor = _load(folder, kind, request.model)
    if networks.converts:
        logger.info("hf:%s stays in torch", request.model)
    kinds = {"omdet-turbo": OmDet, **dict.fromkeys(_IN_CAPTIONS, Captioned)}
    made: type[HubDetector] = kinds.get(kind, WithWords if kind in WORDS else HubDetector)
    return made(model.to(*placement), processor, request, networks.side)


def _load(folder: Path, kind: str, name: str) -> tuple[Any, Any]:
    """The model, which evaluates only, and what makes its inputs."""
    from transformers import (
        AutoConfig,
        AutoImageProcessor,
        AutoModelForObjectDetection,
        AutoModelForZeroShotObjectDetection,
        AutoProcessor,
    )

    loads: Any = (
        AutoModelForZeroShotObjectDetection if kind in WORDS else AutoModelForObjectDetection
    )
    prepares: Any = AutoProcessor if kind in WORDS else AutoImageProcessor
    here = {"local_files_only": True, "trust_remote_code": False}
    try:
        with _quiet():
            configuration = AutoConfig.from_pretrained(folder, **here)
            if hasattr(configuration, "use_pretrained_backbone"):
                # Or the weights of its backbone would be fetched, to be replaced at once.
                configuration.use_pretrained_backbone = False
            processor = prepares.from_pretrained(folder, **here)
            model, report = loads.from_pretrained(
                folder,
                config=configuration,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
                **here,
            )
    except _CANNOT as error:
        reason = shortened(str(error).strip().partition("\n")[0], 160)
        raise WeightsError(
            f"hf:{name} cannot be loaded: {reason}", fix=f"get it anew: masa weights pull hf:{name}"
        ) from None
    if missing := sorted(report["missing_keys"]):
        raise WeightsError(
            f"hf:{name} lacks {len(missing)} weights of a {kind}, such as {missing[0]}",
            fix="get a model that was trained to detect, all of it",
        )
    if place := WORDS.get(kind):
        parent = model.get_submodule(place.rpartition(".")[0])
        part = place.rpartition(".")[2]
        setattr(parent, part, ReadOnce(getattr(parent, part)))
    return model.eval().requires_grad_(False), processor


@contextmanager
def _quiet() -> Iterator[None]:
    """Inside, transformers says nothing of what it takes for granted."""
    from transformers.utils.logging import get_verbosity, set_verbosity

    before = get_verbosity()
    set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        set_verbosity(before)


class ReadOnce(nn.Module):
    """A text model that remembers what the last texts gave: a prompt stays the same."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._seen: dict[tuple[Any, ...], Any] = {}

    def forward(self, input_ids: Tensor, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401
        """What the network gives for these tokens."""
        key = (tuple(input_ids.shape), input_ids.cpu().numpy().tobytes())
        if key not in self._seen:
            if len(self._seen) >= _MOST_TEXTS:
                self._seen.clear()
            self._seen[key] = self.network(input_ids, *arguments, **named)
        return self._seen[key]

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as in every module
        """What else is asked of the network."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("network"), name)


_MOST_TEXTS = 16  # captions of a prompt, at several sizes of a batch


class HubDetector:
    """Finds objects of the classes that a network knows.

    Args:
        model: of transformers; evaluates only.
        processor: makes its inputs, and boxes of its outputs.
        request: what to find, and which boxes are returned.
        side: pixels that the longer side of frames is fitted to; None: as the model wants it.
    """

    def __init__(
        self,
        model: Any,  # noqa: ANN401 - transformers loads it by name
        processor: Any,  # noqa: ANN401
        request: DetectorRequest,
        side: int | None = None,
    ) -> None:
        self.classes = request.classes
        self._model, self._processor, self._request = model, processor, request
        self._size = _size_for(getattr(processor, "image_processor", processor), side)
        self._min_score = min(request.min_scores, default=0.0)
        self._dtype, self._device = model.dtype, model.device
        self._takes = set(signature(model.forward).parameters)
        self._names = own_classes(request).names

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Boxes in source pixels, the best first; neighbours of one size share a forward pass."""
        return [found for run in of_one_size(frames) for found in self._detect(run)]

    @torch.inference_mode()
    def _detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """The same for frames of one size."""
        height, width = frames[0].image.shape[:2]
        found = self._find([frame.image for frame in frames], [(height, width)] * len(frames))
        return [self._selected(each, (width, height)) for each in found]

    def _find(self, images: Sequence[Any], sizes: Sequence[tuple[int, int]]) -> list[Any]:
        """For each image its boxes in source pixels, scores and labels."""
        inputs = self._placed(self._processor(images=images, return_tensors="pt", **self._size))
        found: list[Any] = self._processor.post_process_object_detection(
            self._model(**inputs), threshold=self._min_score, target_sizes=sizes
        )
        return found

    def _placed(self, inputs: Mapping[str, Tensor]) -> dict[str, Any]:
        """Those of the inputs that the model takes, where it is and in its numbers."""
        return {
            name: x.to(self._device, self._dtype if x.is_floating_point() else None)
            for name, x in inputs.items()
            if name in self._takes
        }

    def _selected(self, found: Mapping[str, Tensor], size: tuple[int, int]) -> Detections:
        boxes, scores = (found[name].float().cpu().numpy() for name in ("boxes", "scores"))
        labels = found["labels"].cpu().numpy().astype("int64")
        is_known = labels < len(self._names)  # some have a class for none, which may come first
        every = Detections(boxes, scores, labels)[is_known]
        return select(every, self._request, size)


def _size_for(processor: Any, side: int | None) -> dict[str, Any]:  # noqa: ANN401
    """What the processor is told for another size than the default."""
    if side is None:
        return {}
    keys = dict(processor.size)
    if "height" in keys:
        return {"size": {"height": side, "width": side}}
    return {"size": {"shortest_edge": side, "longest_edge": side}}


class WithWords(HubDetector):
    """Finds what phrases say: OWL-ViT and OWLv2."""

    def _find(self, images: Sequence[Any], sizes: Sequence[tuple[int, int]]) -> list[Any]:
        inputs = self._processor(
            images=images, text=[list(self.classes)] * len(images), return_tensors="pt"
        )
        found: list[Any] = self._processor.post_process_grounded_object_detection(
            self._model(**self._placed(inputs)), threshold=self._min_score, target_sizes=sizes
        )
        return found


class OmDet(HubDetector):
    """The same by OmDet-Turbo, whose post-processing has NMS."""

    def _find(self, images: Sequence[Any], sizes: Sequence[tuple[int, int]]) -> list[Any]:
        inputs = self._processor(
            images=images, text=[list(self.classes)] * len(images), return_tensors="pt"
        )
        found: list[Any] = self._processor.post_process_grounded_object_detection(
            self._model(**self._placed(inputs)),
            threshold=self._min_score,
            nms_threshold=self._request.settings.max_overlap,
            target_sizes=sizes,
        )
        return found


class Captioned(HubDetector):
    """The same by Grounding-DINO's kind, which reads all phrases as one caption, or as few.

    The score of a phrase is the mean of its tokens', as for masa's own Grounding-DINO.
    """

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401 - as HubDetector
        super().__init__(*arguments)
        tokenizer = self._processor.tokenizer
        start, end = tokenizer.cls_token_id, tokenizer.sep_token_id
        (dot,) = tokenizer(".", add_special_tokens=False).input_ids
        words = [tokenizer(each, add_special_tokens=False).input_ids for each in self.classes]
        room = self._model.config.max_text_len - 2
        self._captions = []
        for group in split_to_fit([min(len(ids) + 1, room) for ids in words], room):
            ids, spans = [start], []
            for index in group:
                own = words[index][: room - 1]
                spans.append((index, slice(len(ids), len(ids) + len(own))))
                ids += [*own, dot]
            self._captions.append(([*ids, end], spans))

    def _find(self, images: Sequence[Any], sizes: Sequence[tuple[int, int]]) -> list[Any]:
        shown = self._processor.image_processor(images=images, return_tensors="pt", **self._size)
        shown = self._placed(shown)
        parts = [self._find_caption(shown, *caption, sizes) for caption in self._captions]
        return [
            {name: torch.cat([part[index][name] for part in parts]) for name in parts[0][index]}
            for index in range(len(images))
        ]

    def _find_caption(
        self,
        shown: Mapping[str, Tensor],
        ids: Sequence[int],
        spans: Sequence[tuple[int, slice]],
        sizes: Sequence[tuple[int, int]],
    ) -> list[dict[str, Tensor]]:
        tokens = torch.tensor([ids] * len(sizes), device=self._device)
        outputs = self._model(
            **shown,
            input_ids=tokens,
            token_type_ids=torch.zeros_like(tokens),
            attention_mask=torch.ones_like(tokens),
        )
        chances = outputs.logits.float().sigmoid()  # (B, Q, tokens)
        scores = torch.stack([chances[..., span].mean(-1) for _, span in spans], -1)
        found = []
        for own, boxes, (height, width) in zip(scores, outputs.pred_boxes, sizes, strict=True):
            queries, columns = (own >= self._min_score).nonzero(as_tuple=True)
            half = boxes[queries, 2:] / 2
            corners = torch.cat([boxes[queries, :2] - half, boxes[queries, :2] + half], 1)
            labels = torch.tensor([index for index, _ in spans], device=self._device)[columns]
            scale = torch.tensor([width, height] * 2, device=self._device)
            found.append(
                {"boxes": corners * scale, "scores": own[queries, columns], "labels": labels}
            )
        return found
