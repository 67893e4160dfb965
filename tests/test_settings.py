"""Settings by their names, those of today and former ones."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import pytest

from masa_cli.errors import SettingsError
from masa_cli.settings import current_names, with_changes


@dataclass(frozen=True)
class Inner:
    former_names: ClassVar[Mapping[str, str]] = {"nats": "llr"}
    llr: float = 1.0


@dataclass(frozen=True)
class Outer:
    former_names: ClassVar[Mapping[str, str]] = {"relink": "linking", "most": "max_age"}
    linking: Inner = field(default_factory=Inner)
    max_age: int = 3


@pytest.mark.parametrize(
    ("change", "name", "expected"),
    [
        ("most=5", "max_age", Outer(max_age=5)),
        ("relink.nats=2", "linking.llr", Outer(Inner(2.0))),
        ("linking.nats=2", "linking.llr", Outer(Inner(2.0))),
        ("relink.llr=2", "linking.llr", Outer(Inner(2.0))),
    ],
)
def test_a_former_name_changes_the_setting_and_warns(caplog, change, name, expected):
    assert with_changes(Outer(), [change]) == expected
    former = change.partition("=")[0]
    assert caplog.messages == [f"{former} is now {name}; the old name goes in 0.3"]


def test_names_of_today_are_taken_without_a_warning(caplog):
    assert with_changes(Outer(), ["max_age=5", "linking.llr=2"]) == Outer(Inner(2.0), 5)
    assert not caplog.messages


def test_what_a_file_remembers_is_translated_in_silence(caplog):
    changes = current_names(Outer(), ["most=5", "relink.nats=2", "max_age=4", "unknown=1"])
    assert changes == ("max_age=5", "linking.llr=2", "max_age=4", "unknown=1")
    assert not caplog.messages


@pytest.mark.parametrize("change", ["unknown=1", "relink=1", "relink.unknown=1", "most", "nats=1"])
def test_an_unknown_name_lists_those_of_today(change):
    with pytest.raises(SettingsError, match="no setting to change") as caught:
        with_changes(Outer(), [change])
    assert caught.value.fix == "use one of: linking.llr=1.0, max_age=3"
