"""Where in a block's memory each scratch buffer lies. Buffers that are never in use at the same time share memory."""

from __future__ import annotations

from collections.abc import Sequence

from .packing import ALIGNMENT
from .program import At, Buffer, BufferInfo, Instruction


def arrange(instructions: Sequence[Instruction], buffers: Sequence[BufferInfo], rows: int) -> tuple[list[int], int]:
    """Place the scratch buffers of a Program.

    Parameters
    ----------
    instructions, buffers
        Of the Program.
    rows
        The most rows of a block.

    Returns
    -------
    offsets : list of int
        Bytes from the start of the arena, for each buffer; 0 for those that are not scratch.
    size : int
        Bytes that the arena takes.
    """
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for number, instruction in enumerate(instructions):
        for value in instruction.fields.values():
            target = value.target if isinstance(value, At) else value
            if isinstance(target, Buffer) and buffers[target.index].kind == "scratch":
                first.setdefault(target.index, number)
                last[target.index] = number

    def size_of(index: int) -> int:
        needed = buffers[index].row_bytes * rows + buffers[index].fixed_bytes
        # A cache line besides keeps the padding that vectors read behind one buffer out of the next.
        return (needed + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT + ALIGNMENT

    offsets = [0] * len(buffers)
    placed: list[int] = []
    total = 0
    for index in sorted(first, key=lambda i: (-size_of(i), i)):
        size = size_of(index)
        taken = sorted(
            (offsets[other], offsets[other] + size_of(other))
            for other in placed if first[other] <= last[index] and first[index] <= last[other]
        )  # fmt: skip
        start = 0
        for low, high in taken:
            if start + size <= low:
                break
            start = max(start, high)
        offsets[index] = start
        placed.append(index)
        total = max(total, start + size)
    return offsets, total
