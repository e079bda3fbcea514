"""Guarded HDF5: what a file declares is checked before anything is allocated, and nothing outside the file is ever read.

Soft and external links, external storage, virtual datasets, object, compound and complex types and unknown filters are refused.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import FormatError
from ...limits import PATHS, Budget
from ..source import Source

try:
    import h5py
except ImportError as error:  # pragma: no cover - a declared dependency
    raise ImportError("reading Keras files needs h5py: pip install h5py") from error

SIGNATURE = b"\x89HDF\r\n\x1a\n"
#: Bytes of one attribute (the model's JSON).
ATTRIBUTE_LIMIT = 64 << 20
#: deflate cannot shrink below 1/1032; an honest set of weights is near 1.
EXPANSION_LIMIT = 1032
#: Below this many bytes, expansion does no harm.
EXPANSION_FREE = 1 << 20
#: Chunks that an array may have in any file; each stored chunk takes some bytes of an index.
CHUNKS_FREE = 4096
LEAST_CHUNK = 8
#: The most attributes that a list of names may be split into; each holds about 64 KB.
MOST_PARTS = 1000
#: Bytes of a number that a kernel reads.
NUMBER = 4
#: Bytes that Python takes for a string besides its characters.
TEXT_OBJECT = 64
#: ... and for what is kept of an array of which only the shape is asked.
OUTLINE = 1024
FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 32000: "lzf"}
#: The exceptions that h5py raises on damaged files.
H5_ERRORS = (OSError, RuntimeError, ValueError, KeyError, TypeError, OverflowError, MemoryError, NotImplementedError, AttributeError)


def is_hdf5(head: bytes) -> bool:
    """Whether a file that begins so may be HDF5: the signature may follow a user block."""
    return any(head.startswith(SIGNATURE, offset) for offset in (0, 512, 1024, 2048))


@contextmanager
def opened(source: Source, budget: Budget) -> Iterator[Group]:
    """The root group of an HDF5 file."""
    handle = source.handle
    try:
        try:
            if handle is None:
                handle = h5py.File(source.path if source.path is not None else Padded(source.data or b""), "r")
            root, contents = handle["/"], Contents(source.name, source.size, budget)
            contents.reach(root, "/")
        except H5_ERRORS as error:
            raise FormatError(f"{source.name}: damaged or truncated HDF5 file ({first_line(error)})") from error
        yield Group(contents, root, "")
    finally:
        if handle is not None and source.handle is None:
            with suppress(*H5_ERRORS):  # what could be read has been read
                handle.close()


class Padded(io.BytesIO):
    """Bytes that are followed by zeros, as HDF5 treats files: h5py would leave stale memory for what is read past the end."""

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer."""
        count = super().readinto(buffer)
        view = memoryview(buffer)
        view[count:] = bytes(len(view) - count)
        return count


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type where it has none."""
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


@dataclass
class Contents:
    """The file that is being read, its size, its budget, and the places where its objects were found.

    Keras links each object once. With more hard links, many paths lead to one group (eighteen groups in a file of a kilobyte can have
    262,144), and one array could be read again under each of its names.
    """

    source: str
    size: int
    budget: Budget
    places: dict[int, str] = field(default_factory=dict)  # by address
    read: set[str] = field(default_factory=set)

    def reach(self, member: Any, place: str) -> None:
        """Note where an object is found. FormatError if it was found elsewhere."""
        before = self.places.setdefault(h5py.h5o.get_info(member.id).addr, place)
        if before != place:
            raise FormatError(f"{self.source}: {place}: the same object as {before}, linked twice")


class Group:
    """A group, reached by hard links only."""

    def __init__(self, contents: Contents, group: Any, place: str):
        self._contents = contents
        self._group = group
        self.place = place or "/"

    def error(self, what: str) -> FormatError:
        """An error about this group."""
        return FormatError(f"{self._contents.source}: {self.place}: {what}")

    def account(self, characters: int) -> None:
        """Account for the path of this group, or parts of it, kept somewhere."""
        self._contents.budget.hold(f"{self.place:.80}: names of groups", PATHS * characters)

    def __contains__(self, name: str) -> bool:
        try:
            return bool(self._group.id.links.exists(name.encode()))  # h5py's own ``in`` would follow an external link
        except H5_ERRORS:
            return False

    def members(self) -> list[str]:
        """Names of the members."""
        try:
            names = list(self._group)
        except H5_ERRORS as error:
            raise self.error(f"the list of members is damaged ({first_line(error)})") from error
        if any(isinstance(name, bytes) for name in names):  # how h5py returns names that are not UTF-8
            raise self.error("the list of members is damaged (a name that is not text)")
        return names

    def _member(self, name: str) -> tuple[Any, str]:
        """The object at ``a/b/c``, every step of which must be a hard link."""
        here = self._group.file["/"] if name.startswith("/") else self._group
        place = "" if name.startswith("/") else self.place.rstrip("/")
        for part in name.split("/"):
            if not part:
                continue
            place = f"{place}/{part}"
            try:
                kind = here.id.links.get_info(part.encode()).type if isinstance(here, h5py.Group) else None
                if kind == h5py.h5l.TYPE_HARD:
                    here = here[part]
            except H5_ERRORS as error:
                raise FormatError(f"{self._contents.source}: {place}: not in the file, or damaged ({first_line(error)})") from error
            if kind == h5py.h5l.TYPE_HARD:
                self._reach(here, place)
            else:
                what = "not inside a group" if kind is None else "a soft or external link, which is never followed"
                raise FormatError(f"{self._contents.source}: {place}: {what}")
        return here, place

    def _reach(self, member: Any, place: str) -> None:
        try:
            self._contents.reach(member, place)
        except H5_ERRORS as error:
            raise FormatError(f"{self._contents.source}: {place}: damaged ({first_line(error)})") from error

    def group(self, name: str) -> Group:
        """A member group."""
        member, place = self._member(name)
        if not isinstance(member, h5py.Group):
            raise FormatError(f"{self._contents.source}: {place}: expected a group, found {type(member).__name__.lower()}")
        return Group(self._contents, member, place)

    @property
    def address(self) -> int:
        """Where in the file it stands: objects that were made later mostly stand further on."""
        return self._address(self._group, self.place)

    def _address(self, member: Any, place: str) -> int:
        try:
            return int(h5py.h5o.get_info(member.id).addr)
        except H5_ERRORS as error:
            raise FormatError(f"{self._contents.source}: {place}: damaged ({first_line(error)})") from error

    def _dataset(self, name: str) -> tuple[Any, str]:
        dataset, place = self._member(name)
        if not isinstance(dataset, h5py.Dataset):
            raise FormatError(f"{self._contents.source}: {place}: expected an array, found {type(dataset).__name__.lower()}")
        return dataset, place

    def outline(self, name: str) -> tuple[tuple[int, ...], str, int]:
        """The shape, the dtype and the address of a member dataset of numbers, none of which is read."""
        dataset, place = self._dataset(name)
        try:
            shape, dtype = dataset.shape, dataset.dtype
        except H5_ERRORS as error:
            raise FormatError(f"{self._contents.source}: {place}: cannot be read ({first_line(error)})") from error
        if shape is None or dtype.kind not in "fiub" or dtype.fields or dtype.subdtype:
            raise FormatError(f"{self._contents.source}: {place}: expected an array of numbers, found dtype {dtype}, shape {shape}")
        self._contents.budget.hold(f"{place:.80}: its outline", OUTLINE)
        return tuple(map(int, shape)), dtype.name, self._address(dataset, place)

    def array(self, name: str) -> np.ndarray:
        """A member dataset of numbers, read whole, and once."""
        dataset, place = self._dataset(name)
        if place in self._contents.read:
            raise FormatError(f"{self._contents.source}: {place}: the weights of two layers or more")
        self._contents.read.add(place)
        try:
            return self._read(dataset, place)
        except H5_ERRORS as error:
            raise FormatError(f"{self._contents.source}: {place}: cannot be read ({first_line(error)})") from error

    def _read(self, dataset: Any, place: str) -> np.ndarray:
        where = f"{self._contents.source}: {place}"
        shape, dtype = dataset.shape, dataset.dtype
        if shape is None:
            raise FormatError(f"{where}: an array without a shape (null dataspace)")
        if dtype.kind not in "fiub" or dtype.itemsize > 8 or dtype.fields or dtype.subdtype:
            raise FormatError(f"{where}: expected numbers, found dtype {dtype}")
        creation = dataset.id.get_create_plist()
        if creation.get_external_count():
            raise FormatError(f"{where}: stored in another file, which is never read")
        layout = creation.get_layout()
        if layout not in (h5py.h5d.COMPACT, h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED):
            raise FormatError(f"{where}: a virtual dataset, which is never read")
        nbytes = math.prod(shape) * dtype.itemsize
        stored = dataset.id.get_storage_size()
        limit = self._contents.size
        if layout == h5py.h5d.CHUNKED:
            filters = [creation.get_filter(number)[0] for number in range(creation.get_nfilters())]
            unknown = [str(code) for code in filters if code not in FILTERS]
            if unknown:
                raise FormatError(f"{where}: HDF5 filter {', '.join(unknown)}; only {', '.join(FILTERS.values())} are read")
            limit = max(EXPANSION_FREE, EXPANSION_LIMIT * min(stored, self._contents.size))
            chunk = math.prod(creation.get_chunk()) * dtype.itemsize
            if chunk > max(limit, EXPANSION_FREE):
                raise FormatError(f"{where}: chunks of {chunk} bytes in a file of {self._contents.size}")
            count = math.prod(-(-size // length) for size, length in zip(shape, creation.get_chunk(), strict=True))
            if count > max(CHUNKS_FREE, self._contents.size // LEAST_CHUNK):
                raise FormatError(f"{where}: declares {count} chunks in a file of {self._contents.size} bytes")
        elif nbytes > stored:
            raise FormatError(f"{where}: declares {nbytes} bytes {shape}, but holds {stored}")
        if nbytes > limit:
            raise FormatError(f"{where}: declares {nbytes} bytes {shape}, more than the file can hold ({stored} stored)")
        budget = self._contents.budget
        budget.lend(place, nbytes + 2 * NUMBER * math.prod(shape))  # converted and packed, it may be larger than in the file
        budget.hold(place, nbytes)
        out = np.empty(shape, dtype)
        if out.size:
            dataset.read_direct(out)
        return out.astype(dtype.newbyteorder("="), copy=False)

    def attribute(self, name: str) -> Any:
        """An attribute: str, number, list of str, or array of numbers; None where there is none."""
        try:
            if name not in self._group.attrs:
                return None
            handle = self._group.attrs.get_id(name)
            shape, dtype = handle.shape, handle.dtype
            if shape is None:
                return None
            text = dtype.kind == "S" or h5py.check_string_dtype(dtype) is not None
            if not text and (dtype.kind not in "fiub" or dtype.fields or dtype.subdtype):
                raise self.error(f"attribute {name}: expected text or numbers, found dtype {dtype}")
            count = math.prod(shape)
            if count * dtype.itemsize > min(ATTRIBUTE_LIMIT, self._contents.size):
                raise self.error(f"attribute {name}: declares {count} elements, more than the file can hold")
            self._contents.budget.hold(f"{self.place}: attribute {name}", count * (dtype.itemsize + TEXT_OBJECT))
            value = self._group.attrs[name]
        except H5_ERRORS as error:
            raise self.error(f"attribute {name}: cannot be read ({first_line(error)})") from error
        if not text:
            return value
        return self._text(name, value) if shape == () else [self._text(name, item) for item in np.ravel(value)]

    def _text(self, name: str, value: Any) -> str:
        if isinstance(value, bytes):
            try:
                return value.rstrip(b"\0").decode("utf-8")
            except UnicodeDecodeError as error:
                raise self.error(f"attribute {name}: not UTF-8 text") from error
        return str(value)

    def text(self, name: str) -> str | None:
        """An attribute of one text (a list of one is taken too)."""
        value = self.attribute(name)
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if value is not None and not isinstance(value, str):
            raise self.error(f"attribute {name}: expected text, found {type(value).__name__}")
        return value

    def names(self, name: str) -> list[str] | None:
        """An attribute that lists names; lists too long for one attribute were split into ``name0``, ``name1``, ..."""
        value = self.attribute(name)
        if value is not None:
            return self._names(name, value)
        parts: list[str] = []
        number = 0
        while (part := self.attribute(f"{name}{number}")) is not None:
            if number >= MOST_PARTS:
                raise self.error(f"attribute {name} in more than {MOST_PARTS} parts")
            parts += self._names(name, part)
            number += 1
        return parts if number else None

    def _names(self, name: str, value: Any) -> list[str]:
        if isinstance(value, str):
            return [value]
        if isinstance(value, list):
            return value
        if np.size(value) == 0:  # an empty list was stored as float64 of shape (0,)
            return []
        raise self.error(f"attribute {name}: expected names, found numbers")
