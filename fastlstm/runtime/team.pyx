"""Several threads that run one Runner over the same rows and divide the units of its recurrent layers among them."""

from libc.stdint cimport int64_t
from libc.string cimport memcpy

from .arenas cimport Arena
from .call cimport Watch
from .runner cimport Frame, Runner


cdef class Team(Watch):
    """One computation by several threads, each of which calls :meth:`work` once.

    Parameters
    ----------
    runner : Runner
        Of a Program that ``members`` threads may compute together.
    inputs, outputs, states : lists of numpy.ndarray
        As for :meth:`Runner.run`; all rows are computed.
    members : int
        How many threads. All of them must call :meth:`work`, or somebody :meth:`stop`.
    """

    cdef Runner runner
    cdef list frames  # of each member
    cdef Arena arena
    cdef tuple arrays  # kept while somebody works on them
    cdef int64_t rows

    def __init__(self, Runner runner not None, list inputs not None, list outputs not None, list states not None, int members):
        cdef Frame first, frame
        if not 2 <= members <= runner.program.members:
            raise ValueError(f"expected 2 to {runner.program.members} members, found {members}")
        first = runner.frame()
        self.rows = len(inputs[0] if inputs else outputs[0])
        runner.bind(first, inputs, outputs, states, self.rows)
        self.runner, self.arrays, self.call.members = runner, (inputs, outputs, states), members
        self.arena = runner.arm(first)
        self.frames = [first]
        for _ in range(members - 1):
            frame = Frame(runner)
            memcpy(frame.bases, first.bases, runner.array_count * sizeof(int64_t))
            runner.point(frame, self.arena)
            self.frames.append(frame)

    def work(self, int member):
        """Compute this member's part."""
        if not 0 <= member < len(self.frames):
            raise ValueError(f"expected a member below {len(self.frames)}, found {member}")
        cdef Frame frame = self.frames[member]
        with nogil:
            self.runner.blocks(frame, 0, self.rows, &self.call, member)
        if member == 0 and not self.call.stop:  # all have met after the last instruction: nobody uses the memory any more
            self.runner.arenas.give(self.arena)
            self.runner.keep(frame)
            self.arena = None
