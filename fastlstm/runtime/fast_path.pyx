"""The fast path: from one array to one array without Python in between, for input of the shape that came last."""

from ..limits import UNLIMITED

cimport cython
cimport numpy as cnp
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy

from .arenas cimport Arena
from .call cimport fastlstm_call
from .guards cimport Guard
from .runner cimport Frame, Runner, fastlstm_ticks

cnp.import_array()

cdef enum:
    AXES = 8
    FLOAT_BYTES = 4
    MOST_VOCABULARY = 0x7FFFFFFF  # ids are int32

#: A FastPath serves inputs and outputs of fewer axes than this, the batch not counted.
FAST_PATH_AXES = AXES


@cython.final
cdef class FastPath:
    """From one array to one array without Python in between, for a Runner of one input and one output.

    Takes what fits as it is: a C-contiguous float32 array, or ids as int32 or int64, of the Program's shape. For everything
    else, and where the output is to go where the input lies, it returns None, and the caller takes the long way.

    A call with states is not interrupted, as they would be left between two timesteps: it should not take long.

    Parameters
    ----------
    runner : Runner
        With one input and one output.
    shape : tuple of int
        Of the input as the caller has it, less the batch: for a stream, less its time axis too.
    output_shape : tuple of int
        Of the output, likewise.
    vocabulary : int
        Ids must be below; 0: the input is float32.
    rows : int
        The number of rows that it must have; 0: any (where there are no states).
    share : callable, optional
        ``share(runner, inputs, outputs)`` has several threads compute a call.
    shared : int
        Nanoseconds of one thread that may be worth it.
    states : list of numpy.ndarray
        Of the Program, read and written in place by every call.
    guard : Guard
        Of the states: one thread at a time may be inside.
    """

    cdef Runner runner
    cdef cnp.npy_intp shape[AXES]
    cdef cnp.npy_intp output_shape[AXES]
    cdef int ndim, output_ndim
    cdef int64_t vocabulary, rows
    cdef object share
    cdef int64_t shared  # nanoseconds
    cdef int64_t brief_rows  # so many are not worth sharing
    cdef int64_t elements, output_elements  # of a row
    cdef list states
    cdef Guard guard
    cdef Frame own  # where there is a guard, as only one thread is inside: the states stay at their place
    cdef fastlstm_call undisturbed  # of which such calls are a part
    cdef public int64_t left  # so many calls more, where there is a guard, before there is no room in the states

    def __init__(
        self, Runner runner not None, tuple shape, tuple output_shape, int64_t vocabulary=0, int64_t rows=0,
        object share=None, int64_t shared=UNLIMITED, list states=None, Guard guard=None,
    ):
        if runner.input_count != 1 or runner.output_count != 1 or max(len(shape), len(output_shape)) >= AXES:
            raise ValueError(f"expected a Runner of one input and one output of fewer than {AXES} axes")
        states = states or []
        if vocabulary > MOST_VOCABULARY or len(states) < runner.state_count or (runner.state_count and (guard is None or rows < 1)):
            raise ValueError("expected a vocabulary below 2**31, all states, and a guard and a number of rows for them")
        self.runner, self.vocabulary, self.rows = runner, vocabulary, rows
        self.share, self.shared = share, UNLIMITED if share is None else shared
        self.brief_rows = runner.pace.brief(self.shared)
        self.left = UNLIMITED
        self.states, self.guard, self.ndim, self.output_ndim = states, guard, len(shape) + 1, len(output_shape) + 1
        self.elements = note_shape(self.shape, shape)
        self.output_elements = note_shape(self.output_shape, output_shape)
        checked = max([info.vocabulary for info in runner.program.buffers if info.kind == "input"])
        sizes = FLOAT_BYTES * self.elements, FLOAT_BYTES * self.output_elements, vocabulary
        if sizes != (runner.row_bytes[0], runner.row_bytes[1], checked):
            raise ValueError(f"expected the shapes and vocabulary of the Runner's arrays, found {shape}, {output_shape} and {vocabulary}")
        cdef int n
        if guard is not None:
            self.own = Frame(runner)
            for n in range(runner.state_count):
                self.own.bases[2 + n] = runner.address(<object>states[n], 2 + n, rows)

    def __call__(self, x, out=None):
        """Return the output for ``x``, in ``out`` if that is given; None where either does not fit."""
        return self.call(x, out)

    cdef object call(self, object x, object out):
        cdef cnp.ndarray array, result
        cdef int64_t rows
        if not cnp.PyArray_CheckExact(x) or not accepts(self, <cnp.ndarray>x):
            return None
        array = <cnp.ndarray>x
        if self.vocabulary:
            array = self._ids(array)
            if array is None:
                return None
        elif cnp.PyArray_TYPE(array) != cnp.NPY_FLOAT32:
            return None
        result = result_for(self, <cnp.ndarray>x, out)
        if result is None:
            return None
        rows = cnp.PyArray_DIM(array, 0)
        if rows > self.brief_rows and self.runner.pace.shares(rows, self.shared):
            self.share(self.runner, [array], [result])
        elif self.guard is None:
            self._compute(array, result)
        else:
            self.guard.enter()
            try:
                if self.left < 1:
                    return None
                self._compute(array, result)
                self.left -= 1
            finally:
                self.guard.leave()
        return result

    cdef cnp.ndarray _ids(self, cnp.ndarray array):
        """Return the ids as int32 if every one of them is within the vocabulary, else None."""
        cdef int64_t size = cnp.PyArray_SIZE(array), i, vocabulary = self.vocabulary
        cdef int32_t *narrow
        cdef int64_t *wide
        cdef uint64_t outside = 0
        cdef cnp.ndarray result
        if cnp.PyArray_TYPE(array) == cnp.NPY_INT32:
            narrow = <int32_t *>cnp.PyArray_DATA(array)
            for i in range(size):
                outside |= <uint64_t>(<uint32_t>narrow[i] >= <uint32_t>vocabulary)
            return None if outside else array
        if cnp.PyArray_TYPE(array) != cnp.NPY_INT64:
            return None
        result = cnp.PyArray_SimpleNew(cnp.PyArray_NDIM(array), cnp.PyArray_DIMS(array), cnp.NPY_INT32)
        narrow, wide = <int32_t *>cnp.PyArray_DATA(result), <int64_t *>cnp.PyArray_DATA(array)
        for i in range(size):
            outside |= <uint64_t>(<uint64_t>wide[i] >= <uint64_t>vocabulary)
            narrow[i] = <int32_t>wide[i]
        return None if outside else result

    cdef inline int _compute(self, cnp.ndarray x, cnp.ndarray y) except -1:
        cdef Runner runner = self.runner
        cdef int64_t rows = cnp.PyArray_DIM(x, 0)
        cdef Frame frame
        if rows > runner.brief_rows:
            return self._compute_long(x, y, rows)
        cdef Arena arena = runner.arenas.at_hand(runner.arena_size)  # first: no Python code may run after this and before the call
        if self.own is not None:
            frame = self.own
        else:
            if runner.idle is None:
                runner.keep(Frame(runner))
            frame = runner.idle
        runner.point(frame, arena)
        frame.bases[0] = <int64_t><uintptr_t>cnp.PyArray_DATA(x)
        frame.bases[1] = <int64_t><uintptr_t>cnp.PyArray_DATA(y)
        return runner.blocks(frame, 0, rows, NULL, 0)

    cdef int _compute_long(self, cnp.ndarray x, cnp.ndarray y, int64_t rows) except -1:
        """The same for work during which other threads may have the GIL."""
        cdef Frame frame = self.runner.frame() if self.own is None else self.own
        cdef Arena arena = self.runner.arm(frame)
        cdef bint timed = rows > self.brief_rows
        cdef int64_t start = fastlstm_ticks() if timed else 0
        frame.bases[0] = <int64_t><uintptr_t>cnp.PyArray_DATA(x)
        frame.bases[1] = <int64_t><uintptr_t>cnp.PyArray_DATA(y)
        try:
            self.runner.compute(frame, 0, rows, NULL if self.own is None else &self.undisturbed)
            if timed:
                self.runner.pace.note(rows, fastlstm_ticks() - start, False)
        finally:
            self.runner.arenas.give(arena)
            if self.own is None:
                self.runner.keep(frame)
        return 0


