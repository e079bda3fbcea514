"""The kernels' machine code: nothing called outside, nothing weak, vectors throughout, accumulators in registers."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

pytest.importorskip("numba", reason="compiles kernels")
import kernel_objects

from fastlstm import runtime
from fastlstm.kernels import compile as compiler
from fastlstm.kernels import levels as platforms

HOST = platforms.host_triple()
ARM = "aarch64-unknown-linux-gnu"
LEVELS = [pytest.param((HOST, level.name), id=level.name) for level in platforms.levels(HOST)]
#: Objects for another architecture are looked at where they are compiled: see kernel_objects.
FOREIGN = (
    [] if HOST == ARM else [pytest.param((ARM, level.name), id=f"aarch64-{level.name}", marks=pytest.mark.slow) for level in platforms.ARM]
)


class Machine(NamedTuple):
    """How instructions of a level are recognised in what objdump prints."""

    tools: str  # what the names of binutils begin with
    sums: str  # multiply-adds of whole vectors, or the additions of them
    single: str  # of single floats
    stack: str  # what goes through the stack by whole vectors
    frame: str  # begins a frame with a pointer to it
    jump: str  # its group is the address
    divisions: str  # also of single floats
    vector: str  # what a division of a whole vector has
    pairing_rows: int  # tiles of so many rows take two steps at a time
    tiles: tuple[int, int, int]  # how many there are: tile, tile_of_data, tile_of_windows


def x86(register: str, pairing_rows: int, tiles: tuple[int, int, int]) -> Machine:
    return Machine(
        "", rf"(?:vfmadd\w*ps|addps)\b.*%{register}", r"v?(mul|add|fmadd\w*)ss", r"%rsp.*%[xyz]mm|%[xyz]mm.*%rsp", r"mov\s+%rsp,%rbp",
        r"j\w+\s+([0-9a-f]+)", r"v?div[ps]s\b", rf"divps\b.*%{register}", pairing_rows, tiles,
    )  # fmt: skip


MACHINES = {
    "v2": x86("xmm", 9, (18, 8, 16)),
    "v3": x86("ymm", 3, (23, 12, 25)),
    "v4": x86("zmm", 4, (28, 24, 38)),
    "baseline": Machine(
        "aarch64-linux-gnu-" if HOST != ARM else "", r"fmla\s+v\d+\.4s", r"(fmadd|fmul|fadd)\s+s\d", r"(str|ldr|stp|ldp)\s+q\d+.*\[sp",
        r"mov\s+x29, sp", r"(?:b\.?\w*|cbn?z\s+\w+,|tbn?z\s+\w+, #\d+,)\s+([0-9a-f]+)", r"fdiv\s", r"fdiv\s+v\d+\.4s", 9, (28, 24, 38),
    ),
}  # fmt: skip


@pytest.fixture(scope="session", params=[*LEVELS, *FOREIGN])
def target(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Triple and level."""
    return request.param


