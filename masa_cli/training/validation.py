"""What a run is judged by while it goes on: pairs that it never learned from, and videos."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
from torch import nn

from masa_cli.errors import MasaError, SourceError
from masa_cli.formats.regions import RegionSet
from masa_cli.models.adapter import Adapter, build_adapter
from masa_cli.models.embedding_head import EmbeddingHead
from masa_cli.models.frame_features import FrameFeatures
from masa_cli.models.one_stage import OneStage
from masa_cli.models.pictures import to_tensor
from masa_cli.models.pyramid import Pyramid
from masa_cli.training.found import found_in_pairs
from masa_cli.training.pairs import Pair, PairMaker
from masa_cli.training.recall import embed_pair, embed_pair_with, recall_at_1
from masa_cli.training.recipe import RunSettings
from masa_cli.training.trainee import Trainee
from masa_cli.training.videos import KnownVideo, score_videos
from masa_cli.training.views import ViewSettings

logger = logging.getLogger(__name__)
_SEED = 0  # of the choice of images and of their views: the same for all runs


def split(regions: RegionSet, run: RunSettings) -> tuple[RegionSet, RegionSet]:
    """The images to learn from, and those to validate with.

    Raises:
        SourceError: there is only one image.
    """
    if len(regions) < 2:
        raise SourceError(
            f"{len(regions)} images with regions are too few: one learns, another validates",
            fix="prepare more images",
        )
    # An image may be listed several times, to be seen more often: it is held out whole, once.
    own = zip(regions.files, range(len(regions)), strict=True)
    files = list(dict.fromkeys(file for file, place in own if (regions[place].labels >= 0).any()))
    held = min(run.max_held_out, max(1, round(len(files) * run.held_out)))
    order = np.random.default_rng(_SEED).permutation(len(files)).tolist()
    held_out = {files[place] for place in order[:held]}
    first = {file: place for place, file in reversed([*enumerate(regions.files)])}
    learned = [place for place, file in enumerate(regions.files) if file not in held_out]
    return regions.chosen(learned), regions.chosen(sorted(first[file] for file in held_out))


class Validation:
    """Scores a network, 0 to 1, more is better.

    Args:
        held_out: images it does not learn from.
        views: how their two views differ; nothing is mixed in.
        videos: with known boxes.
        folder: of the videos.
        results: folder for what the tracker finds in them.
    """

    def __init__(
        self,
        held_out: RegionSet,
        views: ViewSettings,
        videos: Sequence[KnownVideo],
        folder: Path | None,
        results: Path,
    ) -> None:
        self._maker = PairMaker(held_out, views, _SEED)
        self._places = self._usable(len(held_out))
        self._videos, self._folder, self._results = videos, folder, results

    def score(self, trainee: Trainee) -> dict[str, float]:
        """The scores by name, the one that decides first."""
        was_training = trainee.training
        trainee.eval()
        scores: dict[str, float] = {}
        if "head" in trainee.parts:
            scores = self._score_head(trainee, trainee.parts["head"])
        if "detector" in trainee.parts:
            detector = cast(OneStage, trainee.parts["detector"])
            pairs = (pair for _, pair in self.pairs())
            scores = {"AP50": found_in_pairs(trainee, detector, pairs)} | scores
        trainee.train(was_training)
        return scores

    def _score_head(self, trainee: Trainee, head: nn.Module) -> dict[str, float]:
        if not isinstance(head, EmbeddingHead):
            raise TypeError(f"validation embeds, but the head is {type(head).__name__}")
        scores = recall_at_1((pair, embed_pair(trainee, head, pair)) for _, pair in self.pairs())
        if self._folder:
            adapter = adapter_of(trainee)
            scores = score_videos(self._videos, self._folder, self._results, adapter) | scores
        return scores

    def score_raw(self) -> dict[str, float]:
        """The scores of features that were never trained to match, to compare embeddings with."""
        raw = build_adapter("raw", device="cpu")
        scores = recall_at_1(
            (pair, embed_pair_with(raw.embed, pair, number)) for number, pair in self.pairs()
        )
        if self._folder:
            raw = build_adapter("raw", device="cpu")
            scores = score_videos(self._videos, self._folder, self._results, raw) | scores
        return scores

    def _usable(self, count: int) -> list[int]:
        """Images that give pairs; the others are named once."""
        places = []
        for place in range(count):
            try:
                self._maker.make(place, place=place)
            except MasaError as error:
                logger.warning("not used for validation: %s", error.problem)
            else:
                places.append(place)
        if not places:
            raise SourceError(
                "none of the images held out for validation gives a pair of views",
                fix="hold out more with --set run.held_out=…, or prepare larger regions",
            )
        return places

    def pairs(self) -> list[tuple[int, Pair]]:
        """The pairs of all images held out, by their numbers."""
        return [(place, self._maker.make(place, place=place)) for place in self._places]


def adapter_of(trainee: Trainee) -> Adapter:
    """The network as a tracker uses it, without a copy; it must evaluate meanwhile."""
    variant, device = trainee.variant, trainee.device
    backbone = trainee.parts["backbone"]
    dtype = next(backbone.parameters()).dtype
    picture = variant.pictures["demo"]

    features = FrameFeatures(
        backbone,
        lambda images: to_tensor(images, picture, variant.mean, variant.std, device, dtype),
    )
    pyramid = Pyramid(features, trainee.parts["neck"], trainee.parts["fusion"])
    return Adapter(variant, pyramid, trainee.parts["head"], device)
