"""Detectors of torchvision, with the weights that it publishes or with some of one's own."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from urllib.parse import urlsplit

import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file

from masa_cli.detectors import DetectorRequest
from masa_cli.detectors.closed_set import read_names, select, with_own_classes
from masa_cli.errors import SettingsError, WeightsError, shortened
from masa_cli.models import SharedNetworks
from masa_cli.models.device import choose_placement
from masa_cli.structures import Detections, Frame, of_one_size
from masa_cli.weights.download import OnProgress, download
from masa_cli.weights.manifest import chosen_folder, folders, sha256_of

PREFIX = "torchvision:"
_CANNOT = (
    *(OSError, RuntimeError, ValueError, TypeError, EOFError),
    *(UnpicklingError, SafetensorError),
)
_NONE = ("__background__", "background", "N/A")  # what no box is called

logger = logging.getLogger(__name__)


def model_names() -> list[str]:
    """Of all detectors that torchvision builds."""
    kinds = torchvision.models.detection
    return [name for name in torchvision.models.list_models(kinds) if "keypoint" not in name]


def models_here(folder: Path | None = None) -> list[str]:
    """Those whose published weights are on this machine."""
    return [name for name in model_names() if _look_for(_published(name).url, folder)]


def with_weights(request: DetectorRequest) -> DetectorRequest:
    """The request with the file of its weights and the names of its classes; nothing is loaded.

    What follows the prefix is a model's name, and perhaps "@" and a file of weights.

    Raises:
        SettingsError: there is no such model, or it does not know what is asked for.
        WeightsError: the file is not here.
    """
    name, _, file = request.model.partition("@")
    published = _published(name)
    weights = Path(file) if file else _look_for(published.url, request.folder)
    if file and not Path(file).is_file():
        raise WeightsError(f"{file} is not a file", fix="give a file of weights after the @")
    if weights is None:
        place = folders(request.folder)[0] / _file_of(published.url)
        raise WeightsError(
            f"the weights of {PREFIX}{name} ({place.name}) are not on this machine",
            fix=f"masa weights pull {PREFIX}{name}; or get {published.url} by other means and save "
            f"it as {place}",
        )
    names = tuple(published.meta["categories"])
    if request.options.names:
        names = read_names(request.options.names)
        names = names if names[0] in ("", *_NONE) else ("", *names)  # number 0 is the background
    logger.info("torchvision's %s: %s", name, weights)
    request = replace(request, weights=weights, files=(weights,), queries=(name, len(names)))
    return with_own_classes(request, tuple("" if each in _NONE else each for each in names))


def _published(name: str) -> Any:  # noqa: ANN401 - a member of an enumeration of torchvision
    if name not in model_names():
        raise SettingsError(
            f'torchvision has no detector "{name}"', fix=f"use one of: {', '.join(model_names())}"
        )
    return torchvision.models.get_model_weights(name).DEFAULT


def _file_of(url: str) -> str:
    return Path(urlsplit(url).path).name


def _look_for(url: str, folder: Path | None) -> Path | None:
    """In the folders of weights, and in torch's own cache."""
    places = [*folders(folder), Path(torch.hub.get_dir()) / "checkpoints"]
    return next(
        (place / _file_of(url) for place in places if (place / _file_of(url)).is_file()), None
    )


def fetch_weights(name: str, folder: Path | None, *, on_progress: OnProgress) -> Path:
    """The file of a model's weights, downloaded unless it is here; its name tells its checksum.

    Raises:
        SettingsError: there is no such model.
        WeightsError: the file cannot be had, or is another one.
        Cut: there is no connection.
    """
    url = _published(name).url
    if found := _look_for(url, folder):
        return found
    checkpoints = Path(torch.hub.get_dir()) / "checkpoints"
    path = (chosen_folder(folder) or checkpoints) / _file_of(url)
    expected = path.stem.rpartition("-")[2]

    def verify(part: Path) -> None:
        if not sha256_of(part).startswith(expected):
            raise WeightsError(f"{url} is damaged: its sha256 is not {expected}", fix="try again")

    download(url, path, verify=verify, on_progress=on_progress)
    return path


def build_torchvision_detector(
    request: DetectorRequest, networks: SharedNetworks
) -> TorchvisionDetector:
    """The detector for a request; it shares nothing.

    Raises:
        SettingsError: it cannot work on this machine.
        WeightsError: the file is not that of the model.
    """
    name, num_classes, _ = request.queries
    if request.weights is None:
        raise ValueError(f"{name} was requested without its weights")
    model = torchvision.models.get_model(
        name, weights=None, weights_backbone=None, num_classes=num_classes
    )
    fix = "give the weights of this model; of other classes than COCO's, with their --names FILE"
    try:
        if request.weights.suffix == ".safetensors":
            state = load_file(request.weights)
        else:
            state = torch.load(request.weights, map_location="cpu", weights_only=True)
        model.load_state_dict(state)
    except _CANNOT as error:
        reason = shortened(" ".join(str(error).split()), 160)
        raise WeightsError(
            f"{request.weights} does not hold the weights of {name} for {num_classes} classes: "
            f"{reason}",
            fix=fix,
        ) from None
    if networks.side:
        if name.startswith("ssd"):
            raise SettingsError(
                f"--imgsz {networks.side}: {name} sees images of one size", fix="leave it out"
            )
        model.transform.min_size = (networks.side,)
        model.transform.max_size = networks.side
    device, dtype = choose_placement(networks.device, networks.precision)
    if networks.converts:
        logger.info("torchvision's %s stays in torch", name)
    return TorchvisionDetector(model.eval().requires_grad_(False).to(device, dtype), request)


class TorchvisionDetector:
    """Finds objects of the classes that a network knows.

    Args:
        model: of torchvision.models.detection; evaluates only.
        request: what to find, and which boxes are returned.
    """

    def __init__(self, model: Any, request: DetectorRequest) -> None:  # noqa: ANN401
        self.classes = request.classes
        self._model, self._request = model, request
        first = next(model.parameters())
        self._device, self._dtype = first.device, first.dtype
        # Scores that the user wants are not held back by the model.
        head = getattr(model, "roi_heads", model)
        head.score_thresh = min(head.score_thresh, min(request.min_scores, default=0.0))

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Boxes in source pixels, the best first; neighbours of one size share a forward pass."""
        return [found for run in of_one_size(frames) for found in self._detect(run)]

    @torch.inference_mode()
    def _detect(self, frames: Sequence[Frame]) -> list[Detections]:
        images = [torch.from_numpy(frame.image).to(self._device) for frame in frames]
        given = [image.permute(2, 0, 1).to(self._dtype) / 255 for image in images]
        height, width = frames[0].image.shape[:2]
        return [
            select(
                Detections(
                    found["boxes"].float().cpu().numpy(),
                    found["scores"].float().cpu().numpy(),
                    found["labels"].cpu().numpy(),
                ),
                self._request,
                (width, height),
            )
            for found in self._model(given)
        ]
