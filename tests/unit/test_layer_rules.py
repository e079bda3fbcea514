"""The rules that the files of layers keep, read off their code: no state by order, no circles, nobody reaches into another."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import fastlstm.layers

FOLDER = Path(fastlstm.layers.__file__).parent
FILES = sorted(FOLDER.glob("*.py"))
#: What is kept from call to call, by function: copies of weights in other dtypes, the shapes that a caller's function gave in trials
#: (later results are held to them), what a caller's function was seen to do, and the problems of a model. None changes a number.
CACHES = {
    "Layer.cast": {"_cast"}, "Made.account": {"numbers"},
    "Custom.shapes": {"_known"}, "Custom._computed_masks": {"_masked"}, "Supplied.check_rows": {"seen"},
    "Supplied.check_steps": {"steps_seen"}, "Supplied.activation": {"steps_seen"}, "Supplied.sizes": {"sizes_seen"},
    "Context.note": {"problems"}, "Context.lack": {"lacking"},
    # Of an object made for one walk through a network, what it finds on the way.
    "Survey.call": {"begins", "calls", "merging", "masked"}, "Survey._course": {"carrying", "carried", "remembering"},
    "Survey._refuse": {"problems"}, "Survey._hold": {"calls"}, "Survey.reading": {"read"}, "Survey.fixed": {"problems"},
    "Beginning._keep": {"made"},
    # The classes, as their modules are imported.
    "Registry.enter": {"_defined"},
    "Origins.call": {"beside"},
}  # fmt: skip
CHANGING = {"append", "extend", "insert", "add", "update", "setdefault", "pop", "popitem", "remove", "discard", "clear", "sort", "reverse"}


def functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
    """Every method and function, by its name with that of its class; one inside another belongs to that."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef):
            yield prefix + node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from functions(node, f"{node.name}.")


def attributes_in(target: ast.expr) -> Iterator[ast.Attribute]:
    """The attributes that an assignment to a target, or to an element of it, changes."""
    if isinstance(target, ast.Attribute):
        yield target
    elif isinstance(target, (ast.Subscript, ast.Starred)):
        yield from attributes_in(target.value)
    elif isinstance(target, (ast.Tuple, ast.List)):
        for inner in target.elts:
            yield from attributes_in(inner)


def changed(function: ast.FunctionDef) -> Iterator[ast.Attribute]:
    """The attributes that a function changes: by assignment, or by a method that changes a list, a dict or a set."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                yield from attributes_in(target)
        elif isinstance(node, (ast.AugAssign, ast.AnnAssign)):
            yield from attributes_in(node.target)
        elif isinstance(node, ast.Delete):
            for target in node.targets:
                yield from attributes_in(target)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGING:
            yield from attributes_in(node.func.value)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("setattr", "delattr"):
            yield ast.Attribute(node.args[0], "an attribute")


def state_by_order(path: Path) -> Iterator[str]:
    """The attributes that a file's functions change, outside of a constructor and the caches that are named."""
    for name, function in functions(ast.parse(path.read_text(encoding="utf-8"))):
        for attribute in changed(function):
            own = isinstance(attribute.value, ast.Name) and attribute.value.id == "self"
            allowed = own and (name.endswith(".__init__") or attribute.attr in CACHES.get(name, ()))
            if not allowed:
                yield f"{path.name}: {name} changes {ast.unparse(attribute)}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_layer_is_complete_once_it_is_made(path: Path) -> None:
    assert not list(state_by_order(path))


def test_state_by_order_is_seen(tmp_path: Path) -> None:
    """The rule itself: each of these lines is found."""
    lines = ("self.n = 1", "self.n += 1", "self.n, b = 1, 2", "self.n[0] = 1", "self.n.append(1)", "child.n = 1", "setattr(child, 'n', 1)")
    for line in lines:
        (tmp_path / "one.py").write_text(f"class A:\n    def shapes(self, child):\n        {line}\n")
        assert list(state_by_order(tmp_path / "one.py")), line


def test_named_caches_are_there() -> None:
    """The list of caches names nothing that is gone."""
    found = {
        (name, attribute.attr)
        for path in FILES
        for name, function in functions(ast.parse(path.read_text(encoding="utf-8")))
        for attribute in changed(function)
    }
    assert {(name, attribute) for name, attributes in CACHES.items() for attribute in attributes} <= found


def siblings(path: Path) -> set[str]:
    """The files of the folder that a file imports, wherever in it; for types alone does not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node not in for_types:
            found |= {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
    return found


def test_no_circles() -> None:
    graph = {path.stem: siblings(path) for path in FILES}
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError
    assert order.index("classes") < order.index("base") < order.index("core")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_imports_stand_at_the_top(path: Path) -> None:
    bodies = [function for _, function in functions(ast.parse(path.read_text(encoding="utf-8")))]
    inside = [node.lineno for body in bodies for node in ast.walk(body) if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert not inside


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nobody_reaches_into_another(path: Path) -> None:
    """An underscore belongs to the object itself; NamedTuple's ``_replace`` is public."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__") and node.attr != "_replace":
            own = ast.unparse(node.value) in ("self", "cls", "super()")
            if not own:
                found.append(f"line {node.lineno}: {ast.unparse(node)}")
    assert not found
