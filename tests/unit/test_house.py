"""The structure of the code, read from the code: no circles, no private access between modules, no long functions without a reason."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from test_imports import FLOORS, cython_imports, put_off

import fastlstm
from fastlstm import executor
from fastlstm.program import layout

PACKAGE = Path(fastlstm.__file__).parent
REPOSITORY = PACKAGE.parent
MODULES = sorted(PACKAGE.rglob("*.py"))
CYTHON = sorted(path for suffix in ("*.pyx", "*.pxd") for path in PACKAGE.rglob(suffix))
MOST_LINES = 60
#: Functions over MOST_LINES, and why each is better whole.
LONG = {"fastlstm/kernels/sequence.py: driver": "three closures, which Numba compiles as one: each reads as a function of its own"}
#: Underscored names that are no module's secret: the methods of named tuples, and Python's own.
OPEN = {"_replace", "_asdict", "_fields", "_make", "_exit", "_getframe"}


def name_of(path: Path) -> str:
    """fastlstm/layers/core.py -> fastlstm.layers.core"""
    parts = ["fastlstm", *path.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name_of(path) for path in [*MODULES, *CYTHON]}


def only_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below one that run: not those that only a type checker reads."""
    for child in ast.iter_child_nodes(node):
        if not only_for_types(child):
            yield child
            yield from statements(child)


