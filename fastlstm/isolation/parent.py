"""Reads files of strangers in a process of their own, with limits: if it crashes, hangs or runs out of memory, that is an error here.

HDF5's C library is not proof against crafted files. What that process says is not believed either (see ``handover``).
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, BinaryIO

from .. import formats
from ..errors import FormatError, InputError
from ..formats.inferring.listed import Inventory
from ..formats.reading.architecture import Architecture, fetched
from ..formats.reading.yamltext import is_yaml, library
from ..formats.source import Source
from ..limits import Budget
from ..logs import outside
from ..spec import Case, ModelSpec
from . import handover

if TYPE_CHECKING:
    from subprocess import Popen

CHUNK = 1 << 20
#: Seconds between two looks at whether the process still lives, when it says nothing: a copy of its pipe may outlive it.
GLANCE = 0.2
#: In place of the exit code of a process that did not end in time.
OVERTIME = 1 << 16
#: Whether one can wait for several pipes; not on Windows, which has threads do so, and holds the whole file.
SELECTS = os.name != "nt"
#: No limit is larger: the system takes no more.
MOST = {"cpu_seconds": 10**6, "max_bytes": 1 << 60, "seconds": 10**6}
#: The reading process finds what this one would, whatever the environment says; but Python's own modules before any other of the
#: same name, so that no resource.py of a project stands for the one that sets limits. -S: there are no others in sys.path yet.
COMMAND = (
    "import json, site, sys; own = sys.path[:]; site.main(); modules = json.loads(sys.argv[1])['modules']; "
    "sys.path[:] = own + [path for path in modules if path not in own]; from fastlstm.isolation.child import main; main()"
)
PACKAGES = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
#: One thread: the others that BLAS starts would take memory.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Isolation:
    """Limits of the process that reads a file with ``isolated=``. Windows knows the last one alone, macOS none of memory.

    Attributes
    ----------
    cpu_seconds
        Of CPU time, up to 1,000,000; it is counted in whole seconds.
    max_bytes
        Of memory, all that the process has: 0.13 GB or more of its own, without which it says how much it needs, the file, and its
        arrays.
    seconds
        From its start to its answer, up to 1,000,000.

    Examples
    --------
    >>> limits = fastlstm.Isolation(cpu_seconds=60, max_bytes=8 << 30)
    >>> model = fastlstm.load(fastlstm.demo.MODEL, isolated=limits)
    """

    cpu_seconds: float = 10.0
    max_bytes: int = 2 << 30
    seconds: float = 60.0

    def __post_init__(self) -> None:
        for name in ("cpu_seconds", "seconds", "max_bytes"):
            value = getattr(self, name)
            whole = name == "max_bytes"
            if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not 0 < value <= MOST[name]:
                what = "whole number of bytes" if whole else "number"
                raise InputError(f"isolated: {name}: expected a {what} above 0 and up to {MOST[name]}, found {value!r:.60}")


def bounds_of(isolated: bool | Isolation) -> Isolation | None:
    """The limits that a caller's ``isolated`` stands for; None: no other process.

    Raises
    ------
    InputError
        If it stands for nothing.
    """
    if isinstance(isolated, bool):
        return Isolation() if isolated else None
    if isinstance(isolated, Isolation):
        return isolated
    raise InputError(f"isolated: expected True, False or a fastlstm.Isolation, found {isolated!r:.60}")


def read(
    source: Source, bounds: Isolation, budget: Budget, *, architecture: Architecture | None = None, by_name: bool = False
) -> ModelSpec:  # fmt: skip
    """Do what ``formats.read`` does in another process, which has a budget like the one of this process."""
    found = handover.taken_model(answer(source, bounds, budget, described(architecture), by_name=bool(by_name)).model, budget)
    budget.survey(found)
    return found


def read_cases(source: Source, bounds: Isolation, budget: Budget) -> tuple[tuple[Case, ...], tuple[str, ...]]:
    """Do what ``formats.own.read_cases`` does in another process."""
    found = answer(source, bounds, budget, described(None), cases=True)
    return handover.taken_cases(found.model, budget), found.altered


def inventory(source: Source, bounds: Isolation, budget: Budget) -> Inventory:
    """Do what ``formats.inventory`` does in another process."""
    return handover.taken_inventory(answer(source, bounds, budget, described(None), inventory=True).model, budget)


def described(architecture: Architecture | None) -> dict[str, str | None]:
    """An architecture for the other process: a text, and the name of the file that it is from."""
    given = None if architecture is None else fetched(architecture)
    if isinstance(given, Mapping):
        try:
            given = json.dumps(dict(given))
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(f"architecture: expected what JSON can hold ({error}); pass what model.to_json() gives") from error
    text, name = (str(given.data or b"", "latin-1"), given.name) if isinstance(given, Source) else (given, None)
    if text is not None and is_yaml(text):
        library()  # where it is not installed, the other process cannot import it either
    return {"architecture": text, "architecture_file": name}


def answer(
    source: Source, bounds: Isolation, budget: Budget, architecture: Mapping[str, str | None], *, by_name: bool = False,
    cases: bool = False, inventory: bool = False,
) -> handover.Answer:  # fmt: skip
    """Ask the reading process for a file; its warnings are given and its error is raised here.

    Raises
    ------
    FormatError, UnsupportedError, InputError
        As ``formats.read``; and if reading takes more than it may, or the process that reads crashes.
    """
    if source.handle is not None:
        raise InputError(f"isolated: {source.name} is an h5py.File, which this process has open already; pass its path or its bytes")
    source = source.gathered(budget)
    formats.refuse_other_than_files(source)
    with source.open() as file:
        size = measured(source.name, file)
        if size >= bounds.max_bytes:
            raise beyond(source.name, bounds, "max_bytes", 4 * size)
        wanted = {"by_name": by_name, "cases": cases, "inventory": inventory}
        asked = {"name": source.name, "size": size, "max_bytes": budget.limit, **wanted, **architecture}
        room = len(handover.READY) + handover.HEADS + min(bounds.max_bytes, budget.limit)
        found = handover.take(said(source.name, bounds, request(source.name, handover.message(asked), file, size), room), budget)
    for text in found.warnings:
        warnings.warn(text, stacklevel=outside())
    if isinstance(found.error, MemoryError):
        raise beyond(source.name, bounds, "max_bytes")
    if found.error is not None:
        raise found.error
    return found


def measured(name: str, file: BinaryIO) -> int:
    """The size of a file that is open at its beginning, and stays there."""
    try:
        file.read(1)  # says best what is wrong with what cannot be read
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
    except OSError as error:
        raise FormatError(f"{name}: cannot be read ({error.strerror})") from error
    return size


def request(name: str, head: bytes, file: BinaryIO, size: int) -> Iterator[bytes]:
    """The request and the file, in the parts in which they are sent."""
    yield head
    while size:
        try:
            chunk = file.read(min(CHUNK, size))
        except OSError as error:
            raise FormatError(f"{name}: cannot be read ({error.strerror})") from error
        if not chunk:
            raise FormatError(f"{name}: became shorter while it was read")
        size -= len(chunk)
        yield chunk


def said(name: str, bounds: Isolation, parts: Iterator[bytes], room: int) -> memoryview:
    """The answer of a reading process that has ended well."""
    from subprocess import TimeoutExpired

    until = time.monotonic() + bounds.seconds
    with reader(name, bounds) as process:
        heard = io.BytesIO()  # whose bytes are given out without a copy
        try:
            talk(process, parts, heard, room, until)
            if heard.tell() > room:
                raise FormatError(f"{name}: the process that read it gave more than {room} bytes; {handover.ADVICE}")
            code = process.wait(max(0.0, until - time.monotonic()))
        except TimeoutExpired:
            code = OVERTIME
    data = heard.getbuffer()
    if data[: len(handover.READY)] != handover.READY and code != OVERTIME:
        raise InputError(f"isolated: the process that is to read {name} did not start ({ending(code)})")
    if code:
        raise failure(name, bounds, code)
    return data[len(handover.READY) :]


@contextmanager
def reader(name: str, bounds: Isolation) -> Iterator[Popen[bytes]]:
    """A process that reads; when the block ends, by whatever, it has ended too."""
    import subprocess

    if not sys.executable or getattr(sys, "frozen", False):  # a program that was made of a Python program would start itself
        raise InputError(f"isolated: no Python can be started to read {name}; sys.executable is {sys.executable!r}")
    settings = json.dumps({**asdict(bounds), "modules": modules()})
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", COMMAND, settings], bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, env={**os.environ, **ONE_THREAD}, start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise InputError(f"isolated: no process can be started to read {name} ({error.strerror or error})") from error
    pipes = [pipe for pipe in (process.stdin, process.stdout) if pipe is not None]
    try:
        for pipe in pipes:
            widen(pipe.fileno())
        yield process
    finally:
        process.kill()
        for pipe in pipes:
            pipe.close()
        process.wait()


def modules() -> list[str]:
    """The folders where the reading process looks for modules, after Python's own.

    They are those of this process, except what is no text, which Python passes over, and relative folders, which depend on the current
    one.
    """
    found = [path for path in sys.path if isinstance(path, str) and os.path.isabs(path)]
    return found if PACKAGES in found else [PACKAGES, *found]


def widen(pipe: int) -> None:
    """Let a pipe hold more, so that it is filled less often, where the system can and grants it: it bounds a user's pipes."""
    try:
        import fcntl
    except ImportError:
        return
    command = getattr(fcntl, "F_SETPIPE_SZ", None)
    if command is not None:
        with suppress(OSError):
            fcntl.fcntl(pipe, command, CHUNK)


