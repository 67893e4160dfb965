"""Objects are known again in other videos, and how often strangers are taken for them is right."""

import tracemalloc

import numpy as np
import pytest

from masa_cli.tracking.appearance import normalised
from masa_cli.tracking.calibration import Calibration, compared, impostors_between
from masa_cli.tracking.identities import Clusters, Question, decide
from masa_cli.tracking.recognition import (
    MAX_VIEWS,
    Company,
    RecognitionSettings,
    Rows,
    Template,
    Whitening,
    merged_spans,
    overlap,
    typical_views,
)
from masa_cli.tracking.search import KnownIdentities

DIM = 32
SETTINGS = RecognitionSettings()


def spans(*pairs):
    return np.array(pairs, np.float64).reshape(-1, 2)


class World:
    """Objects that look different, cameras that add what they have in common, and noise."""

    def __init__(self, seed, noise=0.25):
        self.rng = np.random.default_rng(seed)
        self.noise = noise
        self.objects = self.rng.normal(size=(400, DIM))

    def templates(self, numbers, *, together=True):
        camera = self.rng.normal(size=DIM)
        rows = self.objects[numbers] + 0.5 * camera
        noisy = rows + self.noise * self.rng.normal(size=rows.shape)
        return [
            Template(
                "person",
                normalised(noisy[[row]].astype(np.float32)),
                spans((0, 9)) if together else spans((10 * row, 10 * row + 9)),
                20,
            )
            for row in range(len(numbers))
        ]


def decided(probes, known, **more):
    company = [(Company(known, are_distinct=True), list(range(len(known))))] if known else []
    question = Question([Company(probes)], company, **more)
    return decide([question], np.eye(DIM, dtype=np.float32), SETTINGS)[0]


def test_objects_are_known_again_under_another_camera():
    world = World(1)
    numbers = np.arange(12)
    decisions = decided(world.templates(numbers), world.templates(numbers))
    assert [each.members for each in decisions] == [(number,) for number in range(12)]
    right = sum(each.verdict == "known" and each.known == each.members[0] for each in decisions)
    assert right >= 10
    assert not any(each.verdict == "known" and each.known != each.members[0] for each in decisions)


@pytest.mark.parametrize("count", [2, 8])
@pytest.mark.parametrize("alike", [0.2, 4.0])
def test_a_video_that_is_tracked_twice_has_the_same_identities(count, alike):
    """However few they are, and however much they have in common: cosines of 0.04 or 0.94."""
    world = World(7)
    world.objects += alike * world.rng.normal(size=DIM)
    templates = world.templates(np.arange(count))
    decisions = decided(templates, templates)
    assert [(each.verdict, each.known) for each in decisions] == [
        ("known", number) for number in range(count)
    ]


def test_strangers_are_taken_for_known_ones_no_more_often_than_stated():
    taken = total = 0
    for seed in range(60):
        world = World(seed)
        strangers = world.templates(np.arange(10, 20))
        decisions = decided(strangers, world.templates(np.arange(10)))
        taken += sum(each.verdict == "known" for each in decisions)
        total += len(strangers)
    assert taken / total <= 2 * SETTINGS.max_false_matches  # 600 trials: 12 expected, 24 is +3.5 sd


def test_two_that_were_seen_together_are_never_one():
    world = World(2)
    twin = world.templates([0])[0]
    others = world.templates(np.arange(1, 12))
    decisions = decided([twin, twin, *others], [twin, *world.templates(np.arange(20, 30))])
    assert all(len(each.members) == 1 for each in decisions)
    assert sum(each.known == 0 and each.verdict == "known" for each in decisions) <= 1


def test_two_tracks_of_one_object_are_one_if_one_follows_the_other():
    world = World(3)
    first = world.templates(np.arange(10))
    later = [Template("person", each.views, spans((20, 29)), 20) for each in first[:3]]
    decisions = decided([*first, *later], [])
    groups = {each.members for each in decisions}
    assert {(0, 10), (1, 11), (2, 12)} <= groups
    assert len(groups) == 10


def test_who_is_elsewhere_at_the_same_time_is_somebody_else():
    world = World(4)
    numbers = np.arange(12)
    known, probes = world.templates(numbers), world.templates(numbers)
    away = {number: [(0, spans((0, 5)))] for number in range(12)}
    assert not any(each.verdict == "known" for each in decided(probes, known, occupied=away))
    later = {number: [(0, spans((9.5, 12)))] for number in range(12)}
    assert any(each.verdict == "known" for each in decided(probes, known, occupied=later))


def test_between_known_and_new_there_is_unsure():
    verdicts = {}
    for noise in (0.25, 0.6, 0.8, 1.0, 3.0):
        world = World(5, noise)
        numbers = np.arange(12)
        for each in decided(world.templates(numbers), world.templates(numbers)):
            verdicts.setdefault(each.verdict, []).append(each.false_matches)
    assert set(verdicts) == {"known", "unsure", "new"}
    assert max(verdicts["known"]) <= SETTINGS.max_false_matches
    assert min(verdicts["new"]) > SETTINGS.max_unsure


