"""``predict`` over files of columns, of any size: Parquet, Arrow, CSV by names, JSON lines; folders; standard input and output."""

from __future__ import annotations

import argparse
import ast
import io
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

from .. import lazy, replacing
from ..batch.files import kinds
from ..errors import InputError
from ..listing import one_line
from . import arrayfiles, customfile, options, outcome, progress, terminal

if TYPE_CHECKING:
    from ..batch import predictor
    from ..batch.files import sources
    from ..batch.jobs import folders, planning
    from ..batch.jobs import job as jobs
else:
    predictor, sources, folders, planning, jobs = map(
        lazy.module,
        (
            "fastlstm.batch.predictor", "fastlstm.batch.files.sources", "fastlstm.batch.jobs.folders", "fastlstm.batch.jobs.planning",
            "fastlstm.batch.jobs.job",
        ),
    )  # fmt: skip

FAILED = 1
#: Files of a folder that are named on standard error.
MOST_TOLD = 20
#: Arguments of Python that are called otherwise here.
NAMED = {"inputs": "columns", "outputs": "output-columns"}
#: Options that say that columns have names, or how a job is run.
OWN = (
    "columns", "output_columns", "key", "order", "keep", "nulls", "batch_rows", "processes", "input_format", "output_format", "overwrite",
)  # fmt: skip


def add(command: argparse.ArgumentParser) -> None:
    """The arguments of jobs."""
    group = command.add_argument_group(
        "files of columns (Parquet, Arrow, CSV with names, JSON lines), folders, - for standard input and output"
    )
    what = "the columns that an input is: [INPUT=]a,b,c (may be repeated; default: the column of the input's name, or the only one)"
    group.add_argument("--columns", metavar="A,B", action="append", help=what)
    what = "names of the columns to write, one for each output (default: as the outputs are called)"
    group.add_argument("--output-columns", metavar="A,B", type=options.names, help=what)
    what = "columns to keep beside the outputs; '*': all; '': none (default: those of one value a row that the model does not read)"
    group.add_argument("--keep", metavar="A,B", type=options.names, help=what)
    group.add_argument("--key", metavar="A", type=options.names, help="a row is a timestep: the column that tells sequences apart")
    group.add_argument("--order", metavar="B", help="with --key: the column that steps are sorted by (default: as they come)")
    what = "missing values: error (default), skip (no outputs for the row), or a number that takes their place"
    group.add_argument("--nulls", metavar="HOW", type=options.nulls, help=what)
    what = "rows that are computed at once (default: as many as take some megabytes)"
    group.add_argument("--batch-rows", metavar="N", type=options.positive, help=what)
    group.add_argument("--processes", metavar="N", type=options.positive, help="processes that share the work (default: 1)")
    what = "begin anew: take nothing over from a job that was stopped, nor outputs that a folder has; one file is replaced without it"
    group.add_argument("--overwrite", action="store_true", default=None, help=what)
    group.add_argument(
        "--input-format", metavar="KIND", choices=kinds.KINDS, help=f"of INPUT, where its name does not say: {', '.join(kinds.KINDS)}"
    )
    group.add_argument("--output-format", metavar="KIND", choices=kinds.WRITTEN, help="of OUT, where its name does not say")


def asked(arguments: argparse.Namespace) -> bool:
    """Is it more than arrays, or texts, of one file into one file?"""
    if any(getattr(arguments, name) is not None for name in OWN):
        return True
    source, target = arguments.input, arguments.output
    if target is not None and os.path.splitext(target)[1].lower() not in arrayfiles.ENDINGS:
        return True
    ending = os.path.splitext(source)[1].lower()
    known = ending in kinds.ENDINGS and kinds.ENDINGS[ending] not in ("npy", "npz", "csv", "txt")
    return known or sources.several(source)


def run(arguments: argparse.Namespace) -> int:
    """Compute the outputs."""
    if arguments.series:
        raise InputError(
            "--series: expected a .csv file without names of columns, found options for columns; --key says which steps belong together"
        )
    several = sources.several(arguments.input)
    with progress.shown(f"loading {one_line(arguments.model)}", outcome.bar_of(arguments)), options.told_as_options(), _told():
        chosen = _predictor(arguments)
        _ = chosen.model
    start = time.perf_counter()
    what = f"starting {arguments.processes} processes" if arguments.processes else f"reading {one_line(arguments.input)}"
    with progress.of_rows(what, outcome.bar_of(arguments)) as bar, _told(), _job(arguments, chosen, bar) as job:
        if several:
            found: Any = folders.run(arguments.input, _folder(arguments), job, bar.files if bar is not None else lambda done, of: None)
        else:
            found = _one(arguments, job)
    seconds = time.perf_counter() - start
    if any(one.single_steps for one in (found.computed.values() if several else [found])) and not outcome.is_quiet(arguments):
        terminal.complain(f"{one_line(arguments.input)}: each row is read as a sequence of 1 timestep; if it is a timestep, pass --key")
    return _tell_folder(arguments, found, seconds) if several else _tell(arguments, found, seconds)


