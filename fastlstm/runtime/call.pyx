"""One running call, as the threads that compute it see it: call.h has how it treats tiny numbers, is interrupted and waits."""

import threading

from ..forking import in_child

from libc.stdint cimport int64_t
from libc.string cimport memset

#: Python tells the main thread alone of interruptions.
cdef int64_t main_thread = threading.main_thread().ident


cdef void begin(fastlstm_call *call) noexcept:
    """Make a call ready that the current thread begins."""
    memset(call, 0, sizeof(fastlstm_call))
    if fastlstm_thread() == main_thread:
        call.asker = main_thread


cdef class Watch:
    """Lets the threads that compute parts of one call be told to leave it. Made by the thread that begins the call."""

    def __cinit__(self):
        begin(&self.call)

    def stop(self):
        """Have them leave, as their results are worthless. Those that have not begun do not begin."""
        fastlstm_stop(&self.call)


def _put_right(kind):
    """In a forked process the thread that forked is the main one."""
    global main_thread
    main_thread = fastlstm_thread()


in_child(Watch, _put_right)
