cimport cython
from libc.stdint cimport int64_t

from .call cimport fastlstm_thread


@cython.final
cdef class Guard:
    cdef object __weakref__
    cdef int64_t holder  # the thread that is inside
    cdef bint torn

    cdef inline int enter(self) except -1:
        if self.holder or self.torn:
            self.refuse()
        self.holder = fastlstm_thread()
        return 0

    cdef inline void leave(self) noexcept:
        self.holder = 0

    cdef int refuse(self) except -1
