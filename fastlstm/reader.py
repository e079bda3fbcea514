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
import os
import signal
import sys
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from types import ModuleType, TracebackType
from typing import Any, BinaryIO

import safetensors.numpy  # noqa: F401 - needed later, when nothing can be opened

from . import formats, handover
from .formats import keras_h5, keras_zip, native  # noqa: F401 - as above
from .formats.source import Source
from .formats.strict import hints_of
from .limits import Budget

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


def main() -> None:
    """Read one file, give the answer, and end."""
    given, taken = sys.stdin.buffer, sys.stdout.buffer
    for codec in CODECS:
        codecs.lookup(codec)
    for kind in native.KINDS:
        hints_of(kind)  # compiles annotations
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
        found = read(*requested(given))
        finish(taken, handover.given_model(found, texts(caught)))


def confine(limits: Mapping[str, Any]) -> None:
    """Set the limits of this process, and let it end with the one that asked."""
    if resource is None:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    for number in (signal.SIGINT, signal.SIGALRM, signal.SIGXCPU):  # what the other process ignores or blocks would be ignored here
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.setitimer(signal.ITIMER_REAL, limits["seconds"])
    cpu = math.ceil(time.process_time() + limits["cpu_seconds"])
    memory = limits["max_bytes"]
    nothing = ((name, 0, 0) for name in ("FSIZE", "CORE", "NPROC", "NOFILE"))
    for name, soft, hard in (("CPU", cpu, cpu + 1), ("AS", memory, memory), *nothing):
        kind = getattr(resource, f"RLIMIT_{name}", None)
        if kind is not None:
            _, most = resource.getrlimit(kind)
            bound = hard if most == resource.RLIM_INFINITY else most
            with suppress(ValueError, OSError):  # a system that has the name but not the limit
                resource.setrlimit(kind, (min(soft, bound), min(hard, bound)))


def forbid(event: str, arguments: tuple[Any, ...]) -> None:
    """End the process that is about to do what reading never does; an error could be caught."""
    if event.startswith(FORBIDDEN):
        os._exit(handover.FORBIDDEN)


def texts(caught: Sequence[warnings.WarningMessage]) -> list[str]:
    """What this package warned of."""
    return [str(warning.message) for warning in caught if warning.category is UserWarning]


def requested(stream: BinaryIO) -> tuple[Mapping[str, Any], Source]:
    """What is asked, and the file."""
    head = json.loads(stream.read(int.from_bytes(stream.read(handover.PREFIX), "little")))
    held = io.BytesIO()  # whose bytes are given out without a copy
    while held.tell() < head["size"]:
        chunk = stream.read(min(CHUNK, head["size"] - held.tell()))
        if not chunk:  # the process that asked is no more
            os._exit(1)
        held.write(chunk)
    return head, Source(head["name"], data=held.getvalue())


def read(head: Mapping[str, Any], source: Source) -> handover.Found:
    """What is asked of the file."""
    architecture = head["architecture"]
    if head["architecture_file"] is not None:
        architecture = Source(head["architecture_file"], data=architecture.encode("latin-1"))
    with Budget(source.name, source.size, head["max_bytes"]) as budget:
        spec = formats.read(source, architecture=architecture, by_name=head["by_name"], budget=budget)
        if head["cases"] and native.is_native(source):
            return handover.Found(spec, *native.read_cases(source, budget))
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
