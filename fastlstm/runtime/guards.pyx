"""One thread at a time may use what a call changes; a second is told so where waiting would be wrong or endless."""

import threading

from ..errors import InputError
from ..forking import in_child

cimport cython
from libc.stdint cimport int64_t

from .call cimport fastlstm_thread


@cython.final
cdef class Guard:
    """Lets one thread in, and refuses a second one instead of having it wait: ``with guard: ...``

    In a forked process nobody is inside except the thread that forked. Where another one was, what the guard protects may be half
    done: then only a thread that makes all of it anew is let in, ``with guard.anew: ...``
    """

    def __init__(self):
        in_child(self, Guard.put_right)

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
        """In a forked process, note that the other threads are gone."""
        if self.holder and self.holder != fastlstm_thread():
            self.holder, self.torn = 0, True

    def __enter__(self):
        self.enter()

    def __exit__(self, *error):
        self.leave()

    @property
    def anew(self):
        """The guard, for a thread that makes whole whatever may be half done."""
        return Anew(self)


@cython.final
cdef class Anew:
    """A Guard that lets in a thread even though what it protects may be half done."""

    cdef Guard guard

    def __init__(self, Guard guard not None):
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
    """Has threads take turns: ``with turns: ...`` A thread that is inside already is refused, as it would wait for itself for ever.

    In a forked process nobody is inside except the thread that forked.

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
        """In a forked process, note that the other threads are gone."""
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
    """Write new values into arrays, at those places: all or none, as no signal handler interrupts compiled code."""
    for array, value in zip(arrays, values):
        array[where] = value
