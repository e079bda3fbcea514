"""What a kernel's contract is: the fields that it is given, and what it touches at every address among them, as a function of the others.

The contracts themselves are in ``contracts/``, a file for each of ``kernels/``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from . import layout
from .layout import FLOAT, HALF

#: Bytes of an id, and of an element of a mask.
ID, FLAG = 4, 1

#: Axes of the kernels ``rearrange`` and ``binary``, less the batch.
MOST_AXES = 5

#: Fields that say how many there are of something: at least one.
AXES = tuple(f"n{axis}" for axis in range(MOST_AXES))
COUNTS = frozenset({"steps", "features", "units", "size", "times", "width", "outer", "inner", "m", "k", "n", *AXES})
#: Fields that may be negative. Both are by name, for all kernels; a contract names further ones of its own.
SIGNED = frozenset({"x_step", "y_step", *(f"{array}{axis}" for array in "xy" for axis in range(MOST_AXES))})
#: Of kernels that several threads compute together: this thread's number among how many (0 and 0: alone), and the address of the
#: function with which they wait for each other, with its argument.
TEAM = ("member", "members", "meet", "team")
#: Of kernels that may take long: the address of an int64 that is not 0 once the call is to be left (no address, 0: the call is
#: brief), and the address of a function to be called now and then with that one as its argument.
WATCH = ("watch", "look")


class Span(NamedTuple):
    """The part of an array that is touched in each row: elements from ``first`` on to before ``last``."""

    row: int  # elements from row to row; 0: all rows touch the same
    first: int
    last: int
    size: int = FLOAT  # bytes of an element


class Room(NamedTuple):
    """Scratch that a kernel divides up itself."""

    row_bytes: int
    fixed_bytes: int


class Contract(NamedTuple):
    """A kernel: ``void kernel(int64_t *fields)``, and what it may rely on.

    Attributes
    ----------
    fields
        In the order of the struct, 8 bytes each.
    floats
        Those that are a float32 in the low 4 bytes; all others are integers or addresses.
    reads, writes
        Those that are addresses.
    optional
        Those addresses that may be null.
    given
        Those that the runtime fills in.
    needs
        Pairs of addresses: without the second, the first must be null.
    counts, signed
        Those that are at least one, and those that may be negative.
    extents
        (fields, lanes) -> what is touched at each address. Fields are attributes: numbers as they are, addresses as truth values; and
        ``members`` is how many threads compute it together.
    """

    name: str
    fields: tuple[str, ...]
    floats: frozenset[str]
    reads: frozenset[str]
    writes: frozenset[str]
    optional: frozenset[str]
    given: frozenset[str]
    needs: tuple[tuple[str, str], ...]
    counts: frozenset[str]
    signed: frozenset[str]
    extents: Callable[[Any, int], Mapping[str, Span | Room]]

    @property
    def described(self) -> list[str]:
        """The fields as the build writes them down."""
        return [f"{name}:float" if name in self.floats else name for name in self.fields]


Extents = Callable[[Any, int], Mapping[str, Span | Room]]
#: Every contract by the kernel's name.
CONTRACTS: dict[str, Contract] = {}


def declared(
    *fields: str,
    reads: tuple[str, ...],
    writes: tuple[str, ...],
    optional: tuple[str, ...] = (),
    floats: tuple[str, ...] = (),
    needs: tuple[tuple[str, str], ...] = (),
    counts: tuple[str, ...] = (),
    signed: tuple[str, ...] = (),
) -> Callable[[Extents], Extents]:
    """Declare the kernel of a function's name, whose extents the function tells."""

    def decorate(extents: Extents) -> Extents:
        given = frozenset(fields) & {"rows", *TEAM, *WATCH}
        CONTRACTS[extents.__name__] = Contract(
            name=extents.__name__,
            fields=fields,
            floats=frozenset(floats),
            reads=frozenset(reads),
            writes=frozenset(writes),
            optional=frozenset(optional),
            given=given,
            needs=needs,
            counts=COUNTS.intersection(fields).union(counts),
            signed=SIGNED.intersection(fields).union(signed),
            extents=extents,
        )
        return extents

    return decorate


def weights(form: int, size: int, columns: int) -> Span:
    """Packed weights of so many k and columns."""
    return Span(0, 0, layout.weights_count(form, size, columns), FLOAT if form == layout.FULL else HALF)


def strided(row: int, steps: int, step: int, width: int) -> Span:
    """``steps`` pieces of ``width`` floats in each row, ``step`` floats from one to the next, forwards or backwards."""
    reach = (steps - 1) * step
    return Span(row, min(reach, 0), max(reach, 0) + width)


def steps_along(name: str) -> tuple[str, ...]:
    """The fields with the steps of an array along the axes."""
    return tuple(f"{name}{axis}" for axis in range(MOST_AXES))


def spread(f: Any, name: str, row: int) -> Span:
    """What is touched of an array by its steps along the axes, each forwards or backwards."""
    reaches = [(getattr(f, count) - 1) * getattr(f, step) for count, step in zip(AXES, steps_along(name), strict=True)]
    return Span(row, sum(min(reach, 0) for reach in reaches), sum(max(reach, 0) for reach in reaches) + 1)


def flat(size: int) -> Span:
    """All of rows of ``size`` floats that lie one after the other."""
    return Span(size, 0, size)
