"""The compiled modules and the .pyi beside them say the same names."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import pytest

import fastlstm.runtime

RUNTIME = Path(fastlstm.runtime.__file__).parent
STUBS = sorted(RUNTIME.glob("*.pyi"))
#: Classes with nothing that Python calls: what modules of the runtime pass to each other.
INNER = {"Arena", "Frame"}


def declared(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    """The declarations of a stub, or of a class in it, by name."""
    found: dict[str, ast.stmt] = {}
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found[node.name] = node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = node
    return found


def parameters(function: ast.FunctionDef) -> list[str]:
    given = function.args
    return [argument.arg for argument in (*given.posonlyargs, *given.args, given.vararg, *given.kwonlyargs) if argument is not None]


def test_every_compiled_module_has_one() -> None:
    assert [path.stem for path in STUBS] == sorted(path.stem for path in RUNTIME.glob("*.pyx"))


@pytest.mark.parametrize("path", STUBS, ids=lambda path: path.stem)
def test_names_are_the_modules(path: Path) -> None:
    module = importlib.import_module(f"fastlstm.runtime.{path.stem}")
    said = declared(ast.parse(path.read_text(encoding="utf-8")).body)
    assert not [name for name in said if not hasattr(module, name)]
    own = {name for name, thing in vars(module).items() if getattr(thing, "__module__", "") == module.__name__ and not name.startswith("_")}
    assert own - INNER <= set(said)
    for name, node in said.items():
        if isinstance(node, ast.FunctionDef):
            assert parameters(node) == list(inspect.signature(getattr(module, name)).parameters), name
        if isinstance(node, ast.ClassDef):
            kind = getattr(module, name)
            methods = declared(node.body)
            assert not [method for method in methods if not hasattr(kind, method)], name
            public = {member for member in vars(kind) if not member.startswith("_")}
            assert public <= set(methods), name
            assert not [
                method for method in public
                if isinstance(methods[method], ast.FunctionDef)
                and callable(getattr(kind, method))
                and parameters(methods[method]) != list(inspect.signature(getattr(kind, method)).parameters)
            ], name  # fmt: skip
