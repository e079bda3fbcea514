"""How good a pipeline's answers are: targets as labels or in the units of the data, beside what its network makes of raw input."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..batches import Evaluated
from ..errors import InputError
from ..evaluation import evaluating, predicting
from ..evaluation.compiling import losses
from ..evaluation.counting import COUNTINGS
from ..inputs import TensorInfo, gather
from ..pipeline import Pipeline
from ..spec import STRING
from ..surroundings import Labelled
from . import arrayfiles, csvlines

#: The name of a column of labels.
LABEL = "label"
#: Labels in a message, and characters of one.
MOST_SHOWN, LONGEST = 10, 60


def class_numbers(path: Path, pipeline: Pipeline) -> np.ndarray | None:
    """The numbers of the classes whose labels a file holds; None where it holds numbers that are no labels.

    Raises
    ------
    InputError
        If it holds other texts.
    """
    if path.suffix.lower() == ".npz" or is_table(path):
        return None
    named = any(isinstance(label, str) for label in pipeline.labels)
    (rows,) = arrayfiles.read(path, [TensorInfo(LABEL, (None,), STRING if named else "float32")])
    found = np.asarray(rows)
    if found.dtype.kind == "S":
        found = np.char.decode(found, "utf-8", "replace")
    if found.dtype.kind == "U":
        return by_label({str(label): number for number, label in enumerate(pipeline.labels)}, found, path)
    known = {float(label): number for number, label in enumerate(pipeline.labels) if not isinstance(label, str)}
    if not known or not set(np.unique(found).tolist()) <= set(known):
        return None
    return np.array([known[label] for label in found.ravel().tolist()], np.int64).reshape(found.shape)


def is_table(path: Path) -> bool:
    """Does a .csv file have several numbers in a line?"""
    if path.suffix.lower() != ".csv":
        return False
    try:
        return any(len(line.values) > 1 for line in csvlines.read(path))
    except (InputError, OSError):  # texts, or what reading it as such tells
        return False


def by_label(known: Mapping[str, int], found: np.ndarray, path: Path) -> np.ndarray:
    """The numbers of labels; texts of numbers that are no labels are those numbers."""
    texts = found.ravel().tolist()
    strange = next((text for text in texts if text not in known), None)
    if strange is None:
        numbers = [known[text] for text in texts]
    elif all(text.strip().isdecimal() and int(text) < len(known) for text in texts):
        numbers = [int(text) for text in texts]
    else:
        raise InputError(f"{path}: expected labels ({', '.join(list(known)[:MOST_SHOWN])}), found {strange[:LONGEST]!r}")
    return np.array(numbers, np.int64).reshape(found.shape)


def targets(path: Path, pipeline: Pipeline, loss: Any) -> Any:
    """The labels of a file as its network's loss takes them; None where it holds none.

    Parameters
    ----------
    path
        Texts or numbers, a label a row.
    pipeline
        A pipeline with labels.
    loss
        As for ``Model.evaluate``.
    """
    numbers = class_numbers(path, pipeline)
    if numbers is None:
        return None
    spec, size = pipeline.model.spec, pipeline.model.outputs[0].shape[-1]
    chosen = evaluating.wanted(spec, pipeline.model.source, {"loss": loss}).loss
    (found,) = losses(chosen, spec.output_names, COUNTINGS[spec.rules.evaluation])
    if size == 1 or found is None or found.sparse:
        return numbers
    return np.eye(len(pipeline.labels), dtype=np.float32)[numbers]


def evaluated(pipeline: Pipeline, x: Any, y: Any, batch_size: int | None, sample_weight: Any, options: Mapping[str, Any]) -> Any:
    """Loss and metrics by name, in the units of the data where the pipeline takes outputs back to them.

    Penalties of weights are left out then, as they have no such units.

    Parameters
    ----------
    x
        What the network gets.
    y, batch_size, sample_weight
        As for ``Model.evaluate``.
    options
        Loss and metrics.
    """
    model = pipeline.model
    if pipeline.spec.inverse is None:
        return model.evaluate(x, y, batch_size=batch_size, sample_weight=sample_weight, return_dict=True, **options)
    if model.executor.stateful:
        raise InputError("evaluate: expected a pipeline whose model is not stateful, or which has no inverse; found one with both")
    batch = evaluating.batch_of(batch_size, model.inputs[0].shape[0])
    given = gather(x, model.inputs)
    found = predicting.shown(model.executor, given, batch)
    found = found._replace(outputs=[pipeline.finish(output) for output in found.outputs])
    asked = evaluating.Asked(batch, return_dict=True, penalties=False, options=options)
    rows = len(found.outputs[0])
    return evaluating.evaluate(model.spec, model.source, [(found, Evaluated(given, y, sample_weight, rows))], asked)


def predicted(pipeline: Pipeline, x: Any) -> Any:
    """Answers, for a picture: probabilities, or values in the units of the data."""
    answer = pipeline.finish(pipeline.model.predict(x))
    return answer.probabilities if isinstance(answer, Labelled) else answer
