"""Records behave as the dataclasses that their definitions read as."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from dataclasses import FrozenInstanceError, dataclass, field
from typing import Any

import pytest

from fastlstm.records import changed, record


@record(frozen=True)
class Point:
    """A record."""

    x: int
    y: int = 2
    seen: list[int] = field(default_factory=list, repr=False, compare=False)


@dataclass(frozen=True)
class Twin:
    """The dataclass of the same definition."""

    x: int
    y: int = 2
    seen: list[int] = field(default_factory=list, repr=False, compare=False)


@record()
class Loose:
    x: int

    def __post_init__(self) -> None:
        self.x += 1


def test_as_a_dataclass() -> None:
    one = Point(1)
    assert repr(one) == repr(Twin(1)).replace("Twin", "Point")
    assert one == Point(1, y=2, seen=[3])
    assert one != Point(1, 3)
    assert one != Twin(1)
    assert hash(one) == hash(Point(1, seen=[3])) == hash(Twin(1))
    assert Point(1).seen is not Point(1).seen
    assert dataclasses.replace(one, x=5) == changed(one, x=5) == Point(5)
    assert dataclasses.asdict(one) == dataclasses.asdict(Twin(1))
    assert [each.name for each in dataclasses.fields(Point)] == ["x", "y", "seen"]
    assert pickle.loads(pickle.dumps(one)) == copy.deepcopy(one) == one
    assert Loose(1).x == 2
    assert Loose(1) == Loose(1)


@pytest.mark.parametrize(("arguments", "named"), [((), {}), ((1, 2, [], 4), {}), ((1,), {"x": 2}), ((1,), {"z": 2})])
def test_arguments_that_a_dataclass_refuses(arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
    for kind in (Point, Twin):
        with pytest.raises(TypeError):
            kind(*arguments, **named)


def test_what_is_frozen_stays() -> None:
    with pytest.raises(FrozenInstanceError):
        Point(1).x = 2  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        del Point(1).x
    with pytest.raises(TypeError, match="unhashable"):
        hash(Loose(1))
