"""The package's word about itself: docstrings, version, metadata, the table of layers."""

from __future__ import annotations

import importlib.metadata
import inspect
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from layer_examples import layer_table

import fastlstm
from fastlstm import demo
from fastlstm.catalogue import ROWS
from fastlstm.layers import REGISTRY
from fastlstm.pruning import MAKING

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"
SECTION = re.compile(r"^(\w[\w ]*)\n-{3,}$", re.MULTILINE)


def public_functions() -> Iterator[tuple[str, Any]]:
    """Functions that users call, and the methods of classes that they hold."""
    for name in fastlstm.__all__:
        thing = getattr(fastlstm, name)
        if inspect.isfunction(thing):
            yield name, thing
        elif inspect.isclass(thing):
            for method, member in vars(thing).items():
                if inspect.isfunction(member) and (not method.startswith("_") or method == "__call__"):
                    yield f"{name}.{method}", member


def documented_parameters(docstring: str) -> list[str]:
    """Names below numpydoc's heading "Parameters"; several may share a line."""
    sections = list(SECTION.finditer(docstring))
    for position, heading in enumerate(sections):
        if heading.group(1) == "Parameters":
            end = sections[position + 1].start() if position + 1 < len(sections) else len(docstring)
            lines = docstring[heading.end() : end].splitlines()
            return [name.strip() for line in lines if line and line[0] != " " for name in line.split(" : ")[0].split(",")]
    return []


@pytest.mark.parametrize(("name", "function"), [pytest.param(name, function, id=name) for name, function in public_functions()])
def test_docstring_fits_signature(name: str, function: Any) -> None:
    docstring = inspect.getdoc(function)
    assert docstring, f"{name} has no docstring"
    parameters = [name for name in inspect.signature(function).parameters if name != "self"]
    documented = documented_parameters(docstring)
    if documented or len(parameters) > 1:
        assert documented == parameters


@pytest.mark.parametrize("name", [name for name in fastlstm.__all__ if not name.startswith("__")])
def test_public_name_is_documented_and_typed(name: str) -> None:
    thing = getattr(fastlstm, name)
    assert inspect.getdoc(thing)
    if inspect.isfunction(thing):
        untyped = [parameter.name for parameter in inspect.signature(thing).parameters.values() if parameter.annotation is parameter.empty]
        assert not untyped
        assert inspect.signature(thing).return_annotation is not inspect.Signature.empty


def test_version_is_one() -> None:
    assert importlib.metadata.version("fastlstm") == fastlstm.__version__
    heading = re.search(r"^## (\d\S*)", (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert heading is not None
    assert heading.group(1) == fastlstm.__version__
    assert f"\nversion: {fastlstm.__version__}\n" in (REPOSITORY / "CITATION.cff").read_text(encoding="utf-8")


def test_types_and_data_are_installed() -> None:
    package = Path(fastlstm.__file__).parent
    for name in ("py.typed", "runtime/runner.pyi", "data/sunspots.h5", "data/sunspots.csv", "data/sunspots_keras.npy"):
        assert (package / name).is_file(), name
    assert demo.MODEL.stat().st_size < 200_000


def test_run_time_needs_little() -> None:
    required = importlib.metadata.requires("fastlstm") or []
    names = {re.split(r"[^\w-]", requirement)[0] for requirement in required if "extra ==" not in requirement}
    assert names == {"numpy", "h5py", "safetensors"}


def test_the_tests_bring_what_builds() -> None:
    """CONTRIBUTING's ``python setup.py build_ext`` builds with what the extra ``test`` brings: jit, test and what the package needs."""
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    lists = {name: re.findall(r'"([^"]+)"', items) for name, items in re.findall(r"^(\w+) = \[(.*?)\]$", text, re.MULTILINE | re.DOTALL)}
    assert "fastlstm[jit,plot,yaml,cli,batch]" in lists["test"]
    assert set(lists["requires"]) - {*lists["jit"], *lists["test"]} == {"numpy>=2"}


def test_every_layer_has_an_example() -> None:
    tool = layer_table()
    missing = sorted(set(REGISTRY) - set(tool.EXAMPLES))
    assert not missing, f"add an example of {', '.join(missing)} to EXAMPLES in tools/layer_table.py"
    assert set(tool.EXAMPLES) <= set(REGISTRY)
    making = {name for name, row in ROWS.items() if row.role in MAKING}  # before or after all kernels
    assert {name for name in tool.EXAMPLES if tool.runs(name) == "NumPy"} == making
    assert tool.runs("LSTM") == tool.runs("Conv1D") == "kernels"
    assert tool.runs("LSTMCell") == tool.runs("StackedRNNCells") == "kernels"
    assert tool.runs("Dropout") == "no work"


def test_the_page_of_layers_lists_them() -> None:
    text = (DOCS / "layers.md").read_text(encoding="utf-8")
    assert layer_table().updated(text) == text, "run python tools/layer_table.py --write"


def test_docstring_example_runs() -> None:
    import doctest

    assert doctest.testmod(sys.modules["fastlstm"]).failed == 0


def test_sources_that_are_not_built_say_so(tmp_path: Path) -> None:
    """As in a clone beside which the package is installed: Python looks into the current folder first."""
    package = Path(fastlstm.__file__).parent
    shutil.copytree(package, tmp_path / "fastlstm", ignore=shutil.ignore_patterns("*.so", "*.pyd", "__pycache__"))
    done = subprocess.run(
        [sys.executable, "-c", "import fastlstm; fastlstm.load"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: fastlstm.runtime.")
    assert "not built" in last
    assert "pip install -e ." in last
