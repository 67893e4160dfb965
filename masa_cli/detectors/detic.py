"""The detector that knows LVIS's classes, and any word by CLIP: Detic, inside MASA-Detic."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from masa_cli.detectors import DetectorRequest
from masa_cli.detectors.lite import OnMaps, best_large
from masa_cli.detectors.lvis import Query, text_encoder_of
from masa_cli.errors import WeightsError, shortened
from masa_cli.models import SharedNetworks
from masa_cli.models.detic import TEXT_DIM, Detic, Stage, select
from masa_cli.models.device import choose_placement, ready
from masa_cli.models.features import Pyramid
from masa_cli.models.published_weights import load_parts
from masa_cli.structures import Detections, Frame

logger = logging.getLogger(__name__)


def build_detic(request: DetectorRequest, networks: SharedNetworks) -> DeticDetector:
    """The detector for a request; its backbone is that of the adapter of the same file.

    Raises:
        SettingsError: it cannot work on this machine.
        WeightsError: the file is not that of the model, or the text encoder is another one.
    """
    name, weights = request.row.weights, request.weights
    if weights is None:
        raise ValueError(f"{request.row.name} was requested without its weights")
    vectors = _vectors(request)
    pyramid = networks.detector_pyramid(name, weights)
    with torch.device("meta"):
        network = Detic()
    load_parts(weights, name, {"detector": network})
    columns = choose_classes(network, request.queries, vectors)
    ready(network, *choose_placement(networks.device, networks.precision))
    if networks.converts:
        logger.info("Detic's heads stay in torch; OpenVINO computes its backbone")
    return DeticDetector(network, pyramid, request, columns)


def choose_classes(
    network: Detic, queries: Sequence[Query], vectors: Tensor
) -> tuple[tuple[int, ...], ...]:
    """Let a network score just what is asked for; for each query the columns of its scores.

    Args:
        network: that scores LVIS's classes, with its weights.
        queries: see `lvis.Query`.
        vectors: (T, 512) of the texts among them, in order; of any length.
    """
    numbers = sorted({number for query in queries if isinstance(query, tuple) for number in query})
    # To a column of a matrix belongs a vector of length 1, if it has any.
    own = F.normalize(vectors, dim=1).T  # (512, T)
    for stage in cast(Sequence[Stage], network.stages):
        background = torch.zeros(TEXT_DIM, 1)
        stage.classes = torch.cat([stage.classes[:, numbers], own, background], dim=1)
    place = {number: column for column, number in enumerate(numbers)}
    texts = iter(range(len(numbers), len(numbers) + len(vectors)))
    return tuple(
        tuple(place[number] for number in query) if isinstance(query, tuple) else (next(texts),)
        for query in queries
    )


class DeticDetector(OnMaps):
    """Finds the classes of a request: a box has one of them.

    Args:
        network: evaluates only.
        pyramid: the maps it looks at, on a backbone to be shared with an adapter.
        request: what to find, and which boxes are returned.
        columns: for each class the scores of the network, of which the best counts.
    """

    def __init__(
        self,
        network: Detic,
        pyramid: Pyramid,
        request: DetectorRequest,
        columns: Sequence[tuple[int, ...]],
    ) -> None:
        super().__init__(pyramid)
        self._network, self._columns = network, columns
        self.classes, self._settings = request.classes, request.settings
        self._min_scores = torch.tensor(request.min_scores)

    def _found(
        self, levels: Sequence[Tensor], frames: Sequence[Frame], unpadded: tuple[int, int]
    ) -> list[Detections]:
        found = self._network(levels, unpadded)
        return [
            # Thousands of small steps, which take a GPU longer than a processor.
            self._post_process(boxes.cpu(), scores.cpu(), frame, unpadded)
            for (boxes, scores), frame in zip(found, frames, strict=True)
        ]

    def _post_process(
        self, boxes: Tensor, scores: Tensor, frame: Frame, unpadded: tuple[int, int]
    ) -> Detections:
        settings = self._settings
        rows, labels, best = select(
            boxes,
            self._of_classes(scores),
            self._min_scores,
            settings.max_overlap,
            settings.max_boxes,
        )
        scale = [new / old for new, old in zip(unpadded, frame.image.shape[:2], strict=True)]
        shown = boxes[rows] / torch.tensor([*reversed(scale)] * 2)
        return best_large(
            Detections(shown.numpy(), best.numpy(), labels.numpy()),
            settings.min_area,
            settings.max_boxes,
        )

    def _of_classes(self, scores: Tensor) -> Tensor:
        """(N, classes) of (N, columns)."""
        if all(len(own) == 1 for own in self._columns):
            return scores[:, [own[0] for own in self._columns]]
        return torch.stack([scores[:, own].amax(1) for own in self._columns], dim=1)


def _vectors(request: DetectorRequest) -> Tensor:
    """(T, 512) what CLIP makes of the texts among the queries."""
    texts = [query for query in request.queries if isinstance(query, str)]
    folder = text_encoder_of(request)
    if not texts:
        return torch.empty(0, TEXT_DIM)
    if folder is None:
        raise ValueError(f"{request.row.name} was requested without its text encoder")
    return encode_texts([f"a {text}" for text in texts], folder)


@torch.inference_mode()
def encode_texts(texts: Sequence[str], folder: Path) -> Tensor:
    """(N, 512) float32 CLIP's vectors of texts, of any length.

    Args:
        texts: those of more than 77 tokens are cut off.
        folder: of the model and its tokenizer, as transformers saves them.

    Raises:
        WeightsError: it cannot be read, or is another model.
    """
    from transformers import CLIPTextModelWithProjection, CLIPTokenizerFast

    try:
        tokenizer = CLIPTokenizerFast.from_pretrained(folder, local_files_only=True)
        model: nn.Module = CLIPTextModelWithProjection.from_pretrained(
            folder, local_files_only=True, dtype=torch.float32
        )
    except Exception as error:  # noqa: BLE001 - tokenizers raises nothing finer
        raise WeightsError(
            f"{folder} holds no text encoder of CLIP: {shortened(str(error))}",
            fix="get it again: the files of openai/clip-vit-base-patch32 from the Hugging Face hub",
        ) from None
    tokens = tokenizer(list(texts), padding=True, truncation=True, max_length=77)
    found: Tensor = model.eval()(
        torch.tensor(tokens["input_ids"]), torch.tensor(tokens["attention_mask"])
    ).text_embeds
    if found.shape[1] != TEXT_DIM:
        raise WeightsError(
            f"the vectors of the text encoder in {folder} have {found.shape[1]} numbers, Detic's "
            f"{TEXT_DIM}",
            fix="use that of openai/clip-vit-base-patch32",
        )
    return found
