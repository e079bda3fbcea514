"""The kernels of every CPU level that was built, or compiled just in time for this very CPU, and the choice among them.

This module alone is linked with the kernels' object files.
"""

import os
import threading

from ..errors import KernelError
from ..forking import in_child
from ..program.contracts import CONTRACTS

from libc.stdint cimport uintptr_t

cdef extern from "kernel_table.h" nogil:
    const int FASTLSTM_LEVELS
    const int FASTLSTM_KERNELS
    const char *fastlstm_level_names[]
    const int fastlstm_level_lanes[]
    const char *fastlstm_kernel_names[]
    const char *fastlstm_kernel_fields[]
    kernel_t fastlstm_kernel_table[]
    int fastlstm_cpu_has(int level)
    int fastlstm_cpu_has_amx()
    int fastlstm_ask_for_amx()


cdef class Engine:
    """The kernels of one CPU level.

    Attributes
    ----------
    level : str
        ``v2``, ``v3``, ``v4``, ``baseline`` or ``jit``.
    lanes : int
        Floats in a vector; weights are packed for it.
    fields : dict of str to tuple of str
        The names of each kernel's fields, in order.
    floats : dict of str to frozenset of str
        Those of them that are a float32.
    addresses : dict of str to int
        Where each kernel's code lies.
    """

    def __init__(self, str level, int lanes, dict kernels, dict addresses, object keep=None):
        if kernels != {name: contract.described for name, contract in CONTRACTS.items()}:
            raise KernelError(f"the kernels of level {level} were built from other sources than those beside them; build fastlstm again")
        self.level, self.lanes, self.addresses, self.keep = level, lanes, addresses, keep
        self.fields = {name: tuple(field.partition(":")[0] for field in fields) for name, fields in kernels.items()}
        self.floats = {
            name: frozenset(field.partition(":")[0] for field in fields if field.endswith(":float")) for name, fields in kernels.items()
        }

    def __repr__(self):
        return f"<fastlstm.runtime.Engine {self.level}: {self.lanes} lanes>"

    def __reduce__(self):
        return engine, (self.level,)


def _built(int number):
    """Return the kernels of one level that this installation was built with."""
    cdef int k
    kernels, addresses = {}, {}
    for k in range(FASTLSTM_KERNELS):
        name = fastlstm_kernel_names[k].decode()
        kernels[name] = fastlstm_kernel_fields[k].decode().split()
        addresses[name] = <uintptr_t>fastlstm_kernel_table[number * FASTLSTM_KERNELS + k]
    return Engine(fastlstm_level_names[number].decode(), fastlstm_level_lanes[number], kernels, addresses)


def _just_in_time():
    """Return kernels compiled now, for this very CPU."""
    try:
        from ..kernels import jit
    except ImportError as error:
        raise KernelError(f"FASTLSTM_KERNELS=jit needs Numba: pip install 'fastlstm[jit]' ({error})") from error
    lanes, kernels, addresses, keep = jit.load()
    return Engine("jit", lanes, kernels, addresses, keep)


_engines = {}
_engines_lock = threading.RLock()  # a signal handler may ask in the middle of asking


def _put_right(kind):
    """In a forked process nobody else holds the lock."""
    global _engines_lock
    _engines_lock = threading.RLock()


in_child(Engine, _put_right)


def available_levels():
    """Return the names of the built levels that this CPU can run, lowest first.

    Returns
    -------
    tuple of str
    """
    return tuple(fastlstm_level_names[n].decode() for n in range(FASTLSTM_LEVELS) if fastlstm_cpu_has(n))


def engine(str level=None):
    """Return the kernels of a level: by default the one that ``FASTLSTM_KERNELS`` names, or else the highest that this CPU has.

    Parameters
    ----------
    level : str, optional
        ``v2``, ``v3``, ``v4``, ``baseline`` or ``jit``.

    Returns
    -------
    Engine

    Raises
    ------
    KernelError
        If the CPU lacks that level, or the installation does.
    """
    asked = "level"
    if level is None:
        asked = "FASTLSTM_KERNELS"
        level = os.environ.get("FASTLSTM_KERNELS") or None
    usable = available_levels()
    if level is None:
        if not usable:
            raise KernelError("this CPU has none of the levels that fastlstm was built for: " + ", ".join(_built_names()))
        level = usable[len(usable) - 1]  # compiled without wraparound: -1 would not count from the end
    with _engines_lock:
        if level not in _engines:
            if level == "jit":
                _engines[level] = _just_in_time()
            elif level in usable:
                _engines[level] = _built(_built_names().index(level))
            elif level in _built_names():
                raise KernelError(f"{asked}={level}: this CPU lacks it; it can run {', '.join(usable) or 'none'}, or jit")
            else:
                raise KernelError(f"{asked}={level}: expected {', '.join(_built_names())} or jit")
        return _engines[level]


def _built_names():
    return [fastlstm_level_names[n].decode() for n in range(FASTLSTM_LEVELS)]


def amx_refused():
    """Ask for AMX, which this process may use from then on.

    Returns
    -------
    str
        Why it may not; empty if it may.
    """
    if not fastlstm_cpu_has_amx():
        return "this CPU has no AMX"
    name = engine().level
    if name not in ("v4", "jit"):
        return f"the kernels are those of level {name}, without AMX"
    code = fastlstm_ask_for_amx()
    if code == 0:
        return ""
    return f"the system does not let this process use AMX ({os.strerror(code) if code > 0 else 'this is not Linux'})"


def level():
    """Return the name of the level in use."""
    return engine().level


def lanes():
    """Return how many floats a vector of the level in use has."""
    return engine().lanes


def kernel_fields():
    """Return the names of each kernel's fields, in order.

    Returns
    -------
    dict of str to tuple of str
    """
    return dict(engine().fields)
