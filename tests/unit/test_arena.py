"""Where scratch lies: buffers in use at the same time never share a byte, whatever a Program looks like."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fastlstm.program.arena import arrange
from fastlstm.program.ir import At, Buffer, BufferInfo, Instruction

SIZES = st.tuples(st.integers(0, 400), st.integers(0, 200))


@given(st.lists(SIZES, min_size=1, max_size=12), st.lists(st.sets(st.integers(0, 11), max_size=4), max_size=12), st.integers(1, 50))
def test_buffers_in_use_together_lie_apart(sizes: list[tuple[int, int]], uses: list[set[int]], rows: int) -> None:
    buffers = [BufferInfo("input" if row % 7 == 1 else "scratch", row, fixed) for row, fixed in sizes]
    uses = [{index for index in use if index < len(buffers)} for use in uses]
    instructions = [Instruction("place", {str(n): At(Buffer(n), 1) if n % 2 else Buffer(n) for n in use}) for use in uses]
    offsets, total = arrange(instructions, buffers, rows)
    alive = {n: [at for at, use in enumerate(uses) if n in use] for n, info in enumerate(buffers) if info.kind == "scratch"}
    alive = {n: times for n, times in alive.items() if times}
    ends = {n: offsets[n] + buffers[n].row_bytes * rows + buffers[n].fixed_bytes for n in alive}
    for n, times in alive.items():
        assert offsets[n] % 64 == 0
        assert 0 <= offsets[n] <= ends[n] <= total
        for other, theirs in alive.items():
            together = min(theirs) <= max(times) and min(times) <= max(theirs)
            assert n == other or not together or ends[n] <= offsets[other] or ends[other] <= offsets[n]
