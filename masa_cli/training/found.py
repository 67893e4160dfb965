"""Validation of a detector: what it finds in pictures that it never learned from."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from masa_cli.models.one_stage import OneStage, OneStageSettings, choose
from masa_cli.training.average_precision import Row, average_precisions, rows_of
from masa_cli.training.batches import Batch
from masa_cli.training.pairs import Pair
from masa_cli.training.trainee import Trainee


@torch.inference_mode()
def found_in_pairs(trainee: Trainee, detector: OneStage, pairs: Iterable[Pair]) -> float:
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
        seen = trainee.look(Batch.of([pair]).to(trainee.device))
        for views in (seen.key, seen.reference):
            count += 1
            (own,) = views.instances
            truth += rows_of(count, own.boxes.cpu().numpy(), (own.labels + 1).tolist())
            ignored = own.ignored_boxes.cpu().numpy(), (own.ignored_labels + 1).tolist()
            truth += [row | {"iscrowd": 1} for row in rows_of(count, *ignored)]
            logits, boxes = detector([views.maps[level] for level in sorted(views.maps)])
            chosen = choose(logits[0, :, :-1], boxes[0], (seen.size,) * 2, OneStageSettings())
            shown, scores, labels = (x.cpu().numpy() for x in chosen)
            rows = rows_of(count, shown, (labels + 1).tolist())
            found += [
                row | {"score": score} for row, score in zip(rows, scores.tolist(), strict=True)
            ]
    scores_by_class = average_precisions(truth, found, range(1, count + 1))
    return float(np.mean([*scores_by_class.values()]))
