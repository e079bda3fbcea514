"""The floors of the house, and what an import must not drag in."""

from __future__ import annotations

import ast
import copy
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fastlstm
from fastlstm import lazy
from fastlstm.demo import MODEL

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "fastlstm"
SOURCES = sorted(path for path in PACKAGE.rglob("*") if path.suffix in (".py", ".pyx", ".pxd", ".pyi"))
MAX_LINES = 500

#: From the ground up; modules of one floor do not import each other unless they share a room (the name before the dot).
FLOORS = (
    ("errors", "interpreter", "forking", "logs", "watching", "lazy", "records"),
    ("spec", "activations", "replacing", "support", "by_reference", "kept_arrays"),
    ("catalogue", "program", "limits", "strings", "foreign", "preprocessing"),
    ("operations", "pruning", "lost_masks", "caching"),
    ("formats", "layers", "kernels"),
    ("planner", "inputs", "outputs"),
    ("runtime", "assembly", "listing", "isolation", "staging", "surroundings", "pipeline_arguments", "input_masks"),
    ("base_executor", "cutting", "drawing", "precision"),
    ("executor",),
    ("staged_executor", "batches"),
    ("stream", "evaluation"),
    ("model",),
    ("selftest",),
    ("opening", "examples"),
    ("verifying", "drafting"),
    ("loading",),
    ("pipeline",),
    ("batch",),
    ("serving",),
    ("api",),
    ("demo", "bench"),
    ("cli",),
    ("__main__",),
)
FLOOR = {room: number for number, floor in enumerate(FLOORS) for room in floor}
#: What run-time code may import at its top. Everything else is imported where it is used, or not at all.
LIGHT = {"numpy", *sys.stdlib_module_names}
#: ``import a.b as c``, ``cimport a``, ``from ..a.b import c as d, e`` and ``from .a cimport (b, c)``: ast cannot read Cython.
CYTHON_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+(?P<base>\.*[\w.]*)[ \t]+c?import[ \t]+(?P<names>\([^)]*\)|[^\n#]+)|c?import[ \t]+(?P<modules>[^\n#]+))",
    re.MULTILINE,
)


def room(path: Path) -> str:
    """errors.py -> errors, layers/core.py -> layers."""
    return path.relative_to(PACKAGE).parts[0].split(".")[0]


def put_off(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of every module whose import waits: by ``lazy.module``, or by the table of a package's names."""
    package = ".".join(["fastlstm", *path.relative_to(PACKAGE).parts[:-1]])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        told = ast.unparse(node)
        if told.startswith(("lazy.module(", "map(lazy.module, ")):
            yield from ((node.lineno, one.value) for one in ast.walk(node) if isinstance(one, ast.Constant))
        elif told.startswith("names(__name__, "):
            yield from ((node.lineno, f"{package}.{key}") for key in ast.literal_eval(node.args[1]))


def imports(path: Path) -> Iterator[tuple[int, str, list[str]]]:
    """Line, module (with the dots of a relative one; empty: none) and names of every import, wherever in the file it stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield node.lineno, "", [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "." * node.level + (node.module or ""), [alias.name for alias in node.names]


def cython_imports(path: Path) -> Iterator[tuple[int, str, list[str]]]:
    """The same of a .pyx or .pxd."""
    text = path.read_text(encoding="utf-8")
    for found in CYTHON_IMPORT.finditer(text):
        names = re.sub(r"#.*|[()]", "", found["names"] or found["modules"])
        yield text.count("\n", 0, found.start()) + 1, found["base"] or "", [name.split()[0] for name in names.split(",") if name.strip()]


def imported_rooms(path: Path) -> Iterator[tuple[int, str]]:
    """Line and room of every import of the package's own modules."""
    package = ["fastlstm", *path.relative_to(PACKAGE).parts[:-1]]
    for line, module, names in (cython_imports if path.suffix in (".pyx", ".pxd") else imports)(path):
        level = len(module) - len(module.lstrip("."))
        stem = ".".join([*(package[: len(package) - level + 1] if level else []), *filter(None, [module[level:]])])
        for target in [stem] if stem.count(".") else [f"{stem}.{name}".lstrip(".") for name in names]:
            there = target.split(".")
            if there[0] == "fastlstm" and len(there) > 1 and there[1] in FLOOR:
                yield line, there[1]
    if path.suffix == ".py":
        for line, target in put_off(path):
            if target.startswith("fastlstm."):
                yield line, target.split(".")[1]


def test_imports_of_cython_are_seen(tmp_path: Path) -> None:
    written = tmp_path / "a.pyx"
    written.write_text(
        'cdef extern from "call.h" nogil:\n    pass\nimport os, fastlstm.api as api  # import nothing\ncimport numpy as cnp\n'
        "from libc.stdint cimport int64_t\nfrom .call cimport (\n    Watch,  # of a call\n    begin as start,\n)\n"
        "from . import levels\nfrom ..limits import UNLIMITED as MOST\n    from ..kernels import jit\n"
    )
    assert list(cython_imports(written)) == [
        (3, "", ["os", "fastlstm.api"]), (4, "", ["numpy"]), (5, "libc.stdint", ["int64_t"]), (6, ".call", ["Watch", "begin"]),
        (10, ".", ["levels"]), (11, "..limits", ["UNLIMITED"]), (12, "..kernels", ["jit"]),
    ]  # fmt: skip


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path: Path) -> None:
    here = room(path)
    if here == "__init__":
        return
    assert here in FLOOR, f"{here} stands on no floor: give it one"
    for line, there in imported_rooms(path):
        downward = FLOOR[there] < FLOOR[here] or there == here
        assert downward, f"{path.name}:{line} imports {there}, which does not lie below {here}"