@pytest.fixture(scope="session")
def built(target: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The object file of a level."""
    return kernel_objects.of(*target, tmp_path_factory.mktemp("objects"))


@pytest.fixture(scope="session")
def machine(target: tuple[str, str]) -> Machine:
    triple, level = target
    if level == "baseline" and triple != ARM:
        pytest.skip(f"no instructions of {triple} are known here")
    return MACHINES[level]


def tool(name: str, *arguments: object) -> str:
    if shutil.which(name) is None:
        pytest.skip(f"{name} (binutils) is not installed")
    return subprocess.run([name, *map(str, arguments)], check=True, capture_output=True, text=True).stdout


def functions(path: Path, machine: Machine) -> Iterator[tuple[str, list[str]]]:
    """Name and instructions of each function."""
    text = tool(f"{machine.tools}objdump", "-d", "--no-show-raw-insn", "--no-addresses", path)
    for name, body in re.findall(r"^<(.+)>:\n((?:.+\n)*)", text, re.MULTILINE):
        yield name, [line.strip() for line in body.splitlines()]


def loops(path: Path, machine: Machine) -> Iterator[tuple[str, list[str]]]:
    """Name of the function and instructions of each innermost loop: from a label that is jumped back to, to the jump."""
    text = tool(f"{machine.tools}objdump", "-d", "--no-show-raw-insn", path)
    for name, body in re.findall(r"^[0-9a-f]+ <(.+)>:\n((?:.+\n)*)", text, re.MULTILINE):
        lines = [(int(at, 16), rest) for at, rest in re.findall(r"^\s*([0-9a-f]+):\s*(.*)$", body, re.MULTILINE)]
        place = {at: n for n, (at, _) in enumerate(lines)}
        back = []
        for n, (at, rest) in enumerate(lines):
            jump = re.match(machine.jump, rest)
            if jump and int(jump[1], 16) <= at and int(jump[1], 16) in place:
                back.append((place[int(jump[1], 16)], n))
        for first, last in back:
            if not any((a, b) != (first, last) and first <= a and b <= last for a, b in back):
                yield name, [rest for _, rest in lines[first : last + 1]]


def tile_loops(path: Path, machine: Machine, name: str) -> list[tuple[list[int], str, list[str]]]:
    """The sizes in the name, the name and the instructions of the loops of one kind of tile, none of which may spill."""
    found = []
    for function, body in loops(path, machine):
        sizes = re.match(rf"{name}_(\d+)x(\d)(?:x(\d))?", function)
        if sizes:
            assert not [line for line in body if re.search(machine.stack, line)], f"{function} spills in its loop"
            found.append(([int(size) for size in sizes.groups() if size], function, body))
    return found


def sums(body: list[str], machine: Machine) -> int:
    return sum(bool(re.match(machine.sums, line)) for line in body)


def test_symbols(built: Path, target: tuple[str, str]) -> None:
    exported = set()
    for line in tool("nm" if target[0] == HOST else f"{MACHINES[target[1]].tools}nm", built).splitlines():
        kind, name = line.split()[-2:]
        assert kind not in "UwWvVu", f"{name}: undefined or weak"
        if kind.isupper():
            exported.add(name)
    assert exported == {compiler.symbol(name, target[1]) for name in runtime.kernel_fields()}


def test_nothing_is_called_outside(built: Path, machine: Machine) -> None:
    found = 0
    for line in tool(f"{machine.tools}objdump", "-r", built).splitlines():
        parts = line.split()
        if len(parts) == 3 and parts[1].startswith("R_"):
            found += 1
            assert re.match(r"\.(text|rodata|data|LCPI|LJTI)|tile_|fastlstm_|[-+]", parts[2].lstrip("*")) or parts[2].startswith("."), line
    assert found


def test_tiles_keep_their_sums_in_registers(built: Path, machine: Machine) -> None:
    found = tile_loops(built, machine, "tile")
    for (rows, vectors, panels), name, body in found:
        # Steps. A weight that is widened takes a register; where rows are fewer than vectors there is none for a second step.
        widening = name.endswith("_1") and rows < vectors * panels
        at_once = 2 if rows >= machine.pairing_rows and not widening else 1
        assert sums(body, machine) == at_once * rows * vectors * panels, name
        assert not [line for line in body if re.match(machine.single, line)], f"{name} computes single floats"
    assert len({name for _, name, _ in found}) == 2 * machine.tiles[0]  # for float32, and for halves
    with_frame = [name for name, body in functions(built, machine) if any(re.match(machine.frame, line) for line in body)]
    assert not [name for name in with_frame if name.startswith("tile_")]


def test_tiles_of_data_keep_their_sums_in_registers(built: Path, machine: Machine) -> None:
    found = tile_loops(built, machine, "tile_of_data")
    for (rows, vectors), name, body in found:
        assert sums(body, machine) == rows * vectors, name
    assert len({name for _, name, _ in found}) == machine.tiles[1]


def test_tiles_of_windows_keep_their_sums_in_registers(built: Path, machine: Machine) -> None:
    found = tile_loops(built, machine, "tile_of_windows")
    for (windows, vectors), name, body in found:
        assert sums(body, machine) == windows * vectors, name
    assert len(found) == 2 * machine.tiles[2]  # a loop for each operand


def test_tiles_of_amx_have_their_numbers(built: Path, machine: Machine) -> None:
    """LLVM knows nothing of their shapes: accumulators are 0 to 3, rows 4 and 5, weights 6 and 7."""
    products = [line for name, body in functions(built, machine) if name.startswith("amx_") for line in body if "tdpbf16ps" in line]
    for line in products:
        assert re.search(r"%tmm[67],%tmm[45],%tmm[0-3]$", line), line
    assert bool(products) == (machine.tools == "" and machine.frame.startswith("mov\\s+%rsp"))


def test_activations_are_vectors(built: Path, machine: Machine) -> None:
    divisions = {name: [line for line in body if re.match(machine.divisions, line)] for name, body in functions(built, machine)}
    # Pooling, means and what goes along a row divide by one number once for each output or row; everything else that divides computes
    # whole vectors.
    once = "pool|reductions|norm|sparsemax|adaptive_mean"
    activations = [line for name, lines in divisions.items() if not re.search(once, name) for line in lines]
    assert activations
    for line in activations:
        assert re.search(machine.vector, line), f"a single float is divided, or not the whole vector: {line}"
