from libc.stdint cimport int64_t, uint64_t

cdef extern from "call.h" nogil:
    ctypedef struct fastlstm_call:
        int64_t stop
        int64_t members
        int64_t asker
        uint64_t floats

    uint64_t fastlstm_floats()
    void fastlstm_flush(uint64_t floats)
    void fastlstm_set_floats(uint64_t floats)
    int64_t fastlstm_thread()
    void fastlstm_stop(fastlstm_call *call)
    void fastlstm_look(int64_t address)
    int fastlstm_interrupted(fastlstm_call *call) except -1
    void fastlstm_meet(int64_t address)


cdef void begin(fastlstm_call *call) noexcept


cdef class Watch:
    cdef fastlstm_call call