cdef int64_t note_shape(cnp.npy_intp *noted, tuple shape) except -1:
    """Write a shape down after the place of the batch, and return the elements of a row."""
    cdef int64_t elements = 1
    cdef int n
    for n in range(len(shape)):
        noted[n + 1] = shape[n]
        elements *= noted[n + 1]
    return elements


cdef inline bint accepts(FastPath path, cnp.ndarray x) noexcept:
    """Is an array of the shape and layout that are expected?"""
    cdef cnp.npy_intp rows
    cdef int n
    if cnp.PyArray_NDIM(x) != path.ndim or not cnp.PyArray_ISCARRAY_RO(x):
        return False
    for n in range(1, path.ndim):
        if cnp.PyArray_DIM(x, n) != path.shape[n]:
            return False
    rows = cnp.PyArray_DIM(x, 0)
    return path.rows == 0 or rows == path.rows


cdef inline cnp.ndarray result_for(FastPath path, cnp.ndarray x, object out):
    """Return an array for the output: a new one, or ``out`` if it fits and shares no memory with ``x``, else None."""
    cdef cnp.npy_intp shape[AXES]
    memcpy(shape, path.output_shape, sizeof(shape))
    shape[0] = cnp.PyArray_DIM(x, 0)
    if out is None:
        return cnp.PyArray_SimpleNew(path.output_ndim, shape, cnp.NPY_FLOAT32)
    if not cnp.PyArray_CheckExact(out) or not fits(path, <cnp.ndarray>out, shape) or overlap(x, <cnp.ndarray>out):
        return None
    return <cnp.ndarray>out


