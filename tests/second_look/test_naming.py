import numpy as np

from masa_cli.second_look.naming import labels_of
from masa_cli.second_look.tracklets import End, Tracklet

HERE = End(0.0, np.zeros(2), 1.0, np.zeros(2))


def tracklet(number, scores):
    return Tracklet(number, number, HERE, HERE, 0, np.zeros(1, np.float32), scores)


def test_the_most_score_wins_over_all_tracklets_of_an_identity():
    tracklets = [tracklet(1, {3: 5.0, 4: 1.0}), tracklet(2, {4: 4.5}), tracklet(3, {3: 1.0})]
    assert labels_of(tracklets, {1: 1, 2: 1, 3: 2}) == {1: 4, 2: 3}


def test_of_equal_scores_the_smaller_label_wins():
    assert labels_of([tracklet(1, {9: 1.0, 2: 1.0})], {1: 1}) == {1: 2}


def test_nothing_has_no_label():
    assert labels_of([], {}) == {}
