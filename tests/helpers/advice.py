"""Follows what refusals advise: the problems of a file, and the model with what they ask for."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

import fastlstm
from fastlstm.errors import Problem, UnsupportedError

Functions = dict[str, Callable[..., Any]]

Test = TypeVar("Test", bound=Callable[..., None])


def follows(advice: str) -> Callable[[Test], Test]:
    """Says that a test follows an advice; tests/unit/test_advice.py reads it in the tests' code."""
    return lambda test: test


def refused(path: Path, **options: Any) -> tuple[Problem, ...]:
    """The problems of a file: the same from load, describe and convert; the command line prints them."""
    with pytest.raises(UnsupportedError) as caught:
        fastlstm.load(path, **options)
    problems = caught.value.problems
    assert fastlstm.describe(path, **options).problems == problems
    with pytest.raises(UnsupportedError):
        fastlstm.convert(path, path.with_suffix(".fastlstm"), **options)
    for problem in problems:
        if "fastlstm.load" in problem.advice:  # what the command line has no option for
            assert "in Python: " in problem.advice
    return problems


def supplied(path: Path, functions: Functions, **options: Any) -> fastlstm.Model:
    """The model with functions supplied as its problems advise: what stands there as Python is taken as it is.

    ``functions``: for each name that an advice gives, what computes it.
    """
    given: dict[str, Functions] = {}
    for problem in refused(path, **options):
        found = re.search(r"fastlstm\.load\(\.\.\., (\w+)=(\{.*?): (?:function|lambda [\w, ]+: \.\.\.)\}\)", problem.advice)
        assert found is not None, problem
        (name,) = ast.literal_eval(found[2] + ": None}")
        given.setdefault(found[1], {})[name] = functions[name]
    return fastlstm.load(path, **options, **given)
