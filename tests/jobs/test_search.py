"""Where settings are looked for, and that the search finds what there is."""

import math
from dataclasses import dataclass, field
from typing import ClassVar

import pytest

from masa_cli.errors import SettingsError
from masa_cli.jobs.search import Dimension, Search, chosen, dimensions_of
from masa_cli.settings import values_of
from masa_cli.tracking import TRACKERS


@dataclass(frozen=True)
class Inner:
    birth_score: float = 0.1


@dataclass(frozen=True)
class Toy:
    match_iou: float = 0.8
    seconds: float = 6.0
    hits: int = 3
    angle: float = -1.0
    off: float = 0.0
    unlimited: float = math.inf
    flag: bool = True
    shut: float = 2.0
    inner: Inner = field(default_factory=Inner)
    search_ranges: ClassVar = {"shut": None, "angle": (-2, 2)}


def test_ranges_follow_from_names_and_defaults():
    assert dimensions_of(Toy()) == [
        Dimension("match_iou", 0.8, 0.5, 1.0),
        Dimension("seconds", 6.0, 2.0, 18.0, is_logarithmic=True),
        Dimension("hits", 3, 1.0, 9.0, is_logarithmic=True),
        Dimension("angle", -1.0, -2.0, 2.0),
        Dimension("inner.birth_score", 0.1, 0.0, 0.4),
    ]


@pytest.mark.parametrize("name", TRACKERS)
def test_each_tracker_has_something_to_search(name):
    """Around its defaults, and within what can be written; ends of ranges are values."""
    settings = TRACKERS[name].settings()
    dimensions = dimensions_of(settings)
    assert dimensions
    values = values_of(settings)
    for each in dimensions:
        assert type(values[each.name]) is type(each.default)
        assert each.low < each.high
        for position in (0.0, 0.3, 1.0):
            value = each.at(position)
            assert type(value) is type(each.default)
            assert each.low <= value <= each.high
        assert 0 <= each.start <= 1
        if each.low <= each.default <= each.high:
            assert each.at(each.start) == pytest.approx(each.default, rel=0.01, abs=1e-3)
    declared = getattr(settings, "search_ranges", {})
    assert declared.keys() <= {name.partition(".")[0] for name in values}


def test_only_what_is_asked_for_is_searched():
    known = dimensions_of(Toy())
    assert chosen(known, [], fixed=["seconds", "hits"]) == [known[0], *known[3:]]
    assert chosen(known, ["hits", "seconds=1:4"]) == [
        known[2],
        Dimension("seconds", 6.0, 1.0, 4.0, is_logarithmic=True),
    ]
    assert not chosen(known, ["seconds=-1:4"])[0].is_logarithmic


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flag", 'no setting "flag" to search'),
        ("hits=3", "gives no range"),
        ("hits=5:2", "gives no range"),
        ("hits=1:inf", "gives no range"),
        ("hits=a:b", "gives no range"),
    ],
)
def test_what_cannot_be_searched_says_why(text, message):
    with pytest.raises(SettingsError) as caught:
        chosen(dimensions_of(Toy()), [text])
    assert message in caught.value.problem


def searched(dimensions, score, trials=150, seed=0):
    search = Search(dimensions, seed)
    asked = []
    for _ in range(trials):
        asked.append(search.ask())
        search.tell(asked[-1], score(asked[-1]))
    return search, asked


def test_the_defaults_come_first_and_stay_if_nothing_is_better():
    search, asked = searched(dimensions_of(Toy()), lambda found: 0.5, trials=30)
    assert asked[0] == {}
    assert (search.best, search.best_score, search.default_score) == ({}, 0.5, 0.5)


def test_the_best_settings_are_found():
    def score(found):
        seconds, iou = found.get("seconds", 6.0), found.get("match_iou", 0.8)
        return 1 - abs(math.log(seconds / 3)) - abs(iou - 0.6)

    search, _ = searched(dimensions_of(Toy())[:2], score)
    assert search.best["seconds"] == pytest.approx(3, rel=0.1)
    assert search.best["match_iou"] == pytest.approx(0.6, abs=0.03)
    assert search.best_score > 0.9 > search.default_score


def test_one_setting_alone_can_be_searched():
    search, _ = searched(
        dimensions_of(Toy())[2:3], lambda found: -abs(found.get("hits", 3) - 7), trials=60
    )
    assert search.best == {"hits": 7}


def test_the_same_seed_asks_for_the_same():
    def score(found):
        return sum(found.values())

    first, again, other = (searched(dimensions_of(Toy()), score, 40, seed)[1] for seed in (1, 1, 2))
    assert first == again != other