def test_imports_that_wait_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    written = tmp_path / "a.py"
    written.write_text(
        'x = lazy.module("fastlstm.api")\ny, z = map(lazy.module, ("json", "fastlstm.cli.main"))\nnames(__name__, {"spec": ("Ref",)})\n'
    )
    assert list(put_off(written)) == [(1, "fastlstm.api"), (2, "json"), (2, "fastlstm.cli.main"), (3, "fastlstm.spec")]
    assert list(imported_rooms(written)) == [(1, "api"), (2, "cli"), (3, "spec")]


@pytest.mark.parametrize("path", [path for path in SOURCES if path.suffix == ".py"], ids=lambda path: str(path.relative_to(PACKAGE)))
def test_type_checkers_see_what_waits(path: Path) -> None:
    """Beside each import that waits stands the one that type checkers read."""
    package = ["fastlstm", *path.relative_to(PACKAGE).parts[:-1]]
    read = set()
    for _, module, module_names in imports(path):
        level = len(module) - len(module.lstrip("."))
        stem = ".".join([*(package[: len(package) - level + 1] if level else []), *filter(None, [module[level:]])])
        read |= {stem, *(f"{stem}.{name}".lstrip(".") for name in module_names)}
    assert {target for _, target in put_off(path)} <= read


@pytest.mark.parametrize("module", ["fastlstm", "fastlstm.cli.main"])
def test_import_is_light(module: str, tmp_path: Path) -> None:
    code = f"import sys, {module}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    heavy = {"tensorflow", "keras", "tf_keras", "numba", "llvmlite", "h5py", "matplotlib", "pytest"}
    assert not heavy & set(done.stdout.split())


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_file_is_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


#: Modules that loading a .fastlstm file of an LSTM and predicting with it bring, NumPy and the standard library aside.
MOST_MODULES = 82
#: ... and what they need not: files of Keras, what other calls use, layers and operations that the model does not have.
UNUSED = {
    "formats.h5", "formats.archive", "formats.explain", "formats.reading.config", "formats.reading.graph", "isolation", "stream",
    "selftest", "batches", "foreign", "input_masks",
    "verifying", "api", "demo", "cutting", "listing", "replacing", "operations.table", "operations.elementwise", "layers.streaming",
    "layers.attention", "layers.heads", "layers.convolution", "layers.conv_recurrent", "layers.pooling", "layers.merging",
    "layers.normalization", "layers.wrappers", "layers.legacy", "layers.operations", "layers.custom", "layers.reshaping", "layers.einsum",
    "layers.advanced_activations", "layers.preprocessing", "layers.concatenate", "program.attending", "program.normalising",
    "program.fusing", "program.convolving",
}  # fmt: skip
LOADED = """
import sys, numpy
before = set(sys.modules)
import fastlstm
model = fastlstm.load(sys.argv[1], cache=False)
model.predict(numpy.zeros((1, 24, 1), numpy.float32))
print(*sorted(set(sys.modules) - before))
"""


