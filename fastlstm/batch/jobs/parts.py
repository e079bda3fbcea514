"""The results of a file, kept in parts until all are there, so that a job that is stopped goes on from the last of them.

The parts stand in a folder beside the target, ``out.parquet.parts``. Each is a whole file of the target's kind. Notes say which rows of
the input each has, and what they were computed from; a part counts once the notes name it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO

from ...errors import InputError
from ...replacing import checked, move, writing
from ..files import sinks
from . import facts
from .locks import Lock

ENDING = ".parts"
NOTES, LOCK = "job.json", "lock"


class Parts:
    """The parts of a target.

    Parameters
    ----------
    target
        The file that they become.
    kind
        Of the target.
    job
        What the results depend on.
    overwrite
        Leave out what an earlier job has kept.

    Attributes
    ----------
    end : int
        Rows of the input that are done.
    written : int
        Rows that the parts hold.

    Raises
    ------
    InputError
        If another job is at it, or the parts are those of another model, input or options.
    """

    def __init__(self, target: str, kind: str, job: facts.Facts, *, overwrite: bool = False):
        self.target, self._kind, self._job = checked(target), kind, job
        self.folder = os.path.realpath(target) + ENDING if os.path.islink(target) else target + ENDING
        self._notes: dict[str, Any] = {"job": job, "parts": []}
        self._begin(overwrite)

    def _begin(self, overwrite: bool) -> None:
        try:
            os.makedirs(self.folder, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.target}: cannot be written: no folder {self.folder} can be made ({error.strerror})") from error
        self._lock = Lock(os.path.join(self.folder, LOCK))
        if not self._lock.take():
            raise InputError(f"{self.target}: another job is writing it; wait until it is done, or name another file")
        try:
            self._take_over(overwrite)
        except BaseException:
            self._lock.release()
            raise

    def _take_over(self, overwrite: bool) -> None:
        """What an earlier job has kept."""
        earlier = None if overwrite else facts.read(self._path(NOTES))
        if earlier is not None:
            if not isinstance(earlier.get("job"), dict) or not isinstance(earlier.get("parts"), list):
                raise InputError(
                    f"{self._path(NOTES)}: the notes of an earlier job cannot be read (they are others); --overwrite begins anew"
                )
            differ = facts.differing(earlier["job"], self._job)
            if differ:
                raise InputError(
                    f"{self.target}: {self.folder} has the results so far of a job with another {' and '.join(differ)}; --overwrite begins "
                    "anew without them"
                )
            self._notes = {**earlier, "parts": self._there(earlier["parts"])}
        kept = {NOTES, LOCK, *(part["file"] for part in self._notes["parts"])} if earlier is not None else {LOCK}
        for name in os.listdir(self.folder):  # what was being written when it was stopped
            if name not in kept:
                os.unlink(self._path(name))

    def _there(self, parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Parts as far as none is gone: a job that was stopped at its very end may have made the target of them."""
        missing = [number for number, part in enumerate(parts) if not os.path.exists(self._path(part["file"]))]
        return parts[: missing[0]] if missing else parts

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    @property
    def end(self) -> int:
        """Rows of the input that are done."""
        return self._notes["parts"][-1]["end"] if self._notes["parts"] else 0

    @property
    def written(self) -> int:
        """Rows that the parts hold."""
        return sum(part["rows"] for part in self._notes["parts"])

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._notes["parts"])

    @contextmanager
    def part(self) -> Iterator[tuple[BinaryIO, str]]:
        """A stream for the next part, and its name."""
        name = f"{self.count:06d}{os.path.splitext(self.target)[1]}"
        with writing(self._path(name)) as stream:
            yield stream, name

    def add(self, name: str, end: int, rows: int) -> None:
        """Count a part that was written: up to which row of the input it goes, and how many rows it has."""
        self._notes["parts"].append({"file": name, "end": end, "rows": rows})
        facts.write(self._path(NOTES), self._notes)

    def finish(self) -> None:
        """Make the target of the parts."""
        files = [self._path(part["file"]) for part in self._notes["parts"]]
        if len(files) == 1:
            move(files[0], self.target)
        else:
            with writing(self.target) as stream:
                sinks.merge(files, stream, self.target, self._kind)
        for name in os.listdir(self.folder):
            if name != LOCK:
                os.unlink(self._path(name))

    def close(self) -> None:
        """Let go of the folder; where it keeps nothing, it goes."""
        kept = os.path.exists(self._path(NOTES))
        if not kept:
            shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.release()
        with suppress(OSError):
            os.rmdir(self.folder)
