"""How the kernels' sources stand: one home for the compiler's flags, contracts in their order, and a hash that sees every file."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba", reason="imports kernels")
from fastlstm.kernels import compile as compiler
from fastlstm.program.contracts import CONTRACTS

KERNELS = Path(compiler.__file__).parent
#: What decides how Numba compiles a function, and may stand in flags.py alone.
DECORATORS = {"cfunc", "generated_jit", "guvectorize", "jit", "njit", "overload", "stencil", "vectorize"}
FLAGS = {"boundscheck", "cache", "error_model", "fastmath", "forceinline", "inline", "nogil", "nopython", "parallel"}
FLAGS |= {"no_cfunc_wrapper", "no_cpython_wrapper", "pipeline_class"}

#: Prints the files of all modules of the package that a compilation loads, and the kernels' names.
LOADED = """
import importlib, sys, types
sys.path.insert(0, sys.argv[1])
import compile as compiler
sys.path.pop(0)
package = types.ModuleType("fastlstm")
package.__path__ = [str(compiler.HERE.parent)]
sys.modules["fastlstm"] = package
for name in compiler.MODULES:
    importlib.import_module(f"fastlstm.kernels.{name}")
importlib.import_module("fastlstm.kernels.jit")
print(*(module.__file__ for name, module in sys.modules.items() if name.startswith("fastlstm.")), sep="\\n")
print(*importlib.import_module("fastlstm.kernels.registry").KERNELS)
"""

#: Gathers two functions that share a third; prints how often each is defined, and how much machine code Numba has made.
GATHERED = """
from numba import types
from numba.core import codegen
made = []
finalize = codegen.JITCodeLibrary.finalize
codegen.JITCodeLibrary.finalize = lambda library: (made.append(library.name), finalize(library))[1]
from fastlstm.kernels import flags, gathering

@flags.compiled
def shared(x):
    return 3 * x

def twice(x):
    return shared(x) + shared(x)

def less(x):
    return shared(x) - 1

texts, names = gathering.code({f.__name__: flags.exported(types.int64)(f) for f in (twice, less)})
lines = "\\n".join(texts).splitlines()
defined = [line for line in lines if line.startswith("define ")]
print(*(sum(f"{len(name)}{name}" in line and "cfunc" not in line for line in defined) for name in ("shared", "twice", "less")))
print(*(sum(names[name] in line for line in defined) for name in ("twice", "less")))
print(*(name for name in made if name in ("shared", "twice", "less")))
"""


def stray_flags(source: str) -> list[str]:
    """Decorators and flags of Numba in a module's text, with their lines."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("numba"):
            found += [f"{node.lineno}: {alias.name}" for alias in node.names if alias.name in DECORATORS]
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "numba" and node.attr in DECORATORS:
            found.append(f"{node.lineno}: numba.{node.attr}")
        if isinstance(node, ast.keyword) and node.arg in FLAGS:
            found.append(f"{node.value.lineno}: {node.arg}")
    return found


@pytest.mark.parametrize("path", sorted(KERNELS.glob("*.py")), ids=lambda path: path.name)
def test_flags_stand_in_one_place(path: Path) -> None:
    found = stray_flags(path.read_text(encoding="utf-8"))
    if path.name == "flags.py":
        assert len(found) >= 2  # or this test sees nothing anywhere
    else:
        assert not found, "flags.py has the decorators"


def test_stray_flags_are_seen() -> None:
    assert stray_flags("from numba import njit, types\nimport numba\n@numba.jit\n@njit(fastmath=True)\ndef f(): ...") == [
        "1: njit",
        "3: numba.jit",
        "4: fastmath",
    ]


@pytest.fixture(scope="module")
def loaded() -> list[str]:
    done = subprocess.run([sys.executable, "-c", LOADED, str(KERNELS)], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_the_hash_sees_every_file(loaded: list[str]) -> None:
    """A kernel that was compiled before its source changed is never taken for the new one."""
    files = {Path(line) for line in loaded[:-1]}
    assert len(files) > 20
    assert files <= set(compiler.sources())


def test_a_changed_file_changes_the_hash(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = compiler.source_hash()
    files = compiler.sources()
    assert compiler.source_hash() == before
    for number, path in enumerate(files):
        changed = tmp_path / path.name
        changed.write_bytes(path.read_bytes() + b"\n")
        monkeypatch.setattr(compiler, "sources", lambda n=number, new=changed: [*files[:n], new, *files[n + 1 :]])
        assert compiler.source_hash() != before, path


def test_kernels_and_contracts_are_in_one_order(loaded: list[str]) -> None:
    assert loaded[-1].split() == list(CONTRACTS)


def test_every_function_is_gathered_once_and_none_compiled() -> None:
    done = subprocess.run([sys.executable, "-c", GATHERED], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == ["1 1 1", "1 1", "", ""]
