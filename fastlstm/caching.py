"""Packed weights kept in files, and mapped: the next process neither reads nor packs them, and all processes share one copy in memory.

A file holds the arrays of one model, as they are stored and as they are packed for one CPU level. It is made beside its place and
renamed, and never written to again. Before anything in it is used it is proven to be this user's own, to be of this very model and
package, and to be whole: a checksum covers every byte. Whatever is wrong with it, or with the folder, the model is loaded without it.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import stat
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from .program.layout import ALIGNMENT

#: The environment variable that names the folder, or says one of ON or OFF.
VARIABLE = "FASTLSTM_CACHE"
ON, OFF = ("on", "1", "true", "yes"), ("off", "0", "false", "no")
SUFFIX = ".panels"
MAGIC = b"FASTLSTM"
#: MAGIC, the checksum of all that follows it, bytes of the file, bytes of the JSON that says what is in it.
HEAD = struct.Struct("<8sQQQ")
SUMMED_FROM = 16
#: The dtypes that arrays of models and packed weights have.
DTYPES = frozenset({"<f4", "<f8", "|i1", "|b1", "|u1", "<u2", "<i8"})
#: Arrays that take fewer bytes are packed sooner than a file is opened and proven.
LEAST_BYTES = 1 << 20
#: Bytes that all files take together at most; those that were not used for the longest time are dropped first.
MOST_BYTES = 2 << 30
#: A model that changed less than so many seconds ago may change again without its times telling.
SETTLED = 2.0
#: Bytes that are read and summed at once, and the words of a row of the checksum.
CHUNK, ROW = 1 << 17, 512
#: Odd, so that nothing is lost in multiplying by it.
FACTOR = 0x9E3779B97F4A7C15
WORD = (1 << 64) - 1
PACKAGE = os.path.dirname(os.path.abspath(__file__))
#: The folders whose code decides how weights are packed.
PACKING = ("", "layers", "operations", "program")
#: What may be wrong with a file or its folder.
WRONG = (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError, struct.error, MemoryError)


def folder() -> str | None:
    """Where files are kept: the folder that FASTLSTM_CACHE names, or the user's cache folder; None where nothing is to be kept."""
    given = os.environ.get(VARIABLE, "")
    if given.lower() in OFF:
        return None
    if given and given.lower() not in ON:
        return os.path.abspath(given)
    home = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    if not home:
        user = os.path.expanduser("~")
        if user == "~":  # there is no home
            return None
        home = os.path.join(user, ".cache")
    return os.path.join(home, "fastlstm")


def wanted(asked: bool | None) -> bool:
    """Are weights to be kept: as ``load(cache=)`` asks, or, where that says nothing, as FASTLSTM_CACHE does?"""
    said = os.environ.get(VARIABLE, "").lower()
    return said not in OFF and (bool(said) if asked is None else asked)


