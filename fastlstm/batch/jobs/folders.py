"""Many files into a folder: one output each, on from where a job was stopped, and several jobs at once without harm.

Notes stand in the folder, in ``.fastlstm``: what the job's results depend on; and for each output that is whole, what it was computed of.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from typing import Any

from ...errors import FastLSTMError, InputError
from ...records import record
from ...replacing import checked
from ..files import kinds, sources
from . import facts
from .job import Done, Job
from .locks import Lock
from .parts import ENDING

NOTES = ".fastlstm"
JOB = "job.json"
#: Seconds between looks at whether another job is done with a file.
PAUSE = 0.2
#: What stops a job, as the next file would fail as well.
FATAL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO)


@record(frozen=True)
class FolderDone:
    """What became of the files.

    Attributes
    ----------
    computed : dict of str to Done
        By output, what this job computed.
    earlier : tuple of str
        Outputs that were there already.
    again : tuple of str
        Those of the computed whose input has changed since an earlier job.
    failed : dict of str to str
        By input, why it failed.
    """

    computed: dict[str, Done]
    earlier: tuple[str, ...]
    again: tuple[str, ...]
    failed: dict[str, str]


class Folder:
    """A folder of outputs.

    Parameters
    ----------
    path
        The folder; made if it is not there.
    job
        What computes.

    Raises
    ------
    InputError
        If it cannot be made, or has outputs of another model or other options.
    """

    def __init__(self, path: str, job: Job):
        self.path, self.job = path, job
        self._mark = facts.mark(job.facts)
        self._notes = os.path.join(path, NOTES)
        try:
            os.makedirs(self._notes, exist_ok=True)
        except OSError as error:
            raise InputError(f"{path}: no outputs can be written there ({error.strerror}: {error.filename})") from error
        self._own()

    def _own(self) -> None:
        """Note whose results stand here."""
        lock = Lock(os.path.join(self._notes, "lock"))
        while not lock.take():
            time.sleep(PAUSE)
        try:
            where = os.path.join(self._notes, JOB)
            earlier = None if self.job.options.overwrite else facts.read(where)
            differ = facts.differing(earlier, self.job.facts) if earlier is not None else []
            if differ:
                raise InputError(
                    f"{self.path}: has outputs of a job with another {' and '.join(differ)}; --overwrite computes all anew, or name "
                    "another folder"
                )
            facts.write(where, self.job.facts)
        finally:
            lock.release()

    # -- which files --------------------------------------------------------------------------------------------------------

    def targets(self, path: str) -> dict[str, str]:
        """By input, the name of its output below the folder.

        Parameters
        ----------
        path
            A folder, or a pattern.

        Raises
        ------
        InputError
            If there are no inputs, or two would have the same output.
        """
        own = os.path.realpath(self.path)
        found = [one for one in sources.files(path) if not _is_below(one, own) and f"{ENDING}{os.sep}" not in one]
        if not found:
            raise InputError(f"{path}: expected files to read, found only those of {self.path}, which are written")
        root = path if os.path.isdir(path) else os.path.commonpath([os.path.dirname(one) or "." for one in found])
        targets = {one: self._named(os.path.relpath(one, root)) for one in found}
        by_target: dict[str, str] = {}
        for one, target in targets.items():
            if target in by_target:
                raise InputError(
                    f"{path}: {by_target[target]} and {one} would both become {os.path.join(self.path, target)}; rename one of them"
                )
            by_target[target] = one
        return targets

    def _named(self, relative: str) -> str:
        stem, ending = os.path.splitext(relative)
        kind = self.job.options.output_kind
        if kind is not None:
            return f"{stem}.{kind}" if kinds.ENDINGS.get(ending.lower()) != kind else relative
        return f"{stem}.csv" if kinds.ENDINGS.get(ending.lower()) == "txt" else relative

    # -- the work -----------------------------------------------------------------------------------------------------------

    def run(self, path: str, watch: Callable[[int, int], None] = lambda done, of: None) -> FolderDone:
        """Compute all files that are not yet computed.

        Parameters
        ----------
        path
            A folder, or a pattern.
        watch
            Told how many files are done, and of how many.

        Raises
        ------
        InputError
            If nothing more can be written; what is done so far stands then. What is wrong with a single input is in the result.
        """
        targets = self.targets(path)
        done = FolderDone({}, (), (), {})
        waiting = list(targets)
        while waiting:
            busy: list[str] = []
            for one in waiting:
                watch(len(targets) - len(waiting) + waiting.index(one) - len(busy), len(targets))
                done, taken = self.take(one, targets[one], done)
                if not taken:
                    busy.append(one)
            if len(busy) == len(waiting):
                time.sleep(PAUSE)  # another job has them all
            waiting = busy
        return done

    def take(self, source: str, relative: str, done: FolderDone) -> tuple[FolderDone, bool]:
        """Compute a file, unless it is computed, or another job is at it."""
        target, note = os.path.join(self.path, relative), os.path.join(self._notes, relative + ".json")
        try:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.makedirs(os.path.dirname(note), exist_ok=True)
        except OSError as error:
            raise InputError(f"{target}: cannot be written ({error.strerror})") from error
        lock = Lock(note.removesuffix(".json") + ".lock")
        if not lock.take():
            return done, False
        try:
            return self._taken(source, target, note, done), True
        finally:
            lock.release()

    def _taken(self, source: str, target: str, note: str, done: FolderDone) -> FolderDone:
        try:
            now = {"job": self._mark, **facts.of_input(source)}
            earlier = None if self.job.options.overwrite else facts.read(note)
            if earlier is not None and _stands(target, earlier):
                differ = facts.differing(earlier, now)
                if not differ:
                    return FolderDone(done.computed, (*done.earlier, target), done.again, done.failed)
            elif os.path.lexists(target) and not self.job.options.overwrite:
                raise InputError(f"{target}: cannot be written: it is there, and no job of this folder wrote it; --overwrite replaces it")
            found = self.job.run(source, target)
            facts.write(note, {**now, "output_bytes": os.stat(target).st_size, "rows": found.written})
        except FastLSTMError as error:
            if fatal(error):
                raise
            return FolderDone(done.computed, done.earlier, done.again, {**done.failed, source: str(error)})
        again = (*done.again, target) if earlier is not None else done.again
        return FolderDone({**done.computed, target: found}, done.earlier, again, done.failed)


def fatal(error: BaseException | None) -> bool:
    """Would the next file fail as well: is the disk full, or a process gone?"""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FATAL:
            return True
        if type(error) is FastLSTMError:
            return True
        error = error.__cause__
    return False


def _stands(target: str, note: dict[str, Any]) -> bool:
    """Is an output there, as it was when it was written?"""
    try:
        return os.stat(target).st_size == note.get("output_bytes")
    except OSError:
        return False


def _is_below(path: str, folder: str) -> bool:
    return os.path.realpath(path).startswith(folder + os.sep)


def refuse_same(path: str, folder: str) -> None:
    """Refuse outputs that would replace the inputs.

    Raises
    ------
    InputError
        If both are one folder.
    """
    if os.path.isdir(path) and os.path.realpath(path) == os.path.realpath(folder):
        raise InputError(f"{folder}: cannot be written: it is the folder that is read ({path}); name another")


def run(path: str, folder: str, job: Job, watch: Callable[[int, int], None] = lambda done, of: None) -> FolderDone:
    """Compute the files of a folder, or of a pattern, into another folder.

    Parameters
    ----------
    path
        A folder, or a pattern.
    folder
        Where the outputs go.
    job
        What computes.
    watch
        As for :meth:`Folder.run`.

    Raises
    ------
    InputError
        As :class:`Folder` and its methods.
    """
    refuse_same(path, folder)
    if os.path.exists(folder) and not os.path.isdir(folder):
        checked(os.path.join(folder, "x"))  # says that it is no folder
    return Folder(folder, job).run(path, watch)
