"""docs/reference.md has every public name, and the examples of the docstrings run."""

from __future__ import annotations

import doctest
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm
import fastlstm.batch
import fastlstm.demo

PAGE = (Path(__file__).parents[2] / "docs" / "reference.md").read_text(encoding="utf-8")
PUBLIC = [name for name in fastlstm.__all__ if not inspect.ismodule(getattr(fastlstm, name))]
FUNCTIONS = [name for name in PUBLIC if inspect.isfunction(getattr(fastlstm, name))]
#: What the page says is there for its examples.
GLOBALS = {"np": np, "fastlstm": fastlstm}


def listed() -> dict[str, str]:
    """Names below the directives of the page, and what each says."""
    return dict(re.findall(r"^\.\. (?:auto\w+|py:data):: fastlstm\.(\S+)\n((?:   .*\n)*)", PAGE, re.MULTILINE))


def methods(name: str) -> Iterator[tuple[str, Any]]:
    """The public methods of a class, inherited ones as well."""
    for method, member in inspect.getmembers(getattr(fastlstm, name)):
        if not method.startswith("_") and (inspect.isroutine(member)):
            yield method, member


def doctests(thing: Any) -> list[doctest.DocTest]:
    """The examples of a function, or of a class and what it defines."""
    return [test for test in doctest.DocTestFinder().find(thing, globs=dict(GLOBALS)) if test.examples]


@pytest.mark.parametrize("name", PUBLIC)
def test_the_page_has_every_public_name(name: str) -> None:
    assert name in listed()


def test_it_has_all_of_a_class() -> None:
    for name in ("Model", "Stream"):
        assert ":members:" in listed()[name]
    assert ":inherited-members:" in listed()["Stream"]  # step
    assert ":members:" in listed()["demo"]


def test_it_has_nothing_else() -> None:
    for path in listed():
        thing: Any = fastlstm
        for part in path.split("."):
            thing = getattr(thing, part)  # raises where a name has gone
        assert inspect.getdoc(thing)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_have_examples(name: str) -> None:
    assert doctests(getattr(fastlstm, name))


@pytest.mark.parametrize("name", ["Model", "Stream"])
def test_methods_are_shown(name: str) -> None:
    """Each public method is called in the docstring of its own or of its class."""
    thing = getattr(fastlstm, name)
    code = "".join(inspect.getdoc(one) or "" for one in (thing, *(member for _, member in methods(name))))
    missing = [method for method, _ in methods(name) if f".{method}(" not in code]
    assert not missing, f"no example calls {', '.join(missing)} of {name}"


@pytest.mark.parametrize("name", PUBLIC)
def test_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    told: list[str] = []
    for test in doctests(getattr(fastlstm, name)) if name != "__version__" else []:
        runner.run(test, out=told.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(told)
