"""The results of a file, kept in parts until all are there, so that a job that is stopped goes on from the last of them.

The parts stand in a folder beside the target, ``out.parquet.parts``. Each is a whole file of the target's kind. Notes say which rows of
the input each has, and what they were computed from; a part counts once the notes name it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO

from ...errors import InputError
from ...replacing import PARTIAL, checked, move, writing
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
        If another job is at it, the parts are those of another model, input or options, or the folder holds what no job has put there.
    """

    def __init__(self, target: str, kind: str, job: facts.Facts, *, overwrite: bool = False):
        self.target, self._kind, self._job = checked(target), kind, job
        self._ending = os.path.splitext(self.target)[1]
        self.folder = os.path.realpath(target) + ENDING if os.path.islink(target) else target + ENDING
        self._notes: dict[str, Any] = {"job": job, "parts": []}
        self._begin(overwrite)

    def _begin(self, overwrite: bool) -> None:
        try:
            os.makedirs(self.folder, exist_ok=True)
            self._refuse_others()
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
            if not isinstance(earlier.get("job"), dict) or not self._are_parts(earlier.get("parts")):
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
        kept = [NOTES, *(part["file"] for part in self._notes["parts"])] if earlier is not None else []
        self._delete(LOCK, *kept)  # what was being written when it was stopped

    def _refuse_others(self) -> None:
        """Refuse a folder of that name that is somebody's own: in one of ours there is a lock, and nothing but what a job writes."""
        names = os.listdir(self.folder)
        others = [name for name in names if not self._is_own(name)] if LOCK in names else names
        if others:
            raise InputError(
                f"{self.target}: cannot be written: its parts would be kept in the folder {self.folder}, which holds something else "
                f"({min(others)}); move that, or name another file"
            )

    def _is_own(self, name: str) -> bool:
        """Is it what a job writes into its folder?"""
        number, ending = os.path.splitext(name)
        return name in (NOTES, LOCK) or bool(re.fullmatch(PARTIAL, name) or (re.fullmatch("[0-9]{6,}", number) and ending == self._ending))

    def _delete(self, *kept: str) -> None:
        """Delete what jobs have written into the folder, but for some of it."""
        for name in os.listdir(self.folder):
            if self._is_own(name) and name not in kept:
                os.unlink(self._path(name))

    def _are_parts(self, parts: Any) -> bool:
        """Are these the parts that a job has noted? Their names say where is read and what is moved, so they are known beforehand."""
        if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
            return False
        ends = [0, *(part.get("end") for part in parts)]
        counts = [*ends, *(part.get("rows") for part in parts)]
        return (
            [part.get("file") for part in parts] == [self._named(number) for number in range(len(parts))]
            and all(type(count) is int and count >= 0 for count in counts)
            and ends == sorted(ends)
        )

    def _named(self, number: int) -> str:
        return f"{number:06d}{self._ending}"

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
        name = self._named(self.count)
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
        self._delete(LOCK)

    def close(self) -> None:
        """Let go of the folder; where it keeps nothing, it goes."""
        if not os.path.exists(self._path(NOTES)):
            with suppress(OSError):
                self._delete()
        self._lock.release()
        with suppress(OSError):
            os.rmdir(self.folder)