def test_an_object_like_two_known_ones_is_unsure_and_both_are_named():
    world = World(6)
    known = world.templates(np.arange(10))
    twin = Template("person", known[0].views, spans((0, 9)), 20)
    decision = decided([*world.templates(np.arange(1, 10)), twin], [*known, twin])[-1]
    assert decision.verdict == "unsure"
    assert {decision.known, decision.rival} == {0, 10}


def test_a_rate_and_its_score_belong_together():
    calibration = Calibration(0.1, 0.9, 40)
    for rate in (0.01, 0.05, 0.5):
        score = calibration.threshold(rate, 30)
        assert calibration.false_matches(score, 30) == pytest.approx(rate)
    assert calibration.threshold(0.01, 30) > calibration.threshold(0.01, 3)
    assert Calibration(0.1, 0.9, 2).threshold(0.01, 30) > calibration.threshold(0.01, 30)


def test_one_object_in_an_empty_gallery_is_new():
    world = World(7)
    (decision,) = decided(world.templates([0]), [])
    assert (decision.verdict, decision.members) == ("new", (0,))


def test_known_identities_are_never_joined():
    clusters = Clusters([(0, spans((0, 1)))], num_known=2)
    clusters.add_known(0, 0, 9.0)
    clusters.add_known(0, 1, 8.0)
    clusters.join(3.0)
    assert clusters.groups() == [([0], 0, [(9.0, 0), (8.0, 1)])]


def test_the_mean_of_all_pairs_decides_not_the_best():
    clusters = Clusters([(number, spans((0, 1))) for number in range(3)])
    clusters.add(0, 1, 9.0)
    clusters.add(1, 2, 5.0)  # and none of 0 and 2: (5 + 0) / 2 is below 3
    clusters.join(3.0)
    assert [members for members, _, _ in clusters.groups()] == [[0, 1], [2]]


def test_spans_that_touch_are_one_and_overlap():
    assert merged_spans(spans((5, 6), (0, 1), (1.5, 2)), 0.5).tolist() == [[0, 2], [5, 6]]
    assert merged_spans(spans((0, 9), (1, 2)), 0.0).tolist() == [[0, 9]]
    assert overlap(spans((0, 1), (4, 5)), spans((2, 3), (5, 6)))
    assert not overlap(spans((0, 1), (4, 5)), spans((2, 3), (5.1, 6)))
    assert not overlap(spans(), spans((0, 1)))


def test_views_are_the_most_different_and_few():
    rng = np.random.default_rng(0)
    sides = np.eye(3, DIM)
    rows = np.repeat(sides, 10, axis=0) + 0.05 * rng.normal(size=(30, DIM))
    views = typical_views(normalised(rows.astype(np.float32)), np.ones(30, np.float32))
    assert views.shape == (MAX_VIEWS - 1, DIM)
    assert np.sort((views @ sides.T).argmax(axis=1)).tolist() == [0, 1, 2]
    assert len(typical_views(normalised(rows[:2].astype(np.float32)), np.ones(2, np.float32))) == 2


def test_joined_templates_weigh_by_their_boxes():
    first = Template("person", np.eye(2, DIM, dtype=np.float32), spans((0, 1)), 30)
    second = Template("car", np.eye(DIM, dtype=np.float32)[[5]], spans((1, 2)), 10)
    both = Template.joined([first, second])
    assert (both.label, both.num_boxes, both.spans.tolist()) == ("person", 40, [[0, 2]])
    assert both.views[0, 0] / both.views[0, 5] == pytest.approx(3)
    assert len(both.views) <= MAX_VIEWS


def test_whitening_weighs_down_what_changes_while_an_object_stays_the_same():
    whitening = Whitening()
    whitening.learn(np.zeros((3, 4), np.float32))
    assert np.array_equal(whitening.projection(), np.eye(4, dtype=np.float32))
    rng = np.random.default_rng(0)
    whitening.learn((rng.normal(size=(5000, 4)) * (10, 1, 1, 1)).astype(np.float32))
    projection = whitening.projection()
    assert projection[0, 0] < projection[1, 1] / 4
    assert (projection**2).sum() == pytest.approx(4, rel=1e-4)


