"""The process that reads a file for another one (see ``isolation``): limits first, then the file's bytes, then the answer.

All that it needs is imported before it confines itself. From then on it opens nothing: the bytes come by standard input, the
answer goes to standard output, the kernel grants no further file, socket, process or thread, and the first try ends it.
"""

from __future__ import annotations

import codecs
import ctypes
import io
import json
import math
import mmap
import os
import signal
import sys
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from types import BuiltinFunctionType, ModuleType, TracebackType
from typing import Any, BinaryIO

import safetensors.numpy  # noqa: F401 - needed later, when nothing can be opened

from .. import formats, lazy
from ..errors import InputError
from ..formats import own
from ..formats.reading.yamltext import library
from ..formats.source import Source
from ..formats.strict import hints_of
from ..limits import Budget
from . import handover

resource: ModuleType | None
try:
    import resource
except ImportError:  # not on Windows, where only the other process's clock limits this one
    resource = None

CHUNK = 1 << 20
#: Codecs, which are imported when first used: of HDF5's text, of an architecture, of names in a zip archive.
CODECS = ("ascii", "latin-1", "utf-8-sig", "cp437")
#: Beginnings of the names of audit events that reading never has.
FORBIDDEN = (
    "open", "import", "exec", "compile", "os.", "socket.", "subprocess.", "ctypes.", "mmap.", "shutil.", "tempfile.", "glob.", "pickle.",
    "marshal.", "fcntl.", "pty.", "syslog.", "_winapi.", "winreg.", "msvcrt.", "sqlite3.", "resource.",
)  # fmt: skip
SET_DEATH_SIGNAL = 1  # of prctl
#: Memory that is kept for saying that there was too little.
SPARE = 4 << 20
#: Memory that the smallest file needs, beyond what this process has before it reads: libraries crash without it.
ROOM = 32 << 20


def main() -> None:
    """Read one file, give the answer, and end."""
    given, taken = sys.stdin.buffer, sys.stdout.buffer
    for codec in CODECS:
        codecs.lookup(codec)
    lazy.load_all()
    for kind in own.KINDS:
        hints_of(kind)  # compiles annotations
    with suppress(InputError):
        library()  # if it is installed: for an architecture that is YAML
    say(taken, [handover.READY])
    spare = bytearray(SPARE)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")

        def failed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
            spare.clear()
            finish(taken, [handover.given_error(error, texts(caught))])

        sys.excepthook = failed  # whatever is raised, it is an answer
        confine(json.loads(sys.argv[1]))
        sys.addaudithook(forbid)
        head, source = requested(given)
        if head["inventory"]:
            with Budget(source.name, source.size, head["max_bytes"]) as budget:
                listed = formats.inventory(source, budget)
            finish(taken, handover.given_inventory(listed, texts(caught)))
        finish(taken, handover.given_model(read(head, source), texts(caught)))


def confine(limits: Mapping[str, Any]) -> None:
    """Set the limits of this process, and let it end with the one that asked.

    Raises
    ------
    InputError
        If a limit would not be in force, or leaves no memory to read with.
    """
    if os.name == "nt":
        return
    if not isinstance(getattr(resource, "setrlimit", None), BuiltinFunctionType):
        raise InputError(f"isolated: the process that is to read has no limits: {resource!r} is not the module resource of Python")
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    for number in (signal.SIGINT, signal.SIGALRM, signal.SIGXCPU):  # what the other process ignores or blocks would be ignored here
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.setitimer(signal.ITIMER_REAL, limits["seconds"])
    cpu = math.ceil(time.process_time() + limits["cpu_seconds"])
    limit("CPU", cpu, cpu + 1)
    if sys.platform != "darwin":  # which has the name, but takes no such limit
        memory, least = limits["max_bytes"], own_bytes() + ROOM
        if memory < least:
            raise InputError(
                f"isolated: max_bytes: reading takes {least} bytes whatever the file is, found {memory}; "
                f"isolated=fastlstm.Isolation(max_bytes={least + ROOM}) allows more"
            )
        limit("AS", memory, memory)
    for name in ("FSIZE", "CORE", "NPROC", "NOFILE"):
        limit(name, 0, 0)


def limit(name: str, soft: int, hard: int) -> None:
    """Set a limit, if the system has one of that name, and see that it is in force."""
    kind = getattr(resource, f"RLIMIT_{name}", None)
    if resource is None or kind is None:
        return
    _, most = resource.getrlimit(kind)
    bound = hard if most == resource.RLIM_INFINITY else most
    with suppress(ValueError, OSError):  # what is in force then tells
        resource.setrlimit(kind, (min(soft, bound), min(hard, bound)))
    found = resource.getrlimit(kind)
    if not (0 <= found[0] <= soft and 0 <= found[1] <= hard):  # infinity may be a negative number
        raise InputError(f"isolated: the process that is to read has no limit RLIMIT_{name}: expected {(soft, hard)}, found {found}")


def own_bytes() -> int:
    """The memory of this process as RLIMIT_AS counts it; 0 if the system does not tell."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[0]) * mmap.PAGESIZE
    except OSError:
        return 0


def forbid(event: str, arguments: tuple[Any, ...]) -> None:
    """End the process that is about to do what reading never does; an error could be caught."""
    if event.startswith(FORBIDDEN):
        os._exit(handover.FORBIDDEN)


def texts(caught: Sequence[warnings.WarningMessage]) -> list[str]:
    """The warnings that this package gave."""
    return [str(warning.message) for warning in caught if warning.category is UserWarning]


def requested(stream: BinaryIO) -> tuple[Mapping[str, Any], Source]:
    """Read the request, and the file after it."""
    head = json.loads(stream.read(int.from_bytes(stream.read(handover.PREFIX), "little")))
    held = io.BytesIO()  # whose bytes are given out without a copy
    while held.tell() < head["size"]:
        chunk = stream.read(min(CHUNK, head["size"] - held.tell()))
        if not chunk:  # the process that asked is no more
            os._exit(1)
        held.write(chunk)
    return head, Source(head["name"], data=held.getvalue())


def read(head: Mapping[str, Any], source: Source) -> handover.Found:
    """Answer the request."""
    architecture = head["architecture"]
    if head["architecture_file"] is not None:
        architecture = Source(head["architecture_file"], data=architecture.encode("latin-1"))
    with Budget(source.name, source.size, head["max_bytes"]) as budget:
        spec = formats.read(source, architecture=architecture, by_name=head["by_name"], budget=budget)
        if head["cases"] and own.is_own(source):
            return handover.Found(spec, *own.read_cases(source, budget))
        return handover.Found(spec)


def say(stream: BinaryIO, parts: Iterable[Any]) -> None:
    """Write something whole."""
    for part in parts:
        stream.write(part)
    stream.flush()


def finish(stream: BinaryIO, parts: Iterable[Any]) -> None:
    """Give the answer and end at once: there is nothing to clean up, and no time to lose."""
    try:
        say(stream, parts)
    except OSError:  # nobody listens any more
        os._exit(1)
    os._exit(0)
