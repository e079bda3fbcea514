# The shortest ways from Python to a Runner. Part of runtime.pyx.

#: An Entry serves inputs and outputs of up to so many axes, the batch among them.
ENTRY_AXES = 8


@cython.final
cdef class Guard:
    """Lets one thread in, and tells a second one so instead of having it wait: ``with guard: ...``

    In a forked process nobody is in but the thread that forked. Where another one was, what the guard protects may be half
    done: it lets in only who does all of it anew, ``with guard.anew: ...``
    """

    cdef object __weakref__
    cdef int64_t holder  # the thread that is inside
    cdef bint torn

    def __init__(self):
        in_child(self, Guard.put_right)

    cdef inline int take(self) except -1:
        if self.holder or self.torn:
            self.refuse()
        self.holder = fastlstm_thread()
        return 0

    cdef int refuse(self) except -1:
        if self.holder == fastlstm_thread():
            raise InputError(
                "this Stream is in use by this very thread, in the middle of a call (by a signal handler, or a function that the model "
                "calls); use it when that call is done, or another one (Model.stream, or Stream.copy before the call)"
            )
        if self.holder:
            raise InputError("this Stream is in use by another thread; give each thread its own (Model.stream, Stream.copy)")
        raise InputError(
            "another thread was using this Stream when the process was forked, and its states may be half of one timestep and half of the "
            "next; begin anew with reset() or load_state(), or copy the Stream before the fork"
        )

    def put_right(self):
        """In a forked process: the other threads are not there."""
        if self.holder and self.holder != fastlstm_thread():
            self.holder, self.torn = 0, True

    def __enter__(self):
        self.take()

    def __exit__(self, *error):
        self.holder = 0

    @property
    def anew(self):
        """The guard, for one who makes whole what may be half done."""
        return Anew(self)


@cython.final
cdef class Anew:
    cdef Guard guard

    def __init__(self, Guard guard):
        self.guard = guard

    def __enter__(self):
        if self.guard.holder:
            self.guard.refuse()
        self.guard.holder = fastlstm_thread()

    def __exit__(self, kind, *error):
        self.guard.holder = 0
        if kind is None:
            self.guard.torn = False


@cython.final
cdef class Turns:
    """Has threads take turns: ``with turns: ...`` A thread that is in already is told so, as it would wait for itself for ever.

    In a forked process it is nobody's turn but that of the thread that forked.

    Parameters
    ----------
    what : str
        What they take turns with, for the message.
    """

    cdef object __weakref__
    cdef object lock
    cdef str what
    cdef int64_t holder  # the thread whose turn it is

    def __init__(self, str what not None):
        self.what, self.lock = what, threading.Lock()
        in_child(self, Turns.put_right)

    def put_right(self):
        """In a forked process: the other threads are not there."""
        if self.holder != fastlstm_thread():
            self.holder, self.lock = 0, threading.Lock()

    def __enter__(self):
        if self.holder == fastlstm_thread():
            raise InputError(
                f"{self.what} is in use by this very thread, in the middle of a call (by a signal handler, or a function that the model "
                "calls); call it when that call is done"
            )
        self.lock.acquire()
        self.holder = fastlstm_thread()

    def __exit__(self, *error):
        self.holder = 0
        self.lock.release()


def replace(list arrays not None, list values not None, where=...):
    """Write new values into arrays, at those places: all or none, as nobody interrupts C."""
    for array, value in zip(arrays, values):
        array[where] = value