def talk(process: Popen[bytes], parts: Iterator[bytes], heard: io.BytesIO, room: int, until: float) -> None:
    """Send all parts and hear what comes back, at the same time: neither side waits for the other with its pipe full.

    Raises
    ------
    subprocess.TimeoutExpired
        If that takes too long.
    """
    import selectors
    from subprocess import TimeoutExpired

    if not SELECTS:
        heard.write(process.communicate(b"".join(parts), max(0.0, until - time.monotonic()))[0])
        return
    given, taken = process.stdin, process.stdout
    assert given is not None and taken is not None
    unsent = memoryview(b"")
    with selectors.DefaultSelector() as selector:
        for pipe, event in ((given, selectors.EVENT_WRITE), (taken, selectors.EVENT_READ)):
            os.set_blocking(pipe.fileno(), False)
            selector.register(pipe, event)
        while heard.tell() <= room:
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutExpired(process.args, left)
            ended = process.poll() is not None  # asked first: all that it has said can be heard by then
            ready = [key.fileobj for key, _ in selector.select(min(left, GLANCE))]
            if ended and not ready:
                return
            if taken in ready:
                chunk = os.read(taken.fileno(), CHUNK)
                if not chunk:
                    return
                heard.write(chunk)
            if given in ready:
                unsent = unsent or memoryview(next(parts, b""))
                sent = passed(given.fileno(), unsent)
                unsent = unsent[sent:]
                if not sent:
                    selector.unregister(given)


