"""The kernels' machine code: nothing called outside, nothing weak, vectors throughout, accumulators in registers."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("numba", reason="compiles kernels")
from fastlstm import runtime
from fastlstm.kernels import compile as compiler

LEVELS = ("v2", "v3", "v4") if "baseline" not in runtime.available_levels() else ("baseline",)
WIDEST = {"v2": "xmm", "v3": "ymm", "v4": "zmm"}
#: Tiles of so many rows take two steps at a time.
PAIRING_ROWS = {"v2": 9, "v3": 3, "v4": 4}


@pytest.fixture(scope="session", params=LEVELS)
def level(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def built(level: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The object file of a level: what the last build left, if its sources are still the same, else a new one."""
    kept = Path(compiler.__file__).parents[2] / "build" / "kernels" / f"kernels_{level}_{compiler.source_hash()}.o"
    if kept.exists():
        return kept
    path = tmp_path_factory.mktemp("objects") / f"{level}.o"
    compiler.compile_level(level, path)
    return path


def tool(name: str, *arguments: object) -> str:
    if shutil.which(name) is None:
        pytest.skip(f"{name} (binutils) is not installed")
    return subprocess.run([name, *map(str, arguments)], check=True, capture_output=True, text=True).stdout


def functions(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Name and instructions of each function."""
    text = tool("objdump", "-d", "--no-show-raw-insn", "--no-addresses", path)
    for name, body in re.findall(r"^<(.+)>:\n((?:.+\n)*)", text, re.MULTILINE):
        yield name, [line.strip() for line in body.splitlines()]


def loops(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Name of the function and instructions of each innermost loop: from a label that is jumped back to, to the jump."""
    text = tool("objdump", "-d", "--no-show-raw-insn", path)
    for name, body in re.findall(r"^[0-9a-f]+ <(.+)>:\n((?:.+\n)*)", text, re.MULTILINE):
        lines = [(int(at, 16), rest) for at, rest in re.findall(r"^\s*([0-9a-f]+):\s*(.*)$", body, re.MULTILINE)]
        place = {at: n for n, (at, _) in enumerate(lines)}
        back = []
        for n, (at, rest) in enumerate(lines):
            jump = re.match(r"j\w+\s+([0-9a-f]+)", rest)
            if jump and int(jump[1], 16) <= at and int(jump[1], 16) in place:
                back.append((place[int(jump[1], 16)], n))
        for first, last in back:
            if not any((a, b) != (first, last) and first <= a and b <= last for a, b in back):
                yield name, [rest for _, rest in lines[first : last + 1]]


def test_symbols(built: Path, level: str) -> None:
    exported = set()
    for line in tool("nm", built).splitlines():
        kind, name = line.split()[-2:]
        assert kind not in "UwWvVu", f"{name}: undefined or weak"
        if kind.isupper():
            exported.add(name)
    assert exported == {compiler.symbol(name, level) for name in runtime.kernel_fields()}


def test_nothing_is_called_outside(built: Path) -> None:
    for line in tool("objdump", "-r", built).splitlines():
        parts = line.split()
        if len(parts) == 3 and parts[1].startswith("R_"):
            assert re.match(r"\.(text|rodata|data|LCPI|LJTI)|tile_|fastlstm_|[-+]", parts[2].lstrip("*")) or parts[2].startswith("."), line


@pytest.mark.skipif(LEVELS == ("baseline",), reason="reads x86 instructions")
def test_tiles_keep_their_sums_in_registers(built: Path, level: str) -> None:
    seen = set()
    for name, body in loops(built):
        tile = re.match(r"tile_(\d)x(\d)x(\d)", name)
        if not tile:
            continue
        seen.add(name)
        stack = [line for line in body if "%rsp" in line]  # %rbp is an ordinary register, see below
        assert not [line for line in stack if re.search(r"[xyz]mm", line)], f"{name} spills in its loop: {stack}"
        rows, vectors, panels = map(int, tile.groups())
        sums = [line for line in body if re.match(r"vfmadd|addps", line) and WIDEST[level] in line]
        at_once = 2 if rows >= PAIRING_ROWS[level] else 1  # steps
        assert len(sums) == at_once * rows * vectors * panels, name
        assert not [line for line in body if re.match(r"v?(mul|add|fmadd\w*)ss", line)], f"{name} computes single floats"
    assert len(seen) == {"v2": 12, "v3": 16, "v4": 28}[level]
    with_frame_pointer = [name for name, body in functions(built) if any(re.match(r"mov\s+%rsp,%rbp", line) for line in body)]
    assert not [name for name in with_frame_pointer if name.startswith("tile_")]


@pytest.mark.skipif(LEVELS == ("baseline",), reason="reads x86 instructions")
def test_tiles_of_data_keep_their_sums_in_registers(built: Path, level: str) -> None:
    seen = set()
    for name, body in loops(built):
        tile = re.match(r"tile_of_data_(\d)x(\d)", name)
        if not tile:
            continue
        seen.add(name)
        assert not [line for line in body if "%rsp" in line and re.search(r"[xyz]mm", line)], f"{name} spills in its loop"
        rows, vectors = map(int, tile.groups())
        sums = [line for line in body if re.match(r"vfmadd|addps", line) and WIDEST[level] in line]
        assert len(sums) == rows * vectors, name
    assert len(seen) == {"v2": 8, "v3": 12, "v4": 24}[level]


@pytest.mark.skipif(LEVELS == ("baseline",), reason="reads x86 instructions")
def test_tiles_of_windows_keep_their_sums_in_registers(built: Path, level: str) -> None:
    seen = []
    for name, body in loops(built):
        tile = re.match(r"tile_of_windows_(\d+)x(\d)", name)
        if not tile:
            continue
        seen.append(name)
        assert not [line for line in body if "%rsp" in line and re.search(r"[xyz]mm", line)], f"{name} spills in its loop"
        windows, vectors = map(int, tile.groups())
        sums = [line for line in body if re.match(r"vfmadd|addps", line) and WIDEST[level] in line]
        assert len(sums) == windows * vectors, name
    assert len(seen) == 2 * {"v2": 16, "v3": 25, "v4": 38}[level]  # a loop for each operand


@pytest.mark.skipif(LEVELS == ("baseline",), reason="reads x86 instructions")
def test_activations_are_vectors(built: Path, level: str) -> None:
    divisions = {name: [line for line in body if re.match(r"v?div[ps]s", line)] for name, body in functions(built)}
    # Pooling, means and what goes along a row divide by one number once for each output or row; everything else that divides computes
    # whole vectors.
    once = "pool|reductions|norm|sparsemax|adaptive_mean"
    activations = [line for name, lines in divisions.items() if not re.search(once, name) for line in lines]
    assert activations
    for line in activations:
        assert re.match(r"v?divps", line), f"a single float is divided: {line}"
        assert WIDEST[level] in line, f"not the whole vector: {line}"