@cython.final
cdef class Entry:
    """From one array to one array without Python in between, for a Runner of one input and one output.

    Takes what fits at once: a C-contiguous float32 array, or ids as int32 or int64, of the Program's shape. For everything
    else, and where the output is to go where the input lies, it returns None, and the caller does it the long way.

    With states a call is not interrupted, as they would be left between two timesteps: it should not take long.

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
    most_rows : int
        The most rows that it takes.
    states : list of numpy.ndarray
        Of the Program, read and written in place by every call.
    guard : Guard
        Of the states: one thread at a time may be inside.
    """

    cdef Runner runner
    cdef cnp.npy_intp shape[8]
    cdef cnp.npy_intp output_shape[8]
    cdef int ndim, output_ndim
    cdef int64_t vocabulary, rows, most_rows
    cdef int64_t elements, output_elements  # of a row
    cdef list states
    cdef Guard guard
    cdef Frame own  # with a guard, as only one thread is inside: the states are at the same place every time
    cdef fastlstm_call undisturbed  # what such calls are a part of

    def __init__(
        self, Runner runner not None, tuple shape, tuple output_shape, int64_t vocabulary=0, int64_t rows=0,
        int64_t most_rows=1 << 40, list states=None, Guard guard=None,
    ):
        if runner.input_count != 1 or runner.output_count != 1 or max(len(shape), len(output_shape)) >= ENTRY_AXES:
            raise ValueError(f"expected a Runner of one input and one output of at most {ENTRY_AXES} axes")
        states = states or []
        if vocabulary >= 1 << 31 or len(states) < runner.state_count or (runner.state_count and (guard is None or rows < 1)):
            raise ValueError("expected a vocabulary below 2**31, all states, and a guard and a number of rows for them")
        self.runner, self.vocabulary, self.rows, self.most_rows = runner, vocabulary, rows, most_rows
        self.states, self.guard, self.ndim, self.output_ndim = states, guard, len(shape) + 1, len(output_shape) + 1
        cdef int n
        self.elements = self.output_elements = 1
        for n in range(len(shape)):
            self.shape[n + 1] = shape[n]
            self.elements *= shape[n]
        for n in range(len(output_shape)):
            self.output_shape[n + 1] = output_shape[n]
            self.output_elements *= output_shape[n]
        checked = max([info.vocabulary for info in runner.program.buffers if info.kind == "input"])
        if 4 * self.elements != runner.row_bytes[0] or 4 * self.output_elements != runner.row_bytes[1] or vocabulary != checked:
            raise ValueError(f"expected the shapes and vocabulary of the Runner's arrays, found {shape}, {output_shape} and {vocabulary}")
        if guard is not None:
            self.own = Frame(runner)
            for n in range(runner.state_count):
                self.own.bases[2 + n] = runner._address(<object>states[n], 2 + n, rows)

    def __call__(self, x, out=None):
        """The output for ``x``, in ``out`` if that fits too; None if anything does not fit."""
        return self.call(x, out)

    cdef object call(self, object x, object out):
        cdef cnp.ndarray array, result
        cdef cnp.npy_intp rows
        cdef cnp.npy_intp shape[8]
        cdef int n, kind, itemsize
        cdef char *first
        cdef char *written
        cdef Frame frame
        if not cnp.PyArray_CheckExact(x):
            return None
        array = x
        if cnp.PyArray_NDIM(array) != self.ndim or not cnp.PyArray_ISCARRAY_RO(array):
            return None
        for n in range(1, self.ndim):
            if cnp.PyArray_DIM(array, n) != self.shape[n]:
                return None
        rows = cnp.PyArray_DIM(array, 0)
        if rows > self.most_rows or (self.rows and rows != self.rows):
            return None
        kind = cnp.PyArray_TYPE(array)
        if self.vocabulary:
            array = self._ids(array, kind)
            if array is None:
                return None
        elif kind != cnp.NPY_FLOAT32:
            return None
        memcpy(shape, self.output_shape, sizeof(shape))
        shape[0] = rows
        if out is None:
            result = cnp.PyArray_SimpleNew(self.output_ndim, shape, cnp.NPY_FLOAT32)
        else:
            if not self._fits(out, shape):
                return None
            result = out
            first, written = cnp.PyArray_BYTES(<cnp.ndarray>x), cnp.PyArray_BYTES(result)
            itemsize = 8 if kind == cnp.NPY_INT64 else 4
            if written < first + rows * self.elements * itemsize and first < written + rows * self.output_elements * 4:
                return None  # what is written would be read
        if self.guard is None:
            self._compute(array, result, rows)
        else:
            self.guard.take()
            try:
                self._compute(array, result, rows)
            finally:
                self.guard.holder = 0
        return result

    cdef inline int _compute(self, cnp.ndarray x, cnp.ndarray y, int64_t rows) except -1:
        cdef Runner runner = self.runner
        cdef Frame frame
        if rows > runner.brief_rows:
            return self._compute_long(x, y, rows)
        cdef Arena arena = runner.arenas.at_hand(runner.arena_size)  # first: nothing that is made here may come between
        if self.own is not None:
            frame = self.own
        else:
            if runner.idle is None:
                runner._keep(Frame(runner))
            frame = runner.idle
        runner._point(frame, arena)
        frame.bases[0] = <int64_t><uintptr_t>cnp.PyArray_DATA(x)
        frame.bases[1] = <int64_t><uintptr_t>cnp.PyArray_DATA(y)
        return runner._blocks(frame, 0, rows, NULL, 0)

    cdef int _compute_long(self, cnp.ndarray x, cnp.ndarray y, int64_t rows) except -1:
        """The same where others may run meanwhile."""
        cdef Frame frame = self.runner._frame() if self.own is None else self.own
        cdef Arena arena = self.runner._arm(frame)
        frame.bases[0] = <int64_t><uintptr_t>cnp.PyArray_DATA(x)
        frame.bases[1] = <int64_t><uintptr_t>cnp.PyArray_DATA(y)
        try:
            self.runner._compute(frame, 0, rows, NULL if self.own is None else &self.undisturbed)
        finally:
            self.runner.arenas.give(arena)
            if self.own is None:
                self.runner._keep(frame)
        return 0

    cdef bint _fits(self, object out, cnp.npy_intp *shape):
        if not cnp.PyArray_CheckExact(out):
            return False
        cdef cnp.ndarray array = out
        cdef int n
        if cnp.PyArray_TYPE(array) != cnp.NPY_FLOAT32 or not cnp.PyArray_ISCARRAY(array) or cnp.PyArray_NDIM(array) != self.output_ndim:
            return False
        for n in range(self.output_ndim):
            if cnp.PyArray_DIM(array, n) != shape[n]:
                return False
        return True

    cdef cnp.ndarray _ids(self, cnp.ndarray array, int kind):
        """The ids as int32, every one of them within the vocabulary; None if they are not."""
        cdef int64_t size = cnp.PyArray_SIZE(array), i, vocabulary = self.vocabulary
        cdef int32_t *narrow
        cdef int64_t *wide
        cdef uint64_t outside = 0
        cdef cnp.ndarray result
        if kind == cnp.NPY_INT32:
            narrow = <int32_t *>cnp.PyArray_DATA(array)
            for i in range(size):
                outside |= <uint64_t>(<uint32_t>narrow[i] >= <uint32_t>vocabulary)
            return None if outside else array
        if kind != cnp.NPY_INT64:
            return None
        result = cnp.PyArray_SimpleNew(cnp.PyArray_NDIM(array), cnp.PyArray_DIMS(array), cnp.NPY_INT32)
        narrow, wide = <int32_t *>cnp.PyArray_DATA(result), <int64_t *>cnp.PyArray_DATA(array)
        for i in range(size):
            outside |= <uint64_t>(<uint64_t>wide[i] >= <uint64_t>vocabulary)
            narrow[i] = <int32_t>wide[i]
        return None if outside else result


cdef class Stepper:
    """The part of a Stream that is called once for every timestep: one call into C where the input fits an Entry."""

    cdef public Entry _entry

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
        if rows is None and self._entry is not None:
            y = self._entry.call(x_t, out)
            if y is not None:
                return y
        return self._step(x_t, rows, out)