def test_a_process_loads_what_it_uses(tmp_path: Path) -> None:
    fastlstm.convert(MODEL, tmp_path / "m.fastlstm")
    done = subprocess.run([sys.executable, "-c", LOADED, str(tmp_path / "m.fastlstm")], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    own = {name.removeprefix("fastlstm.") for name in loaded if name.startswith("fastlstm.")}
    assert {name for name in UNUSED if (PACKAGE / f"{name.replace('.', '/')}.py").exists() or (PACKAGE / name).is_dir()} == UNUSED
    assert not own & UNUSED
    assert {"layers.recurrent", "layers.core", "formats.own", "loading"} <= own  # modules are seen at all
    heavy = {
        "h5py",
        "zipfile",
        "hashlib",
        "_hashlib",
        "difflib",
        "argparse",
        "concurrent",
        "multiprocessing",
        "subprocess",
        "tempfile",
        "secrets",
    }
    assert not heavy & set(loaded)
    assert len(own) <= MOST_MODULES, len(own)


def test_the_import_is_two_modules(tmp_path: Path) -> None:
    code = "import sys, fastlstm; print(*sorted(name for name in sys.modules if name.startswith('fastlstm.') or name == 'numpy'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["fastlstm.interpreter", "fastlstm.lazy"]


def test_public_names_are_all_there() -> None:
    assert dir(fastlstm) == sorted(fastlstm.__all__)
    assert all(getattr(fastlstm, name) is not None for name in fastlstm.__all__)
    scope: dict[str, object] = {}
    exec("from fastlstm import *", scope)
    assert set(fastlstm.__all__) <= set(scope)
    assert fastlstm.formats.own.VERSION  # its modules, as attributes
    for name in ("lod", "_private"):
        with pytest.raises(AttributeError, match=f"module 'fastlstm' has no attribute '{name}'"):
            getattr(fastlstm, name)


def test_a_module_that_waits_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An error in it is its own, and no missing attribute of the package."""
    (tmp_path / "waiting").mkdir()
    (tmp_path / "waiting" / "__init__.py").write_text("from fastlstm.lazy import names\n__getattr__, _ = names(__name__, {'a': ('x',)})\n")
    (tmp_path / "waiting" / "a.py").write_text("import nothing_of_this_name\n")
    monkeypatch.syspath_prepend(tmp_path)
    waiting = __import__("waiting")
    for name in ("x", "a"):
        with pytest.raises(ModuleNotFoundError, match="nothing_of_this_name"):
            getattr(waiting, name)


def test_own_files_need_no_hdf5(tmp_path: Path) -> None:
    """Neither to be read nor to be run."""
    fastlstm.convert(MODEL, tmp_path / "m.fastlstm")
    code = "import sys; sys.modules['h5py'] = None; import fastlstm; print(fastlstm.load(sys.argv[1], verify=True).output_shape)"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "m.fastlstm")], capture_output=True, text=True, check=True)
    assert done.stdout == "(None, 12)\n"


def test_no_paths_of_a_machine() -> None:
    pattern = re.compile(r"(?<![\w.])/(?:home|root|work|opt|Users)/\w+")
    found = [
        f"{path.relative_to(REPOSITORY)}:{number}: {line.strip()}"
        for folder in ("fastlstm", "tests", "tools", "benchmarks", ".ci")
        for path in sorted((REPOSITORY / folder).rglob("*"))
        if path.is_file() and (path.suffix in (".py", ".pyx", ".pxd", ".pyi", ".h", ".md", ".toml") or path.name == "run")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if pattern.search(line)
    ]
    assert not found


def test_nothing_unpickles_or_evaluates() -> None:
    """Model files come from anywhere."""
    forbidden_imports = {"pickle", "cPickle", "dill", "marshal", "shelve", "cloudpickle"}
    found = []
    for path in (path for path in SOURCES if path.suffix == ".py" and room(path) != "kernels"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import) and {alias.name for alias in node.names} & forbidden_imports:
                found.append(f"{path.name}:{node.lineno}")
            if isinstance(node, ast.ImportFrom) and node.module in forbidden_imports:
                found.append(f"{path.name}:{node.lineno}")
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"eval", "exec", "compile"}:
                found.append(f"{path.name}:{node.lineno}")
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                value = node.value
                if not (isinstance(value, ast.Constant) and value.value is False):
                    found.append(f"{path.name}:{node.lineno}")
    assert not found


def test_what_stands_for_a_module_can_be_copied() -> None:
    waiting = lazy.module("fastlstm.demo")
    assert copy.copy(waiting).MODEL == copy.deepcopy(waiting).MODEL == pickle.loads(pickle.dumps(waiting)).MODEL
    for name in ("nothing.x", "cli.main"):
        with pytest.raises(AttributeError):
            getattr(fastlstm, name)
