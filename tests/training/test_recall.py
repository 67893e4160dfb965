import numpy as np

from masa_cli.training.pairs import Pair, View
from masa_cli.training.recall import recall_at_1


def view(ids):
    ids = np.array(ids, np.int64)
    boxes = np.zeros((len(ids), 4), np.float32)
    return View(np.zeros((4, 4, 3), np.uint8), boxes, ids, ids * 0, boxes[:0], ids[:0])


def test_recall_counts_instances_that_are_in_both_views():
    # Of the first pair 1 is found, 2 is taken for 3; 4 has no partner.
    first = Pair(view([1, 2, 4]), view([1, 2, 3]), 0)
    keys = np.array([[1, 0], [0, 1], [1, 1]], np.float32)
    references = np.array([[5, 0], [-1, 0.5], [0, 2]], np.float32)
    # The second pair's only instance looks like 1 of the first, in its length alone it differs.
    second = Pair(view([1]), view([1]), 1)
    key, reference = np.array([[3, 0]], np.float32), np.array([[1, 0.5]], np.float32)
    scores = recall_at_1([(first, (keys, references)), (second, (key, reference))])
    assert scores["recall@1 in pair"] == 2 / 3
    assert scores["recall@1"] == 1 / 3