@contextmanager
def _told() -> Iterator[None]:
    """Errors in the words of the command line."""
    try:
        yield
    except InputError as error:
        raise InputError(_as_options(str(error))) from error


def _as_options(text: str) -> str:
    """What Python's arguments are called here."""
    text = re.sub(r"nulls='?([\w.+-]+)'?", r"--nulls \1", text)
    text = re.sub(r"inputs=(\{.*?\}|\[.*?\]|'.*?')", lambda found: "--columns " + _as_option(found[1]), text)
    text = re.sub(r"\border='(.*?)'", r"--order \1", text)
    text = re.sub(r"\binputs=$", "--columns", text)
    text = re.sub(r"outputs=(\{.*?\})", lambda found: "--output-columns " + _as_option(found[1], names=False), text)
    return re.sub(
        r"\b(key|order)= ",
        r"--\1 ",
        re.sub(r"(?:^|(?<=: ))(inputs|outputs|key|order): ", lambda found: f"--{NAMED.get(found[1], found[1])}: ", text),
    )


def _as_option(text: str, *, names: bool = True) -> str:
    """``{'x': ['a', 'b'], ...}`` as it is written here: ``x=a,b``."""
    try:
        value = ast.literal_eval(text.replace(", ...", ""))
    except (ValueError, SyntaxError):
        return text
    if isinstance(value, Mapping):
        every = [(f"{name}=" if names else "") + _joined(columns) for name, columns in value.items()]
        return " --columns ".join(every + ["..."] * (", ..." in text))
    return _joined(value)


def _joined(columns: Any) -> str:
    return columns if isinstance(columns, str) else ",".join(map(str, columns))


def _predictor(arguments: argparse.Namespace) -> predictor.Predictor:
    reading = options.reading(arguments)
    part = {name: reading.pop(name) for name in ("inputs", "outputs")}
    if part["inputs"] or part["outputs"]:
        reading["part"] = part
    if arguments.precision is not None:
        reading["precision"] = arguments.precision
    key = arguments.key
    return predictor.Predictor(
        arguments.model, inputs=_columns(arguments.columns), outputs=_listed(arguments.output_columns), threads=arguments.threads,
        nulls="error" if arguments.nulls is None else arguments.nulls, key=None if not key else key[0] if len(key) == 1 else list(key),
        order=arguments.order, **reading,
    )  # fmt: skip


def _listed(names: tuple[str, ...] | None) -> list[str] | None:
    return None if names is None else list(names)


def _columns(given: list[str] | None) -> Any:
    """``--columns`` as :class:`fastlstm.batch.Predictor` takes it."""
    if given is None:
        return None
    by_input: dict[str, Any] = {}
    for text in given:
        name, mark, columns = text.rpartition("=")
        found = list(options.names(columns))
        if name in by_input or (not mark and len(given) > 1):
            raise InputError(f"--columns: expected INPUT=A,B for each input once, found {', '.join(given)}")
        by_input[name] = found[0] if len(found) == 1 else found
    return by_input.get("", by_input)


def _job(arguments: argparse.Namespace, chosen: predictor.Predictor, bar: progress.RowBar | None) -> jobs.Job:
    made = planning.Options(
        keep=arguments.keep, batch_rows=arguments.batch_rows, processes=arguments.processes or 1, overwrite=bool(arguments.overwrite),
        input_kind=arguments.input_format, output_kind=arguments.output_format,
    )  # fmt: skip
    prepare: Callable[[], Any] | None = partial(customfile.executed, arguments.custom) if arguments.custom is not None else None
    reading = {name: getattr(arguments, name) for name in ("architecture", "by_name", "inputs", "outputs")}
    watch = bar.rows if bar is not None else None
    return jobs.Job(chosen, made, watch=watch, prepare=prepare, custom=arguments.custom, part=reading)


def _folder(arguments: argparse.Namespace) -> str:
    found = arguments.output
    if found is None or found == kinds.STANDARD or os.path.splitext(found)[1].lower() in kinds.ENDINGS:
        raise InputError(
            f"{arguments.input}: expected a folder to write to, as it means several files, found {found or 'none'}; -o FOLDER names one"
        )
    return str(found)


# -- one file, or standard input and output -------------------------------------------------------------------------------------


