"""What a run is judged by: recall of embeddings and AP of boxes on pairs it never learned from.

With sequences whose truth is known, also by IDF1 of tracking them, with the pipeline of all runs.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import takewhile
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import nn

from masa_cli.errors import MasaError, SourceError
from masa_cli.evaluation import evaluate
from masa_cli.evaluation.report import require
from masa_cli.formats.mot import MotRows, MotWriter, read_truth
from masa_cli.models.adapter import Adapter, build_adapter
from masa_cli.models.features import FrameFeatures, Pyramid, to_tensor
from masa_cli.models.heads import EmbeddingHead
from masa_cli.models.lite_heads import OneStage, OneStageSettings, postprocess
from masa_cli.pipeline import associate, observe
from masa_cli.progress import RunProgress
from masa_cli.sources import Source, open_source
from masa_cli.structures import BoolArray, Detections, FloatArray, Frame
from masa_cli.tracking import build_tracker
from masa_cli.training.augmentations import AugmentationSettings
from masa_cli.training.batches import Batch
from masa_cli.training.loop import Trainee
from masa_cli.training.matching import embed
from masa_cli.training.pairs import Pair, PairMaker
from masa_cli.training.recipe import RunSettings
from masa_cli.training.regions import RegionSet

logger = logging.getLogger(__name__)
_SEED = 0  # of the choice of images and of their views: the same for all runs
ASSOCIATION = "masa-demo"  # appearance alone: what is trained shall decide
# For the views of one pair: embeddings of the instances in each, (N, D) and (M, D).
Embeddings = tuple[FloatArray, FloatArray]
Row = dict[str, Any]  # as COCO has annotations and results


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
        views: AugmentationSettings,
        videos: Sequence[KnownVideo],
        folder: Path | None,
        results: Path,
    ) -> None:
        self._maker = PairMaker(held_out, views, _SEED)
        self._indices = self._usable(len(held_out))
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
            scores = {"AP50": average_precision_in_pairs(trainee, detector, pairs)} | scores
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
        indices = []
        for index in range(count):
            try:
                self._maker.make(index, index=index)
            except MasaError as error:
                logger.warning("not used for validation: %s", error.problem)
            else:
                indices.append(index)
        if not indices:
            raise SourceError(
                "none of the images held out for validation gives a pair of views",
                fix="hold out more with --set run.held_out=…, or prepare larger regions",
            )
        return indices

    def pairs(self) -> list[tuple[int, Pair]]:
        """The pairs of all images held out, by their numbers."""
        return [(index, self._maker.make(index, index=index)) for index in self._indices]


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
    # An image may be listed several times, to be used more often: it is held out whole, once.
    own = zip(regions.files, range(len(regions)), strict=True)
    files = list(dict.fromkeys(file for file, index in own if (regions[index].labels >= 0).any()))
    held = min(run.max_held_out, max(1, round(len(files) * run.held_out)))
    order = np.random.default_rng(_SEED).permutation(len(files)).tolist()
    held_out = {files[index] for index in order[:held]}
    first = {file: index for index, file in reversed([*enumerate(regions.files)])}
    learned = [index for index, file in enumerate(regions.files) if file not in held_out]
    return regions.chosen(learned), regions.chosen(sorted(first[file] for file in held_out))


@dataclass(frozen=True, slots=True, eq=False)
class KnownVideo:
    """A video and the truth about it.

    Attributes:
        name: of the sequence.
        source: its frames.
        truth: boxes with identities.
    """

    name: str
    source: Source
    truth: MotRows

    classes = ("object",)

    def frames(self) -> Generator[Frame, None, None]:
        """The frames that the truth tells of."""
        last = int(self.truth.frames[self._counted].max())
        yield from takewhile(lambda frame: frame.index <= last, self.source.frames())

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """The true boxes of these frames."""
        return [self._boxes(frame.index) for frame in frames]

    @property
    def _counted(self) -> BoolArray:
        """(N,) which rows count, by their flag."""
        counted: BoolArray = self.truth.scores != 0
        return counted

    def _boxes(self, index: int) -> Detections:
        rows = self._counted & (self.truth.frames == index)
        boxes = self.truth.boxes[rows].astype(np.float32)
        return Detections(boxes, np.ones(len(boxes), np.float32), np.zeros(len(boxes), np.int64))


def find_videos(folder: Path) -> list[KnownVideo]:
    """The sequences in a folder: each a folder with gt/gt.txt and img1, or a video file.

    Raises:
        SourceError: there are none, or one is incomplete.
        SettingsError: what scores them is not installed.
    """
    require("trackeval")
    truths = sorted(folder.glob("*/gt/gt.txt"))
    if not truths:
        raise SourceError(
            f"{folder} holds no sequences", fix="give a folder of <sequence>/gt/gt.txt"
        )
    found = []
    for truth in truths:
        sequence = truth.parents[1]
        rows = read_truth(truth)
        if not (rows.scores != 0).any():
            raise SourceError(f"{truth} has no boxes that count", fix="leave the sequence out")
        found.append(KnownVideo(sequence.name, open_source(_images_of(sequence)), rows))
    return found


def score_videos(
    videos: Sequence[KnownVideo], folder: Path, results: Path, adapter: Adapter
) -> dict[str, float]:
    """IDF1 and AssA over all videos, 0 to 1.

    Args:
        videos: of the folder.
        folder: where their truth is.
        results: folder for what the tracker finds.
        adapter: gives the boxes their embeddings.
    """
    results.mkdir(parents=True, exist_ok=True)
    progress = RunProgress()
    for video in videos:
        tracker = build_tracker(ASSOCIATION, temperature=adapter.temperature)
        with MotWriter(results / f"{video.name}.txt") as writer:
            observations = observe(video.frames(), video, adapter, None, progress=progress)
            for frame, found in associate(observations, tracker, progress=progress):
                writer.write(frame, found.tracks)
    scores = evaluate(folder, results, protocol="mot").combined
    return {"IDF1": scores["IDF1"], "AssA": scores["AssA"]}


def adapter_of(trainee: Trainee) -> Adapter:
    """The network as a tracker uses it, without a copy; it must evaluate meanwhile."""
    variant, device = trainee.variant, trainee.device
    backbone = trainee.parts["backbone"]
    dtype = next(backbone.parameters()).dtype
    preprocessing = variant.preprocessing["demo"]

    features = FrameFeatures(
        backbone,
        lambda images: to_tensor(images, preprocessing, variant.mean, variant.std, device, dtype),
    )
    pyramid = Pyramid(features, trainee.parts["neck"], trainee.parts["fusion"])
    return Adapter(variant, pyramid, trainee.parts["head"], device)


@torch.inference_mode()
def embed_pair(trainee: Trainee, head: EmbeddingHead, pair: Pair) -> Embeddings:
    """The instances of a pair as the network describes them."""
    features = trainee.extract(Batch.of([pair]).to(trainee.device))
    key, reference = (
        embed(head, features, views, [views.instances[0].boxes])[0].cpu().numpy()
        for views in (features.key, features.reference)
    )
    return key, reference


def embed_pair_with(
    embedder: Callable[[Sequence[Frame], Sequence[FloatArray]], list[FloatArray]],
    pair: Pair,
    number: int,
) -> Embeddings:
    """The instances of a pair as an adapter describes them.

    Args:
        embedder: an adapter's `embed`.
        pair: two views.
        number: of the pair; frames have to come in order.
    """
    views = (pair.key, pair.reference)
    embeddings = [
        embedder([Frame(2 * number + index, Fraction(number), view.image)], [view.boxes])[0]
        for index, view in enumerate(views)
    ]
    return embeddings[0], embeddings[1]


def recall_at_1(pairs: Iterable[tuple[Pair, Embeddings]]) -> dict[str, float]:
    """The share of instances of key views whose nearest in a reference view is their own.

    By cosine; of instances that are in both views. Among those of all pairs, and among those of the
    own pair.
    """
    keys, references, own = [], [], []
    key_names: list[tuple[int, int]] = []
    names: list[tuple[int, int]] = []
    for number, (pair, embeddings) in enumerate(pairs):
        key, reference = map(_unit, embeddings)
        keys.append(key)
        references.append(reference)
        key_names += [(number, int(each)) for each in pair.key.ids]
        names += [(number, int(each)) for each in pair.reference.ids]
        nearest = pair.reference.ids[(key @ reference.T).argmax(1)]
        there = np.isin(pair.key.ids, pair.reference.ids)
        own.append((nearest == pair.key.ids)[there])
    nearest = (np.concatenate(keys) @ np.concatenate(references).T).argmax(1)
    known = set(names)
    found = [
        names[index] == name
        for index, name in zip(nearest.tolist(), key_names, strict=True)
        if name in known
    ]
    return {
        "recall@1": float(np.mean(found)),
        "recall@1 in pair": float(np.concatenate(own).mean()),
    }


@torch.inference_mode()
def average_precision_in_pairs(
    trainee: Trainee, detector: OneStage, pairs: Iterable[Pair]
) -> float:
    """The mean over classes of the average precision at IoU 0.5, 0 to 1.

    Args:
        trainee: evaluates.
        detector: its own.
        pairs: both views are looked at.
    """
    truth: list[Row] = []
    found: list[Row] = []
    count = 0
    for pair in pairs:
        features = trainee.extract(Batch.of([pair]).to(trainee.device))
        for views in (features.key, features.reference):
            count += 1
            (own,) = views.instances
            logits, boxes = detector([views.maps[level] for level in sorted(views.maps)])
            known = own.labels < logits.shape[2] - 1  # the others are objects of no class
            labelled = own.boxes[known].cpu().numpy(), (own.labels[known] + 1).tolist()
            truth += coco_rows(count, *labelled)
            ignored = own.ignored_boxes.cpu().numpy(), (own.ignored_labels + 1).tolist()
            truth += [row | {"iscrowd": 1} for row in coco_rows(count, *ignored)]
            chosen = postprocess(
                logits[0, :, :-1], boxes[0], (features.size,) * 2, OneStageSettings()
            )
            kept_boxes, scores, labels = (x.cpu().numpy() for x in chosen)
            rows = coco_rows(count, kept_boxes, (labels + 1).tolist())
            found += [
                row | {"score": score} for row, score in zip(rows, scores.tolist(), strict=True)
            ]
    scores_by_class = average_precisions(truth, found, range(1, count + 1))
    return float(np.mean([*scores_by_class.values()]))


def average_precisions(
    truth: Sequence[Row], found: Sequence[Row], images: Sequence[int]
) -> dict[int, float]:
    """By category, 0 to 1, for those that are there: by COCO's rules, at IoU 0.5 alone.

    Args:
        truth: annotations; those that are `iscrowd` are regions to ignore.
        found: results with scores.
        images: numbers of all images.
    """
    categories = sorted({row["category_id"] for row in truth if not row["iscrowd"]})
    if not categories or not found:
        return dict.fromkeys(categories, 0.0)
    data = COCO()
    data.dataset = {
        "images": [{"id": number} for number in images],
        "annotations": [row | {"id": number} for number, row in enumerate(truth, start=1)],
        "categories": [{"id": number} for number in categories],
    }
    with contextlib.redirect_stdout(io.StringIO()):  # it reports on itself
        data.createIndex()
        evaluation = COCOeval(data, data.loadRes([dict(row) for row in found]), "bbox")
        evaluation.params.iouThrs = np.array([0.5])
        evaluation.params.maxDets = [1, 10, 100]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][0, :, :, 0, 2]  # (recall, category)
    return {
        int(category): float(column[column > -1].mean())
        for category, column in zip(evaluation.params.catIds, precision.T, strict=True)
        if (column > -1).any()
    }


def coco_rows(image: int, boxes: np.ndarray, categories: Sequence[int]) -> list[Row]:
    """Boxes (N, 4) xyxy of an image as COCO has them, without what truth or results add."""
    corners = boxes.astype(float)
    sides = corners[:, 2:] - corners[:, :2]
    return [
        {"image_id": image, "category_id": int(category), "bbox": [*corner, *side]}
        | {"area": side[0] * side[1], "iscrowd": 0}
        for corner, side, category in zip(
            corners[:, :2].tolist(), sides.tolist(), categories, strict=True
        )
    ]


def _images_of(sequence: Path) -> Path:
    """The folder of frames of a sequence, or its one video."""
    if (sequence / "img1").is_dir():
        return sequence / "img1"
    files = [
        path
        for path in sequence.iterdir()
        if path.is_file() and path.suffix not in {".ini", ".txt"}
    ]
    if len(files) != 1:
        raise SourceError(
            f"{sequence} has neither img1 nor one video file",
            fix="put its frames into img1, or its video beside gt",
        )
    return files[0]


def _unit(rows: FloatArray) -> FloatArray:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    units: FloatArray = rows / np.maximum(lengths, 1e-12)
    return units
