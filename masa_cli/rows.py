"""Parallel arrays with one row per track: what every memory of the tracks is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from masa_cli.structures import BoolArray, IntArray, State

R = TypeVar("R", bound="Rows")


class Rows:
    """A dataclass of arrays that have equally many rows; fields may be changed in place."""

    __slots__ = ()

    def __len__(self) -> int:
        return len(next(iter(self.state().values())))

    def __getitem__(self: R, rows: IntArray | BoolArray) -> R:
        return type(self)(*(column[rows] for column in self.state().values()))

    def __add__(self: R, other: R) -> R:
        pairs = zip(self.state().values(), other.state().values(), strict=True)
        return type(self)(*(np.concatenate(pair) for pair in pairs))

    def state(self) -> State:
        """The arrays by the names of their fields."""
        columns: dict[str, NDArray[Any]] = {
            field.name: getattr(self, field.name)
            for field in fields(self)  # type: ignore[arg-type]
        }
        return columns

    @classmethod
    def from_state(cls: type[R], state: Mapping[str, NDArray[Any]]) -> R:
        """What had that `state()`."""
        return cls(*(state[field.name] for field in fields(cls)))  # type: ignore[arg-type]


def of_owner(state: State, owner: str) -> State:
    """The part of a state whose names begin with the owner's and a dot, without these."""
    own = f"{owner}."
    return {name.removeprefix(own): state[name] for name in state if name.startswith(own)}
