"""The command ``evaluate``: loss and metrics of a model on data, as a table, JSON or a picture."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .. import replacing
from ..drawing import saving
from ..errors import InputError
from ..evaluation import labelled
from ..inputs import TensorInfo
from ..listing import one_line
from ..model import Model
from ..pipeline import Pipeline, load_either
from ..surroundings import Labelled
from . import answers, arrayfiles, options, outcome, progress, terminal
from .pictures import drawn


def add(command: argparse.ArgumentParser) -> None:
    """Its arguments."""
    options.completed(command.add_argument("model", metavar="MODEL", type=options.path))
    options.completed(command.add_argument("input", metavar="X", type=options.path, help="inputs: .npy, .npz or .csv file"))
    options.completed(command.add_argument("targets", metavar="Y", type=options.path, help="what should be predicted: likewise"))
    command.add_argument("--batch-size", metavar="N", type=options.positive, help="rows of a batch (default: 32, as in Keras)")
    command.add_argument("--loss", metavar="NAME", action="append", help="mse, ...; once for each output (default: what the file says)")
    command.add_argument("--metrics", metavar="NAME", nargs="+", help="mae accuracy ... (default: what the file says)")
    what = "a weight for each row, or for each timestep: .npy, .npz or .csv file"
    options.completed(command.add_argument("--sample-weight", metavar="W", type=options.path, help=what))
    what = "draw actual and predicted numbers, or a confusion matrix, into this .svg file"
    options.completed(command.add_argument("--plot", metavar="OUT", type=options.path, help=what))
    command.add_argument("--threads", metavar="N", type=options.positive, default=1, help="threads that share the work (default: 1)")
    options.add_file_arguments(command)
    options.add_precision(command)
    options.add_cut(command)
    options.add_telling(command)
    command.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """The command."""
    target = None
    if arguments.plot is not None:
        target = saving.checked_picture(arguments.plot, arguments.model, arguments.input, arguments.targets, name="--plot")
    with options.told_as_options(), progress.shown(f"loading {one_line(arguments.model)}", outcome.bar_of(arguments)):
        loaded = load_either(arguments.model, threads=arguments.threads, precision=arguments.precision, **options.reading(arguments))
    model = loaded.model if isinstance(loaded, Pipeline) else loaded
    path = Path(arguments.input)
    given = inputs_in(path, loaded)
    chosen = arguments.loss[0] if arguments.loss and len(arguments.loss) == 1 else arguments.loss
    y = answers.labels_in(Path(arguments.targets), loaded) if isinstance(loaded, Pipeline) and loaded.labels else None
    y = read_targets(Path(arguments.targets), model.outputs) if y is None else y
    rows = len(y[0] if len(model.outputs) > 1 else y)
    weights = None if arguments.sample_weight is None else read_targets(Path(arguments.sample_weight), model.outputs, alone=True)
    with progress.shown("evaluating", outcome.bar_of(arguments)):
        results = evaluated(loaded, given, y, weights, chosen, arguments)
    if target is not None:
        title = f"{os.path.basename(arguments.model)} on {os.path.basename(arguments.input)}"
        told = ", ".join(f"{name} {shown(value)}" for name, value in results.items())
        outputs, first = loaded.predict(given), y[0] if len(model.outputs) > 1 else y
        if isinstance(loaded, Pipeline) and isinstance(outputs, Labelled):
            outputs, numbers = outputs.probabilities, labelled.class_numbers(y, loaded.labels, model.outputs[0])
            first = y if numbers is None else numbers
        predicted = outputs if isinstance(outputs, np.ndarray) else next(iter(outputs.values() if isinstance(outputs, dict) else outputs))
        saving.keep(drawn(predicted, first, title, told), target)
        if replacing.is_standard_output(target):  # which is the picture then
            return 0
    outcome.give(arguments, {"model": arguments.model, "rows": rows, "results": results}, table(arguments, rows, results))
    return 0


def evaluated(loaded: Model | Pipeline, x: Any, y: Any, weights: Any, loss: Any, arguments: argparse.Namespace) -> Mapping[str, Any]:
    """The results by name; errors in the words of the command line."""
    asked = {"loss": loss, "metrics": arguments.metrics}
    with told_as_options({"sample_weight": str(arguments.sample_weight), "y": arguments.targets}):
        return dict(loaded.evaluate(x, y, batch_size=arguments.batch_size, sample_weight=weights, return_dict=True, **asked))


def inputs_in(path: Path, loaded: Model | Pipeline) -> Any:
    """The inputs in a file, as ``evaluate`` takes them: raw for a pipeline."""
    if isinstance(loaded, Pipeline):
        return answers.read_raw(path, loaded)
    x = arrayfiles.read(path, loaded.inputs)
    return x[0] if len(x) == 1 else x


@contextmanager
def told_as_options(files: Mapping[str, str] | None = None) -> Iterator[None]:
    """Errors in the words of the command line; ``files``: where the arguments of such names came from."""
    try:
        yield
    except InputError as error:
        text = str(error)
        for name in ("loss", "metrics"):
            if text.startswith(f"{name}: "):
                text = f"--{text}".replace("evaluate(x, y, loss='mse', metrics=['mae'])", "--loss mse --metrics mae")
                text = text.replace(
                    f"pass {name}= with a function of (y_true, y_pred), or with a name of Keras's", "pass a name of Keras's, such as mse"
                )
        for name, file in (files or {}).items():
            if text.startswith((f"{name}: ", f"{name} of", f"{name}[")):
                text = f"{file}: {text}"
        raise InputError(text) from error


def read_targets(path: Path, outputs: tuple[TensorInfo, ...], *, alone: bool = False) -> Any:
    """The arrays of a file, one for each output; a line of a .csv file is what a row has, however many numbers that takes.

    ``alone`` says that one array may do for all outputs.
    """
    ending = path.suffix.lower()
    if ending != ".csv":
        infos = outputs[:1] if alone and ending == ".npy" else outputs
        found = arrayfiles.read(path, infos)
        return found[0] if len(found) == 1 else found
    if len(outputs) > 1 and not alone:
        names = ", ".join(info.name for info in outputs)
        raise InputError(f"{path}: the model has {len(outputs)} outputs ({names}): expected a .npz file with an array for each")
    (rows,) = arrayfiles.read(path, [TensorInfo("y", (None, None), "float32")])
    last = outputs[0].shape[-1] or 1
    by_step = len(outputs[0].shape) == 3 and not alone
    if isinstance(rows, list):
        return [row.reshape(-1, last) if by_step and row.size % last == 0 else row for row in rows]
    sizes = [size for size in outputs[0].shape[1:] if size is not None]
    count = rows.shape[1]
    if alone or count == 1:
        return rows[:, 0] if count == 1 else rows
    if len(sizes) == len(outputs[0].shape) - 1 and int(np.prod(sizes)) == count:
        return rows.reshape(len(rows), *sizes)
    return rows.reshape(len(rows), -1, last) if by_step and count % last == 0 else rows


def shown(value: Any) -> str:
    """A result in a few digits."""
    return f"{value:.6g}" if np.ndim(value) == 0 else " ".join(f"{one:.6g}" for one in np.ravel(value))


def table(arguments: argparse.Namespace, rows: int, results: Mapping[str, Any]) -> Iterator[str]:
    """A line for each result."""
    if not outcome.is_quiet(arguments):
        yield one_line(f"{arguments.model}: {rows} row{'s' if rows != 1 else ''}")
    names = max(len(one_line(name)) for name in results)
    for name, value in results.items():
        yield f"{terminal.coloured(f'{one_line(name):<{names}}', 'bold')}  {shown(value)}"
    if arguments.plot is not None and not outcome.is_quiet(arguments):
        yield one_line(f"drawn into {arguments.plot}")
