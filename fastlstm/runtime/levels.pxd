from libc.stdint cimport int64_t

ctypedef void (*kernel_t)(int64_t *) noexcept nogil


cdef class Engine:
    cdef readonly str level
    cdef readonly int lanes
    cdef readonly dict fields  # kernel -> names of its fields
    cdef readonly dict floats  # kernel -> those that are float32
    cdef readonly dict addresses  # kernel -> address
    cdef object keep  # what owns the code