class Kept:
    """The arrays of a model: those of a file, where there is a sound one, and those that are made.

    Parameters
    ----------
    path
        The model's.
    described
        What else decides how its weights are packed.

    Attributes
    ----------
    mapped : dict
        The arrays of the file, by name; empty where there is none.
    """

    def __init__(self, path: str, *described: Any):
        self.mapped: dict[str, np.ndarray] = {}
        self._made: dict[str, np.ndarray] = {}
        self._model, self._path = path, ""
        self._identity: list[Any] = []
        with suppress(*WRONG):
            self._identity = [*stamp(path), *sources(), *described]
            self._path = place(self._identity)
            self.mapped = opened(self._path, self._identity)

    def confirm(self) -> None:
        """Once the model's file is open: use nothing that was kept if another file has taken its place meanwhile."""
        with suppress(*WRONG):
            if self._identity[: len(STAMP)] == stamp(self._model):
                return
        self.mapped, self._path = {}, ""

    def array(self, name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """An array by name: that of the file, or what ``make`` makes."""
        found = self.mapped.get(name)
        if found is None:
            found = make()
            if not self.mapped and self._path:
                self._made[name] = found
        return found

    def write(self) -> None:
        """Keep what was made for the next process, where that pays and can be done; after this, nothing more is kept."""
        made, self._made, path, self._path = self._made, {}, self._path, ""
        if path and sum(array.nbytes for array in made.values()) >= LEAST_BYTES:
            with suppress(*WRONG):
                if time.time() - self._identity[3] / 1e9 > SETTLED and self._identity[: len(STAMP)] == stamp(self._model):
                    write(path, self._identity, made)
                    bound(os.path.dirname(path))


# -- what a file is of ----------------------------------------------------------------------------------------------------

#: What stands in the first places of an identity.
STAMP = ("path", "size", "modified", "changed", "inode", "device")


def stamp(path: str) -> list[Any]:
    """What the system says of a model's file. Its status changes, by the system's own clock, whenever it is written to.

    But for what a process writes into it through a shared mapping, which may show late.
    """
    found = os.stat(path)
    return [os.path.realpath(path), found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev]


def sources() -> list[Any]:
    """What tells one state of the code that packs weights from another: names, sizes and times of its files, and NumPy's version."""
    files = [one for room in PACKING for one in os.scandir(os.path.join(PACKAGE, room)) if one.name.endswith(".py")]
    found = [(one.name, one.stat().st_size, one.stat().st_mtime_ns) for one in files]
    return [np.__version__, checksum(pieces(np.frombuffer(repr(sorted(found)).encode(), np.uint8)))]


def place(identity: list[Any]) -> str:
    """The path of a file of this identity. Two may have one name: what is in the file decides."""
    where = folder()
    if where is None:
        raise ValueError("nothing is to be kept")
    told = json.dumps(identity).encode()
    return os.path.join(where, f"{checksum(pieces(np.frombuffer(told, np.uint8))):016x}{SUFFIX}")


# -- reading --------------------------------------------------------------------------------------------------------------


def opened(path: str, identity: list[Any]) -> dict[str, np.ndarray]:
    """The arrays of a file, mapped; none where it is of something else.

    Raises
    ------
    OSError, ValueError
        If there is none, or it is not sound.
    """
    own(os.lstat(os.path.dirname(path)), stat.S_ISDIR)
    descriptor = os.open(path, os.O_RDONLY | flags("O_NOFOLLOW", "O_CLOEXEC", "O_NONBLOCK", "O_BINARY"))
    try:
        found = os.fstat(descriptor)
        own(found, stat.S_ISREG)
        magic, told, size, length = HEAD.unpack(os.read(descriptor, HEAD.size))
        if magic != MAGIC or size != found.st_size or not 0 < length <= size - HEAD.size:
            raise ValueError("not a whole file")
        if told != checksum(chunks(descriptor, size)):
            raise ValueError("damaged")
        pages = mmap.mmap(descriptor, size, access=mmap.ACCESS_READ)
        with suppress(OSError):
            os.utime(descriptor if os.utime in os.supports_fd else path)  # it was used
    finally:
        os.close(descriptor)
    header = json.loads(pages[HEAD.size : HEAD.size + length])
    return {name: array(pages, *rest) for name, *rest in header["arrays"]} if header["identity"] == identity else {}


def flags(*names: str) -> int:
    """Those of the flags of ``os.open`` that this system has."""
    return sum(getattr(os, name, 0) for name in names)


def own(found: os.stat_result, kind: Callable[[int], bool]) -> None:
    """Refuse what is of another kind, of somebody else, or for somebody else to write."""
    if not kind(found.st_mode) or (hasattr(os, "geteuid") and (found.st_uid != os.geteuid() or found.st_mode & 0o022)):
        raise ValueError("not this user's own")


def array(pages: mmap.mmap, dtype: str, shape: list[int], offset: int) -> np.ndarray:
    """One array, where it lies."""
    if dtype not in DTYPES or offset % ALIGNMENT or offset < 0 or any(size < 0 for size in shape):
        raise ValueError("no array")
    return np.frombuffer(pages, dtype, math.prod(shape), offset).reshape(shape)


def chunks(descriptor: int, size: int) -> Iterator[np.ndarray]:
    """The bytes that a checksum covers. They are read, not mapped: a process that touches pages has them."""
    os.lseek(descriptor, SUMMED_FROM, os.SEEK_SET)
    buffer = np.zeros(CHUNK, np.uint8)
    left = size - SUMMED_FROM
    with open(descriptor, "rb", buffering=0, closefd=False) as file:
        while left:
            count = file.readinto(buffer[: min(CHUNK, left)].data)
            if not count:
                raise ValueError("it has become shorter")
            left -= count
            if left and count < CHUNK:
                raise ValueError("it cannot be read in one go")
            full = filled(count, 8 * ROW)
            buffer[count:full] = 0
            yield buffer[:full]


def checksum(all_bytes: Iterator[np.ndarray]) -> int:
    """A number of 64 bits that another one takes the place of if bytes change, or lie elsewhere. It is no proof against intent."""
    total = 0
    for piece in all_bytes:
        for one in np.add.reduce(piece.view(np.uint64).reshape(-1, ROW) * WEIGHTS, axis=1).tolist():
            total = (total * FACTOR + one + 1) & WORD
    return total


#: By place in a row; odd.
WEIGHTS = np.arange(1, 2 * ROW, 2, dtype=np.uint64) * np.uint64(FACTOR)


# -- writing --------------------------------------------------------------------------------------------------------------


def write(path: str, identity: list[Any], arrays: dict[str, np.ndarray]) -> None:
    """Make the file, beside its place, and rename it.

    Raises
    ------
    OSError, ValueError
        If it cannot be made; nothing is left behind.
    """
    where = os.path.dirname(path)
    os.makedirs(where, 0o700, exist_ok=True)
    own(os.lstat(where), stat.S_ISDIR)
    data = content(identity, arrays)
    partial = f"{path}.{os.getpid()}.{os.urandom(4).hex()}"
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | flags("O_BINARY"), 0o600)
    try:
        with open(descriptor, "wb", buffering=0) as file:
            left = data.data
            while left:
                left = left[file.write(left) :]
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(partial)
        raise


