"""The kernels' object files for macOS and Windows, compiled here: in the platform's format, with its names, and nothing asked of it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("numba", reason="compiles kernels")
import kernel_objects

from fastlstm import runtime
from fastlstm.kernels import compile as compiler
from fastlstm.kernels import levels as platforms

pytestmark = pytest.mark.slow

FOREIGN = [
    pytest.param("arm64-apple-macosx11.0.0", "baseline", b"\xcf\xfa\xed\xfe", "_", set(), id="macOS arm64"),
    # What Microsoft's C library has for large stacks and for floats, whatever is linked.
    pytest.param("x86_64-pc-windows-msvc", "v3", b"\x64\x86", "", {"__chkstk", "_fltused"}, id="Windows x64"),
]


@pytest.mark.parametrize(("triple", "level", "magic", "prefix", "allowed"), FOREIGN)
def test_symbols(triple: str, level: str, magic: bytes, prefix: str, allowed: set[str], tmp_path: Path) -> None:
    path = kernel_objects.of(triple, level, tmp_path)
    assert path.read_bytes().startswith(magic)
    assert set(compiler.described(path)["kernels"]) == set(runtime.kernel_fields())
    nm = shutil.which("llvm-nm")
    if nm is None:
        pytest.skip("the file is of the right format; its symbols are not looked at: llvm-nm (llvm) is not installed")
    lines = subprocess.run([nm, "--extern-only", path], check=True, capture_output=True, text=True).stdout.splitlines()
    found = {line.split()[-1]: line.split()[-2] for line in lines}
    assert {name for name, kind in found.items() if kind in "Uw"} <= allowed
    constants = ("__real@", "__xmm@", "__ymm@")  # which Windows' linkers merge by name: the name says the value
    exported = {name for name, kind in found.items() if kind not in "Uw" and not name.startswith(constants)}
    assert exported == {prefix + compiler.symbol(name, level) for name in runtime.kernel_fields()}


def test_platforms() -> None:
    assert [platforms.architecture(triple) for triple in platforms.TRIPLES] == ["x86_64", "aarch64", "aarch64", "x86_64"]
    assert [level.name for level in platforms.levels("arm64-apple-macosx11.0.0")] == ["baseline"]
    assert [level.name for level in platforms.levels("x86_64-pc-windows-msvc")] == ["v2", "v3", "v4"]
    assert platforms.levels("riscv64-unknown-linux-gnu")[0].fused is False
    if platforms.host_triple() in platforms.TRIPLES:
        assert {level.name for level in platforms.levels(platforms.host_triple())} >= set(runtime.available_levels())