def _one(arguments: argparse.Namespace, job: jobs.Job) -> jobs.Done:
    source, target = arguments.input, arguments.output
    if target is not None and os.path.isdir(target):
        target = os.path.join(target, os.path.basename(source))
        if source == kinds.STANDARD:
            raise InputError(f"{arguments.output}: expected a file for what comes from standard input, found a folder")
    if source != kinds.STANDARD and target not in (None, kinds.STANDARD):
        return job.run(source, target)
    kind = arguments.output_format or ("csv" if target in (None, kinds.STANDARD) else kinds.of_path(target, option="--output-format"))
    if target in (None, kinds.STANDARD) and kind not in kinds.PIPED_OUT:
        known = ", ".join(kinds.PIPED_OUT)
        raise InputError(
            f"standard output: expected --output-format {known}, found {kind}, which is not written in one go; -o names a file"
        )
    if target not in (None, kinds.STANDARD):
        replacing.checked(target, arguments.model, name="-o")
    with _source(arguments, job, kind) as opened:
        plan = job.planned(opened, kind)
        if target in (None, kinds.STANDARD):
            with terminal.output() as printed:
                return job.pour(opened, plan, Raw(printed), "standard output", kind)  # type: ignore[arg-type]
        with replacing.writing(target) as stream:
            return job.pour(opened, plan, stream, target, kind)


def _source(arguments: argparse.Namespace, job: jobs.Job, kind: str) -> Any:
    if arguments.input != kinds.STANDARD:
        return job.opened(arguments.input, kind)
    if sys.stdin is None:
        raise InputError("standard input: closed, nothing can be read")
    reading = job.reading(kind)
    return sources.piped(sys.stdin.buffer, "standard input", arguments.input_format, reading)


class Raw(io.RawIOBase):
    """The bytes behind a stream of text; who writes them does not close it.

    Parameters
    ----------
    stream
        Standard output.
    """

    def __init__(self, stream: Any):
        stream.flush()
        self._stream: BinaryIO = stream.buffer

    def writable(self) -> bool:
        """See RawIOBase."""
        return True

    def write(self, data: Any) -> int:
        """See RawIOBase."""
        return self._stream.write(data)

    def flush(self) -> None:
        """See RawIOBase."""
        if not self.closed:
            self._stream.flush()


# -- what is told -----------------------------------------------------------------------------------------------------------------


def _tell(arguments: argparse.Namespace, done: jobs.Done, seconds: float) -> int:
    target = arguments.output
    if target is None or target == kinds.STANDARD or replacing.is_standard_output(target):
        return 0
    rate = (done.rows - done.begun) / max(seconds, 1e-9)
    before = f", {done.begun:,} of them by the job that was stopped" if done.begun else ""
    line = f"{one_line(target)}: {done.rows:,} rows{before}, in {progress.duration(seconds)} ({rate:,.0f} a second)"
    found = {"model": arguments.model, "file": target, "rows": done.rows, "begun": done.begun, "written": done.written, "seconds": seconds}
    outcome.give(arguments, found, [line], report=True)
    return 0


def _tell_folder(arguments: argparse.Namespace, done: folders.FolderDone, seconds: float) -> int:
    rows = sum(one.rows for one in done.computed.values())
    lines = [f"{one_line(arguments.output)}: {len(done.computed)} files, {rows:,} rows, in {progress.duration(seconds)}"]
    if done.earlier:
        lines.append(f"{len(done.earlier)} files were there already; --overwrite computes them anew")
    lines += [f"{one_line(name)}: computed again, as its input has changed" for name in done.again]
    for source, reason in [*done.failed.items()][:MOST_TOLD]:
        terminal.complain(f"{terminal.coloured('failed:', 'red', sys.stderr)} {terminal.one_line(_as_options(_named(source, reason)))}")
    if len(done.failed) > MOST_TOLD:
        terminal.complain(f"{len(done.failed) - MOST_TOLD} more failed")
    if done.failed:
        lines.append(f"{len(done.failed)} files failed; the same command tries them again")
    outcome.give(arguments, _folder_found(arguments, done, rows, seconds), lines, report=not done.failed)
    return FAILED if done.failed else 0


def _named(source: str, reason: str) -> str:
    return reason if source in reason else f"{source}: {reason}"


def _folder_found(arguments: argparse.Namespace, done: folders.FolderDone, rows: int, seconds: float) -> Mapping[str, Any]:
    return {
        "model": arguments.model, "folder": arguments.output, "rows": rows, "seconds": seconds, "computed": list(done.computed),
        "earlier": list(done.earlier), "again": list(done.again), "failed": done.failed,
    }  # fmt: skip