def content(identity: list[Any], arrays: dict[str, np.ndarray]) -> np.ndarray:
    """The bytes of a file."""
    first = after(HEAD.size + len(text(identity, arrays, WORD)))  # no place in the file has more digits
    data = np.zeros(first + sum(after(one.nbytes) for one in arrays.values()), np.uint8)
    header = text(identity, arrays, first)
    data[HEAD.size : HEAD.size + len(header)] = np.frombuffer(header, np.uint8)
    for one in arrays.values():
        data[first : first + one.nbytes] = np.ascontiguousarray(one).reshape(-1).view(np.uint8)
        first += after(one.nbytes)
    HEAD.pack_into(data.data, 0, MAGIC, 0, len(data), len(header))
    HEAD.pack_into(data.data, 0, MAGIC, checksum(pieces(data[SUMMED_FROM:])), len(data), len(header))
    return data


def text(identity: list[Any], arrays: dict[str, np.ndarray], first: int) -> bytes:
    """The JSON of a file whose first array lies at a place."""
    listed = []
    for name, one in arrays.items():
        if one.dtype.str not in DTYPES:
            raise ValueError(f"an array of {one.dtype}")
        listed.append([name, one.dtype.str, list(one.shape), first])
        first += after(one.nbytes)
    return json.dumps({"identity": identity, "arrays": listed}).encode()


def after(size: int) -> int:
    """Bytes, filled up to where an array may begin."""
    return filled(size, ALIGNMENT)


def filled(size: int, unit: int) -> int:
    """Bytes, filled up to whole units."""
    return -(-size // unit) * unit


def pieces(data: np.ndarray) -> Iterator[np.ndarray]:
    """Bytes as :func:`chunks` reads them."""
    for first in range(0, len(data), CHUNK):
        part = data[first : first + CHUNK]
        piece = np.zeros(filled(len(part), 8 * ROW), np.uint8)
        piece[: len(part)] = part
        yield piece


def made_here(name: str) -> bool:
    """Is this the name of a file that :func:`write` makes? A folder may hold others, which are nobody's to drop."""
    digits, suffix, partial = name.partition(SUFFIX)
    numbers = partial.split(".")[1:] if partial.startswith(".") else []
    written = not partial or (len(numbers) == 2 and numbers[0].isdecimal() and len(numbers[1]) == 8 and is_hexadecimal(numbers[1]))
    return bool(suffix) and len(digits) == 16 and is_hexadecimal(digits) and written


def is_hexadecimal(text: str) -> bool:
    """Are these digits as ``write`` writes them?"""
    return not text.strip("0123456789abcdef")


def bound(where: str) -> None:
    """Drop files until the others take no more than MOST_BYTES, and what interrupted writers left behind."""
    entries = [one for one in os.scandir(where) if made_here(one.name) and one.is_file(follow_symlinks=False)]
    found = [(one.stat(follow_symlinks=False), one) for one in entries]
    total = 0
    for about, one in sorted(found, key=lambda pair: -pair[0].st_mtime):
        total += about.st_size
        abandoned = not one.name.endswith(SUFFIX) and time.time() - about.st_mtime > 3600
        if total > MOST_BYTES or abandoned:
            with suppress(OSError):
                os.unlink(one.path)