def written(path: Path) -> Iterator[tuple[str, list[str]]]:
    """The module (with the dots of a relative one; empty: none) and the names of every import that runs."""
    if path.suffix != ".py":
        yield from ((module, names) for _, module, names in cython_imports(path))
        return
    for node in statements(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield "", [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or ""), [alias.name for alias in node.names]
    for _, target in put_off(path):
        yield "", [target]


def imported(path: Path) -> Iterator[str]:
    """The modules of the package that a module imports, wherever in it."""
    module = name_of(path)
    package = module.split(".") if path.stem == "__init__" else module.split(".")[:-1]
    for target, names in written(path):
        level = len(target) - len(target.lstrip("."))
        stem = ".".join([*(package[: len(package) - level + 1] if level else []), *filter(None, [target[level:]])])
        for name in names:
            full = f"{stem}.{name}" if stem else name
            if full in NAMES or stem in NAMES:
                yield full if full in NAMES else stem


def test_no_import_circles() -> None:
    graph: dict[str, set[str]] = {}
    for path in [*MODULES, *CYTHON]:
        graph.setdefault(name_of(path), set()).update(set(imported(path)) - {name_of(path)})
    assert {"fastlstm.runtime.arenas", "fastlstm.runtime.levels"} <= graph["fastlstm.runtime.runner"]  # Cython's are seen too
    assert sum(map(len, graph.values())) > 200  # imports are seen at all
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name != "_" and name not in OPEN


def private_access(path: Path) -> Iterator[str]:
    """Where a module uses underscored names of others. ``self`` and ``cls`` may have them from a base class."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("fastlstm")):
            yield from (f"{path.name}:{node.lineno} imports {alias.name}" for alias in node.names if is_private(alias.name))
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            base, what = node.value, f"{path.name}: {ast.unparse(node)}"
            if not (isinstance(base, ast.Name) and base.id in ("self", "cls")) and not is_super(base):
                yield what


def calls_itself(outer: ast.FunctionDef) -> Iterator[str]:
    """The functions inside one that refer to themselves, perhaps by way of each other."""
    inside = {node.name: node for node in ast.walk(outer) if isinstance(node, ast.FunctionDef) and node is not outer}
    named = {
        name: {node.id for node in ast.walk(function) if isinstance(node, ast.Name) and node.id in inside}
        for name, function in inside.items()
    }
    for name in named:
        reached: set[str] = set()
        waiting = list(named[name])
        while waiting:
            other = waiting.pop()
            if other not in reached:
                reached.add(other)
                waiting += named[other]
        if name in reached:
            yield f"{outer.name}: {name}"


@pytest.mark.parametrize("path", [path for path in MODULES if path.parent.name != "kernels"], ids=name_of)
def test_no_closure_holds_itself(path: Path) -> None:
    """It would hold all that it refers to, arrays of a model among it, until Python's search for circles: a method does not."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not [found for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) for found in calls_itself(node)]


def test_closures_that_hold_themselves_are_seen() -> None:
    text = (
        "def outer():\n    def one():\n        return two()\n    def two():\n        return one()\n    def three():\n        return two()"
    )
    (outer,) = ast.parse(text).body
    assert isinstance(outer, ast.FunctionDef)
    assert list(calls_itself(outer)) == ["outer: one", "outer: two"]


def is_super(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_private_access(path: Path) -> None:
    assert not list(private_access(path))


@pytest.mark.parametrize("path", CYTHON, ids=lambda path: path.name)
def test_no_private_access_in_cython(path: Path) -> None:
    """By text, as ``ast`` does not read Cython: an underscored attribute is one that the module or its declarations define."""
    text = "".join(other.read_text(encoding="utf-8") for other in CYTHON if other.stem == path.stem)
    defined = set(re.findall(r"(?:def|cdef|cpdef)[^(=\n]*?\b(_\w+)\(|self\.(_\w+)\s*=|cdef [^(\n]*?\b(_\w+)\b", text))
    own = {name for names in defined for name in names}
    code = re.sub(r'"""[\s\S]*?"""|#[^\n]*|"[^"\n]*"', "", path.read_text(encoding="utf-8"))
    found = [match[0] for match in re.finditer(r"\b(?!self\b)(\w+)\.(_[a-z]\w*)", code) if match[2] not in own | OPEN]
    assert not found


def functions(tree: ast.AST, inside: str = "") -> Iterator[tuple[str, int]]:
    """Names and lengths in lines, docstrings aside, of all functions; those inside others count in them too."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            name = f"{inside}{node.name}"
            if not isinstance(node, ast.ClassDef) and node.end_lineno is not None:
                yield name, node.end_lineno - node.lineno + 1 - documented(node)
            yield from functions(node, f"{name}.")
        else:
            yield from functions(node, inside)


def documented(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function's docstring."""
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return (first.end_lineno or first.lineno) - first.lineno + 1
    return 0


def test_long_functions_have_a_reason() -> None:
    paths = [
        *MODULES,
        REPOSITORY / "setup.py",
        *(path for room in ("tests", "tools", "benchmarks") for path in (REPOSITORY / room).rglob("*.py")),
    ]
    long = {
        f"{path.relative_to(REPOSITORY).as_posix()}: {name}"
        for path in paths
        for name, lines in functions(ast.parse(path.read_text(encoding="utf-8")))
        if lines > MOST_LINES
    }
    assert long == set(LONG)


# -- docs/architecture.md -------------------------------------------------------------------------------------------------

PAGE = REPOSITORY / "docs" / "architecture.md"


def block(name: str) -> list[str]:
    """The lines between two marks of the page, without fences."""
    text = PAGE.read_text(encoding="utf-8")
    found = text.split(f"<!-- {name} -->\n")[1].split(f"<!-- /{name} -->")[0]
    return [line for line in found.splitlines() if line.strip() and not line.startswith("```")]


def test_no_two_files_of_tests_have_one_name() -> None:
    """pytest imports them by their names alone, and stops where it meets one twice: which it does once all extras are installed."""
    names = [path.name for path in (REPOSITORY / "tests").rglob("*.py") if path.name not in ("conftest.py", "__init__.py")]
    assert len(names) > 200
    assert sorted(names) == sorted(set(names))


def test_page_shows_every_file() -> None:
    """The tree: a line for each file, with what it is for; declarations (.pxd, .pyi, .h) stand with their modules."""
    shown, folders = set(), [""]
    for line in block("tree")[1:]:
        depth = (len(line) - len(line.lstrip())) // 2
        entry, _, purpose = line.strip().partition(" ")
        folders[depth:] = [folders[depth - 1] + entry if entry.endswith("/") else ""]
        assert purpose.strip(), line
        if not entry.endswith("/"):
            shown.add(folders[depth - 1] + entry)
    there = {path.relative_to(PACKAGE).as_posix() for path in MODULES if path.name != "__init__.py"}
    there |= {path.relative_to(PACKAGE).as_posix() for path in CYTHON if path.suffix == ".pyx"}
    assert shown == there


def test_page_shows_the_floors() -> None:
    shown = [tuple(re.findall(r"[\w.]+", line)) for line in block("floors")]
    assert shown == list(reversed(FLOORS))


def body(path: Path, name: str) -> str:
    """The text of a function or method, from its first line to the next of its depth; not that of an overload."""
    lines = path.read_text(encoding="utf-8").splitlines()
    for start in (n for n, line in enumerate(lines) if re.match(rf"\s*(?:async )?(?:c?p?def|cdef)\b[^#]*\b{name}\(", line)):
        depth = len(lines[start]) - len(lines[start].lstrip())
        end = next((n for n in range(start + 1, len(lines)) if re.match(rf" {{0,{depth}}}[^\s)\]]", lines[n])), len(lines))
        text = "\n".join(lines[start:end]).rstrip()
        if not text.endswith("..."):
            return text
    raise AssertionError(f"{path} has no function {name}")


def test_page_shows_the_hops() -> None:
    """Each hop is a function of its file, and its text names the next one as the page says."""
    hops = [re.search(r"`([\w/]+\.\w+)`: `([\w.]+)`(?: calls `([\w.]+)`)?", line) for line in block("hops") if line.lstrip()[:1].isdigit()]
    assert len(hops) > 5
    for hop in hops:
        assert hop is not None
        text = body(PACKAGE / hop[1], hop[2].split(".")[-1])
        assert hop[3] is None or re.search(rf"\b{re.escape(hop[3])}\(", text), f"{hop[2]} does not call {hop[3]}"


def test_numbers_that_c_has_to_know_are_those_of_python() -> None:
    """Cython's constants, which the compiler divides by and compares with, stand there once more."""

    def constant(module: str, name: str) -> int:
        found = re.search(rf"^ +{name} = (\w+)", (PACKAGE / "runtime" / module).read_text(encoding="utf-8"), re.MULTILINE)
        assert found is not None
        return int(found[1], 0)

    assert constant("runner.pyx", "TILE_ROWS") == layout.MOST_TILE_ROWS
    assert constant("fast_path.pyx", "MOST_VOCABULARY") == executor.MOST_IDS
    assert constant("fast_path.pyx", "FLOAT_BYTES") == layout.FLOAT
