# Several threads that run one Runner over the same rows, dividing the units of its recurrent layers. Part of runtime.pyx.


cdef class Crew(Watch):
    """One computation by several threads, each of which calls :meth:`work` once.

    Parameters
    ----------
    runner : Runner
        Of a Program that ``members`` threads may compute together.
    inputs, outputs, states : lists of numpy.ndarray
        As for :meth:`Runner.run`; all rows are computed.
    members : int
        How many threads. All of them must come to :meth:`work`, or somebody to :meth:`stop`.
    """

    cdef Runner runner
    cdef list frames
    cdef Arena arena
    cdef tuple arrays  # kept while somebody works on them
    cdef int64_t rows

    def __init__(self, Runner runner not None, list inputs not None, list outputs not None, list states not None, int members):
        cdef Frame first, frame
        if not 2 <= members <= runner.program.members:
            raise ValueError(f"expected 2 to {runner.program.members} members, found {members}")
        first = runner._frame()
        self.rows = len(inputs[0] if inputs else outputs[0])
        runner._bind(first, inputs, outputs, states, self.rows)
        self.runner, self.arrays, self.call.members = runner, (inputs, outputs, states), members
        self.arena = runner._arm(first)
        self.frames = [first]
        for _ in range(members - 1):
            frame = Frame(runner)
            memcpy(frame.bases, first.bases, runner.array_count * sizeof(int64_t))
            runner._point(frame, self.arena)
            self.frames.append(frame)

    def work(self, int member):
        """Compute what is this member's."""
        if not 0 <= member < len(self.frames):
            raise ValueError(f"expected a member below {len(self.frames)}, found {member}")
        cdef Frame frame = self.frames[member]
        with nogil:
            self.runner._blocks(frame, 0, self.rows, &self.call, member)
        if member == 0 and not self.call.stop:  # nobody touches its memory any more: all have met behind the last instruction
            self.runner.arenas.give(self.arena)
            self.runner._keep(frame)
            self.arena = None