cdef inline bint fits(FastPath path, cnp.ndarray out, cnp.npy_intp *shape) noexcept:
    cdef int n
    if cnp.PyArray_TYPE(out) != cnp.NPY_FLOAT32 or not cnp.PyArray_ISCARRAY(out) or cnp.PyArray_NDIM(out) != path.output_ndim:
        return False
    for n in range(path.output_ndim):
        if cnp.PyArray_DIM(out, n) != shape[n]:
            return False
    return True


cdef inline bint overlap(cnp.ndarray a, cnp.ndarray b) noexcept:
    """Do two contiguous arrays share memory?"""
    cdef char *first = cnp.PyArray_BYTES(a)
    cdef char *second = cnp.PyArray_BYTES(b)
    return second < first + cnp.PyArray_NBYTES(a) and first < second + cnp.PyArray_NBYTES(b)


cdef class Stepper:
    """The part of a Stream that every timestep goes through: one call of compiled code where the input fits a FastPath.

    A subclass has ``_step(x_t, rows, out)`` for everything else.
    """

    cdef public FastPath _fast_path

    def step(self, x_t, *, rows=None, out=None):
        """Advance by one timestep.

        Parameters
        ----------
        x_t : array_like
            (batch_size, features), or ids (batch_size,): the model's input less its time axis. Several inputs: a list or
            a dict by name.
        rows : array_like of int, optional
            Numbers of the rows that have data; ``x_t`` holds just those, and only they advance. All rows by default.
        out : numpy.ndarray, optional
            Array for the result, where the model has one output.

        Returns
        -------
        numpy.ndarray, list or dict
            The model's outputs, (batch_size, units) each, or a row for each of ``rows``.

        Raises
        ------
        InputError
            If the input does not fit, or another thread or a call that a signal handler interrupts is inside.
        """
        if rows is None and self._fast_path is not None:
            y = self._fast_path.call(x_t, out)
            if y is not None:
                return y
        return self._step(x_t, rows, out)
