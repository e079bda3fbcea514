"""The tools around wheels: an audit that sees what is wrong, and object files that are used with the sources that they come from alone."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from fastlstm import runtime

REPOSITORY = Path(__file__).parents[2]
GOOD = "fastlstm-1.0-cp311-cp311-manylinux_2_17_x86_64.whl"


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"tool_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return loaded(REPOSITORY / "tools" / "wheels.py")


@pytest.fixture(scope="module")
def compiler() -> ModuleType:
    return loaded(REPOSITORY / "fastlstm" / "kernels" / "compile.py")


def made(folder: Path, tool: ModuleType, name: str = GOOD, without: str = "", extra: tuple[str, bytes] | None = None) -> Path:
    """A wheel of empty files."""
    path = folder / name
    modules = [f"fastlstm/runtime/{source.stem}.so" for source in (REPOSITORY / "fastlstm" / "runtime").glob("*.pyx")]
    with zipfile.ZipFile(path, "w") as archive:
        for part in {*tool.PARTS, *modules} - {without}:
            archive.writestr(part, b"")
        if extra is not None:
            archive.writestr(*extra)
    return path


def test_audit_of_a_wheel_that_is_whole(tool: ModuleType, tmp_path: Path) -> None:
    assert tool.faults(made(tmp_path, tool)) == []


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"without": "fastlstm/py.typed"}, "lacks fastlstm/py.typed"),
        ({"without": "fastlstm/runtime/runner.so"}, "modules of the runtime"),
        ({"extra": ("fastlstm/runtime/runner.pyx", b"")}, "only builds the runtime"),
        ({"extra": ("fastlstm.libs/libgomp.so.1", b"")}, "library of others"),
        ({"extra": ("fastlstm/data/large", bytes(4 << 20))}, "bytes, 3,145,728 allowed"),
        ({"name": GOOD.replace("manylinux_2_17_", "linux_")}, "no manylinux"),
    ],
)
def test_audit_of_other_wheels(changed: dict, fault: str, tool: ModuleType, tmp_path: Path) -> None:
    (found,) = tool.faults(made(tmp_path, tool, **changed))
    assert fault in found


def test_a_wheel_is_tried_with_its_own_python(tool: ModuleType) -> None:
    own = f"cp3{sys.version_info.minor}"
    others = ["python-of-another-version", sys.executable]
    assert tool.python_for(Path(f"fastlstm-1.0-{own}-{own}-any.whl"), others[1:]) == sys.executable
    assert tool.python_for(Path("fastlstm-1.0-cp312-abi3-any.whl"), [sys.executable]) == sys.executable


def test_build_requirements_leave_numba_out(tool: ModuleType) -> None:
    names = {re.split(r"[^\w-]", name)[0] for name in tool.requirements()}
    assert names == {"setuptools", "cython", "numpy"}


def described(path: Path, **about: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"object")
    path.with_suffix(".json").write_text(json.dumps({"lanes": 4, "kernels": {}, **about}))
    return path


def test_objects_of_these_sources_are_kept(compiler: ModuleType, tmp_path: Path) -> None:
    described(tmp_path / "v2_1.o", sources="others", compilers=compiler.compilers())
    assert compiler.kept("v2", tmp_path) is None
    fitting = described(tmp_path / "v2_2.o", sources=compiler.source_hash(), compilers=compiler.compilers())
    assert compiler.kept("v2", tmp_path) == fitting
    assert compiler.kept("v3", tmp_path) is None


def test_objects_need_no_numba_once_compiled(compiler: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "compilers", lambda: "")
    triple = "aarch64-unknown-linux-gnu"
    with pytest.raises(RuntimeError, match="compile.py --triple aarch64-unknown-linux-gnu"):
        compiler.objects(tmp_path, triple)
    brought = described(tmp_path / triple / "baseline_0.o", sources=compiler.source_hash(), compilers="numba-0 llvmlite-0")
    assert compiler.objects(tmp_path, triple) == {"baseline": brought}


def test_the_installed_package_is_checked() -> None:
    """The check that every wheel has to pass passes here, and sees where nothing is installed."""
    check = REPOSITORY / "tools" / "check_installed.py"
    done = subprocess.run([sys.executable, check], capture_output=True, text=True, check=False, cwd=Path(runtime.__file__).parents[2])
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("passed") == 3 + len(runtime.available_levels())
    nowhere = subprocess.run([sys.executable, "-I", "-S", check], capture_output=True, text=True, check=False)
    assert nowhere.returncode != 0
