"""Where each scratch buffer lies in the arena, the memory in which a Program computes a block of rows. Buffers that are never in use at
the same time share memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .ir import At, Buffer, BufferInfo, Instruction
from .layout import ALIGNMENT, after

#: Where there are more buffers than this, each is not compared with all others: that takes time that grows with their square.
MANY = 500


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
    first, last = lifetimes(instructions, buffers)

    def size_of(index: int) -> int:
        needed = buffers[index].row_bytes * rows + buffers[index].fixed_bytes
        # Vectors may read beyond the end of a buffer: a cache line more keeps that out of the next one.
        return after(0, needed) + ALIGNMENT

    sizes = {index: size_of(index) for index in first}
    place = in_turn if len(first) > MANY else largest_first
    return place(first, last, sizes, len(buffers))


def lifetimes(instructions: Sequence[Instruction], buffers: Sequence[BufferInfo]) -> tuple[dict[int, int], dict[int, int]]:
    """The numbers of the first and of the last instruction that use each scratch buffer."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    number = -1
    for instruction in instructions:
        number += not instruction.beside  # what may be computed at the same time counts as one
        for value in instruction.fields.values():
            target = value.target if isinstance(value, At) else value
            if isinstance(target, Buffer) and buffers[target.index].kind == "scratch":
                first.setdefault(target.index, number)
                last[target.index] = number
    return first, last


def largest_first(first: Mapping[int, int], last: Mapping[int, int], sizes: Mapping[int, int], count: int) -> tuple[list[int], int]:
    """Offsets of ``count`` buffers and their total: each, largest first, takes the lowest gap among those in use at the same time."""
    offsets = [0] * count
    placed: list[int] = []
    total = 0
    for index in sorted(first, key=lambda i: (-sizes[i], i)):
        size = sizes[index]
        together = [other for other in placed if first[other] <= last[index] and first[index] <= last[other]]
        taken = sorted((offsets[other], offsets[other] + sizes[other]) for other in together)
        start = 0
        for low, high in taken:
            if start + size <= low:
                break
            start = max(start, high)
        offsets[index] = start
        placed.append(index)
        total = max(total, start + size)
    return offsets, total


def in_turn(first: Mapping[int, int], last: Mapping[int, int], sizes: Mapping[int, int], count: int) -> tuple[list[int], int]:
    """Offsets of ``count`` buffers and their total: each takes the place of one of about its size that is no longer used, or a new one."""
    offsets, total = [0] * count, 0
    free: dict[int, list[int]] = {}
    ends = sorted(last, key=lambda index: last[index])
    done = 0
    for index in sorted(first, key=lambda index: first[index]):
        while last[ends[done]] < first[index]:
            free.setdefault(rounded(sizes[ends[done]]), []).append(offsets[ends[done]])
            done += 1
        places = free.get(rounded(sizes[index]))
        if places:
            offsets[index] = places.pop()
        else:
            offsets[index] = total
            total += rounded(sizes[index])
    return offsets, total


def rounded(size: int) -> int:
    """The size rounded up to one of few, so that places can be used again: up to an eighth is added."""
    step = max(ALIGNMENT, 1 << max(size.bit_length() - 4, 0))
    return (size + step - 1) // step * step