def passed(pipe: int, part: memoryview) -> int:
    """How much of a part went into a pipe that has room: nothing if nobody will read it."""
    try:
        return os.write(pipe, part)
    except BrokenPipeError:
        return 0


# -- what went wrong ------------------------------------------------------------------------------------------------------


def failure(name: str, bounds: Isolation, code: int) -> FormatError:
    """Why a process that had begun to read ended badly."""
    if code in (OVERTIME, -getattr(signal, "SIGALRM", 0)):
        return beyond(name, bounds, "seconds")
    if code == -getattr(signal, "SIGXCPU", 0):
        return beyond(name, bounds, "cpu_seconds")
    if code == handover.FORBIDDEN:
        return FormatError(f"{name}: reading it was about to open something else, which is never done; {handover.ADVICE}")
    return FormatError(f"{name}: the process that read it crashed ({ending(code)}); {handover.ADVICE}")


def beyond(name: str, bounds: Isolation, limit: str, enough: int = 0) -> FormatError:
    """Reading needs more than a limit allows; a limit that is not below the usual one may."""
    value = getattr(bounds, limit)
    what = {"max_bytes": f"needs more than {value} bytes of memory", "seconds": f"takes more than {value:g} s",
            "cpu_seconds": f"takes more than {value:g} s of CPU"}[limit]  # fmt: skip
    more = min(max(2 * value, enough, getattr(Isolation, limit)), MOST[limit])
    advice = f"isolated=fastlstm.Isolation({limit}={more}) allows more" if more > value else "no limit is larger"
    return FormatError(f"{name}: reading it {what}: the file is damaged, hostile or large; {advice}")


def ending(code: int) -> str:
    """How a process ended, for people."""
    try:
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"
    except ValueError:
        return f"signal {-code}"
