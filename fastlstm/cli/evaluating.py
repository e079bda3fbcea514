"""The command ``evaluate``: loss and metrics of a model on data, as a table, JSON or a picture."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import replacing
from ..api import load
from ..drawing import saving
from ..errors import InputError
from ..inputs import TensorInfo
from ..listing import one_line
from ..model import Model
from . import arrayfiles, options, outcome, progress, terminal
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
    options.add_cut(command)
    options.add_telling(command)
    command.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """The command."""
    target = None
    if arguments.plot is not None:
        target = saving.checked_picture(arguments.plot, arguments.model, arguments.input, arguments.targets, name="--plot")
    with options.told_as_options(), progress.shown(f"loading {one_line(arguments.model)}", outcome.bar_of(arguments)):
        model = load(arguments.model, threads=arguments.threads, **options.reading(arguments))
    x = arrayfiles.read(Path(arguments.input), model.inputs)
    given = x[0] if len(model.inputs) == 1 else x
    y = read_targets(Path(arguments.targets), model.outputs)
    weights = None if arguments.sample_weight is None else read_targets(Path(arguments.sample_weight), model.outputs, alone=True)
    chosen = arguments.loss[0] if arguments.loss and len(arguments.loss) == 1 else arguments.loss
    with progress.shown("evaluating", outcome.bar_of(arguments)):
        results = evaluated(model, given, y, weights, chosen, arguments)
    if target is not None:
        title = f"{os.path.basename(arguments.model)} on {os.path.basename(arguments.input)}"
        told = ", ".join(f"{name} {shown(value)}" for name, value in results.items())
        first = y[0] if isinstance(y, list) else y
        outputs = model.predict(given)
        predicted = outputs if isinstance(outputs, np.ndarray) else next(iter(outputs.values() if isinstance(outputs, dict) else outputs))
        saving.keep(drawn(predicted, first, title, told), target)
        if replacing.is_standard_output(target):  # which is the picture then
            return 0
    outcome.give(arguments, {"model": arguments.model, "rows": len(x[0]), "results": results}, table(arguments, len(x[0]), results))
    return 0


def evaluated(model: Model, x: Any, y: Any, weights: Any, loss: Any, arguments: argparse.Namespace) -> Mapping[str, Any]:
    """The results by name; errors in the words of the command line."""
    try:
        found: Mapping[str, Any] = model.evaluate(
            x, y, batch_size=arguments.batch_size, sample_weight=weights, loss=loss, metrics=arguments.metrics, return_dict=True
        )
    except InputError as error:
        words = {"loss: ": "--loss: ", "metrics: ": "--metrics: ", "sample_weight": f"{arguments.sample_weight}", "y": arguments.targets}
        text = str(error)
        for name, said in words.items():
            if text.startswith(name) and name.endswith(": "):
                text = said + text.removeprefix(name).replace("evaluate(x, y, loss='mse', metrics=['mae'])", "--loss mse --metrics mae")
            elif text.startswith((f"{name}: ", f"{name} of", f"{name}[")):
                text = f"{said}: {text}"
        raise InputError(text) from error
    return found


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
    if isinstance(rows, list):
        return rows
    sizes = [size for size in outputs[0].shape[1:] if size is not None]
    count = rows.shape[1]
    if alone or count == 1:
        return rows[:, 0] if count == 1 else rows
    if len(sizes) == len(outputs[0].shape) - 1 and int(np.prod(sizes)) == count:
        return rows.reshape(len(rows), *sizes)
    last = outputs[0].shape[-1] or 1
    return rows.reshape(len(rows), -1, last) if len(outputs[0].shape) == 3 and count % last == 0 else rows


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