def test_of_many_identities_the_best_are_found_as_of_few(monkeypatch):
    rng = np.random.default_rng(0)
    count = 3000
    means = normalised(rng.normal(size=(count, DIM)).astype(np.float32) * np.linspace(2, 0.2, DIM))
    views = np.repeat(means, 2, axis=0)
    centres = rng.uniform(0.1, 0.2, count).astype(np.float32)
    rows = Rows(means, views, 2 * np.arange(count), centres, centres + np.float32(0.1))
    owners = np.arange(count) // 2  # two templates each
    probes = rows.chosen(np.arange(0, 50, 2))
    exact = KnownIdentities(rows, owners).best(probes)
    monkeypatch.setattr("masa_cli.tracking.search._MANY", 10)
    monkeypatch.setattr("masa_cli.tracking.search._DIRECTIONS", 16)
    monkeypatch.setattr("masa_cli.tracking.search._NUM_ROUGH", 60)
    monkeypatch.setattr("masa_cli.tracking.search._SAMPLE", 4)
    quick = KnownIdentities(rows, owners).best(probes)
    assert [best[0] for best in quick] == [best[0] for best in exact]
    assert [best[0][0] for best in exact] == list(range(25))
    # A sample of the very best would let few through: as many are looked at nevertheless.
    few = KnownIdentities(rows, owners)
    few._sample = few._rough[:50:2]
    monkeypatch.setattr("masa_cli.tracking.search._NUM_ROUGH", 400)
    monkeypatch.setattr("masa_cli.tracking.search._SAMPLE", 400)
    assert all(len(best) == len(exact[0]) for best in few.best(probes))


def test_impostors_of_two_videos_raise_what_is_asked_but_who_may_be_one_does_not_count():
    rng = np.random.default_rng(0)
    count = 12

    def company(place):
        means = normalised((place + rng.normal(size=(count, DIM))).astype(np.float32))
        nothing = np.zeros(count, np.float32)
        return Rows(means, means, np.arange(count), nothing, nothing + np.float32(0.1))

    apart = [company(np.zeros(DIM)), company(np.zeros(DIM))]
    place = 2 * rng.normal(size=DIM) / np.sqrt(DIM) * 3
    at_one_place = [company(place), company(place)]
    usual = Calibration(0.0, 2.0, 30)
    threshold = usual.threshold(0.02, count)
    assert usual.raised(impostors_between(at_one_place)).threshold(0.02, count) > threshold + 1
    assert usual.raised(impostors_between(apart)).threshold(0.02, count) < threshold + 1
    assert usual.raised(impostors_between(apart[:1])) == usual  # one video tells nothing of others
    same = impostors_between([apart[0], apart[0]])  # each is its own best
    assert same.count == count * (count - 1)
    assert same.total / same.count < 1
    low = Calibration(5.0, 20.0, 30)
    assert low.raised(impostors_between(apart)) == low


def crowd(count, seed=0):
    """Templates of one video, a hundred of which are there at a time; some come back later."""
    rng = np.random.default_rng(seed)
    begins = np.sort(rng.uniform(0, count / 10, count))
    return Company(
        [
            Template(
                "person",
                normalised(rng.normal(size=(2, DIM)).astype(np.float32)),
                spans((begin, begin + 8), (begin + 20, begin + 22))[: 1 + row % 2],
            )
            for row, begin in enumerate(begins.tolist())
        ]
    )


def test_block_by_block_impostors_are_those_of_all_at_once(monkeypatch):
    eye, companies = np.eye(DIM, dtype=np.float32), [crowd(300), crowd(40, 1)]
    whole, impostors = compared([companies], eye)
    mask = companies[0].impostors(0, 300, np.arange(300))
    each = [
        [one is not other and overlap(one.spans, other.spans) for other in companies[0].templates]
        for one in companies[0].templates
    ]
    assert np.array_equal(mask, each)
    monkeypatch.setattr("masa_cli.tracking.calibration.BLOCK", 32)
    monkeypatch.setattr("masa_cli.tracking.calibration._MAX_BLOCKS", 100)
    for kept in (2**24, 0):
        monkeypatch.setattr("masa_cli.tracking.calibration._MAX_KEPT", kept)
        parts, again = compared([companies], eye)
        for rows, expected in zip(parts[0], whole[0], strict=True):
            np.testing.assert_allclose(rows.centres, expected.centres, atol=1e-5)
            np.testing.assert_allclose(rows.spreads, expected.spreads, atol=1e-5)
        assert again.num_templates == impostors.num_templates
        assert again.reached.count == impostors.reached.count
        assert again.reached.squares == pytest.approx(impostors.reached.squares, rel=1e-3)


def test_memory_does_not_grow_with_the_square_of_the_tracks_of_a_video(monkeypatch):
    count, eye = 4000, np.eye(DIM, dtype=np.float32)
    company = Company(crowd(count).templates, are_distinct=True)
    whole, _ = compared([[Company(company.templates[:1000], are_distinct=True)]], eye)
    monkeypatch.setattr("masa_cli.tracking.calibration.BLOCK", 128)
    monkeypatch.setattr("masa_cli.tracking.calibration._MAX_COHORT", 256)
    tracemalloc.start()
    parts, impostors = compared([[company]], eye)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < count**2  # bytes
    assert impostors.num_templates == count
    # A sample tells nearly the same.
    assert np.median(parts[0][0].centres) == pytest.approx(np.median(whole[0][0].centres), abs=0.01)
    assert np.median(parts[0][0].spreads) == pytest.approx(np.median(whole[0][0].spreads), rel=0.05)
    calibration = impostors.calibration()
    assert abs(calibration.mean) < 0.05
    assert calibration.spread == pytest.approx(1, rel=0.1)
