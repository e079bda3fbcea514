"""Evaluation of a model on data: batch by batch, as the Keras that saved the file counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..batches import KERAS_BATCH, Evaluated
from ..errors import InputError
from ..inputs import positive
from ..records import record
from ..spec import ModelSpec
from .compiling import Metered, Wanted, in_order, labels, loss_weights, losses, metered
from .counting import COUNTINGS, Counting, loss_of
from .functions import OfLogits
from .metrics import Mean
from .naming import Loss, as_choice, computing
from .penalties import penalties
from .predicting import Logits, Shown
from .targets import each, first_rows, rounded, target, weights

#: How targets are passed.
TARGETS = "pass evaluate(x, y), or batches of (x, y)"


@record(frozen=True)
class Data:
    """What is evaluated, output by output; None where there is none."""

    predictions: list[np.ndarray]
    masks: list[np.ndarray | None]
    targets: list[np.ndarray | None]
    weights: list[np.ndarray | None]
    binary_logits: list[np.ndarray | None]
    class_logits: list[np.ndarray | None]

    def batch(self, first: int, last: int) -> Data:
        """Some of the rows."""

        def cut(arrays: Sequence[np.ndarray | None]) -> list[Any]:
            return [None if one is None else one[first:last] for one in arrays]

        return Data(
            cut(self.predictions), cut(self.masks), cut(self.targets), cut(self.weights), cut(self.binary_logits), cut(self.class_logits)
        )

    def logits(self, number: int, function: OfLogits | None) -> np.ndarray | None:
        """Those of an output that a crossentropy goes back to; None where there are none."""
        if function is None:
            return None
        return (self.binary_logits if function.binary else self.class_logits)[number]


def wanted(spec: ModelSpec, source: str, given: Mapping[str, Any]) -> Wanted:
    """What is to be computed: what the caller says, else what the file does.

    Raises
    ------
    InputError
        If neither says what the loss is.
    """
    kept = spec.compiled or {}
    chosen = {name: as_choice(given[name], name) if given.get(name) is not None else kept.get(name) for name in ("loss", "metrics")}
    own = given.get("metrics") is None
    chosen["weighted_metrics"] = (
        as_choice(given["weighted_metrics"], "weighted_metrics")
        if given.get("weighted_metrics") is not None
        else kept.get("weighted_metrics")
        if own
        else None
    )
    if none_of(chosen["loss"]):
        raise InputError(
            f"loss: {source} does not say what the model was compiled with; pass it: evaluate(x, y, loss='mse', metrics=['mae'])"
        )
    factors = given.get("loss_weights")
    factors = factors if factors is not None else kept.get("loss_weights") if given.get("loss") is None else None
    return Wanted(loss_weights=factors, named=own and written_out(chosen["metrics"]), **chosen)


def none_of(loss: Any) -> bool:
    """Is it no loss, or one of no output?"""
    if isinstance(loss, Mapping) and set(loss) == {"outputs"}:
        loss = list(loss["outputs"].values())
    return loss is None or (isinstance(loss, list) and not any(loss))


def written_out(metrics: Any) -> bool:
    """Are they what tf.keras writes of a model that it has evaluated or trained: lists of objects, whose names are final?"""
    inner = [one for each in metrics for one in each] if isinstance(metrics, list) and all(isinstance(m, list) for m in metrics) else []
    return bool(inner) and all(one is None or (isinstance(one, dict) and "config" in one) for one in inner)


def data(
    shown: Shown, found: Sequence[Loss | None], names: Sequence[str], given: Evaluated, counting: Counting
) -> Data:  # fmt: skip
    """Predictions beside what they should be."""
    sample_weight = given.sample_weight
    for name, output in zip(names, shown.outputs, strict=True):
        if output.dtype == object:
            raise InputError(f"evaluate: expected outputs that are numbers, found texts: {name!r}")
    wide = shown.outputs[0].dtype == np.float64
    p = [np.asarray(one, np.float64) for one in shown.outputs]
    rows = len(p[0])
    targets_of = [first_rows(one, given.rows, rows) for one in each(given.y, names, "y", given.rows)]
    several = not isinstance(sample_weight, (list, tuple, Mapping)) and len(names) > 1
    weighing = [sample_weight] * len(names) if several else each(sample_weight, names, "sample_weight", given.rows)
    weighing = [first_rows(one, given.rows, rows) for one in weighing]
    targets: list[np.ndarray | None] = []
    weighed: list[np.ndarray | None] = []
    for number, name in enumerate(names):
        place = "y" if len(names) == 1 else f"y of output {name!r}"
        loss = found[number]
        if targets_of[number] is None:
            if loss is not None:
                raise InputError(f"{place}: expected an array, as the output has a loss, found None; {TARGETS}")
            targets.append(None)
        else:
            free = loss is None or loss.sparse or not loss.name or not counting.by_loss
            targets.append(rounded(target(targets_of[number], p[number], shown.lengths[number], place, free), wide))
        place = "sample_weight" if len(names) == 1 else f"sample_weight of output {name!r}"
        weighed.append(weights(weighing[number], p[number], shown.lengths[number], place, True))
    masks = [None if mask is None else mask.astype(np.float64) for mask in shown.masks]
    kept = [one or Logits(None, None) for one in shown.logits] or [Logits(None, None)] * len(names)
    of_two = ([None if array is None else array.astype(np.float64) for array in arrays] for arrays in zip(*kept, strict=True))
    return Data(p, masks, targets, weighed, *of_two)


class Sums:
    """The losses of batches, added up."""

    def __init__(self, count: int, counting: Counting):
        self.counting = counting
        self.batches = 0
        self.total = self.rows = 0.0
        self.own = np.zeros(count)
        self.own_weights = 0.0

    def add(self, values: Sequence[float], factors: Sequence[float], rows: int, more: float) -> None:
        """One batch: the loss of each output, and what is added to their sum."""
        self.batches += 1
        weight = rows if self.counting.loss_rows else 1
        self.total += weight * (sum(factor * value for factor, value in zip(factors, values, strict=True)) + more)
        self.rows += weight
        weight = rows if self.counting.output_loss_rows else 1
        self.own += weight * np.asarray(values)
        self.own_weights += weight


@record(frozen=True)
class Asked:
    """What the caller of ``Model.evaluate`` said."""

    batch: int
    return_dict: bool
    penalties: bool
    options: Mapping[str, Any]  # loss, metrics, weighted_metrics, loss_weights


def evaluate(spec: ModelSpec, source: str, parts: Iterable[tuple[Shown, Evaluated]], asked: Asked) -> Any:
    """What ``Model.evaluate`` returns, for a model of a file, its predictions, and what they should be: one part after another."""
    counting, names = COUNTINGS[spec.rules.evaluation], list(unique(spec.output_names))
    chosen = wanted(spec, source, asked.options)
    found = losses(chosen.loss, names, counting)
    factors = loss_weights(chosen.loss_weights, names)
    more = penalties(spec, source) if asked.penalties else 0.0
    sums = Sums(len(names), counting)
    metrics: list[Metered] = []
    for shown, given in parts:
        whole = data(shown, found, names, given, counting)
        rows = len(whole.predictions[0])
        if not rows:
            raise InputError("x: expected at least one row, found none")
        if not sums.batches:  # the first data say which metric a name stands for
            metrics = metered(chosen, names, found, whole.targets, whole.predictions, counting)
        for first in range(0, rows, asked.batch):
            part = whole.batch(first, first + asked.batch)
            values = [one_loss(part, number, loss, counting) for number, loss in enumerate(found)]
            count = len(part.predictions[0])
            sums.add(values, factors, count, more + added(shown.activities, first, count, counting))
            for one in metrics:
                observe(one, part, counting)
    return results(names, found, chosen, metrics, sums, counting, asked.return_dict)


def added(activities: np.ndarray | None, first: int, rows: int, counting: Counting) -> float:
    """What the activities of so many rows of a batch add to its loss."""
    if activities is None:
        return 0.0
    own = activities[first : first + rows]
    return float(np.mean(own) if counting.activities == "rows" else np.sum(own))


def unique(names: Sequence[str]) -> Sequence[str]:
    """Names of outputs, each once: a layer that makes several gives all of them its own."""
    if len(set(names)) == len(names):
        return names
    counts: dict[str, int] = {}
    found: list[Any] = []
    for name in names:
        counts[name] = counts.get(name, -1) + 1
        found.append(f"{name}_{counts[name]}" if counts[name] else name)
    return found


def one_loss(part: Data, number: int, loss: Loss | None, counting: Counting) -> float:
    """The loss of one output in one batch."""
    y, p, mask, w = part.targets[number], part.predictions[number], part.masks[number], part.weights[number]
    if loss is None or y is None:
        return 0.0
    logits = part.logits(number, loss.on_logits)
    if squeezes(loss.sparse, y, p):
        p, logits = p[..., 0], None
    with computing(f"loss {loss.name}".rstrip(), y, p), np.errstate(all="ignore"):
        found = loss.function(y, p) if logits is None or loss.on_logits is None else loss.on_logits.function(y, logits)
        values = np.asarray(found, np.float64)
    if values.ndim == 0:
        return float(values)
    scale = 1.0
    if loss.ignored is not None:
        there = (y.reshape(values.shape) != loss.ignored).astype(np.float64)
        mask = there if mask is None else mask * there  # both are of the shape of the losses
        if counting.losses == "elements" and loss.reduction != "sum":  # which then knows how many are there, but not of other masks
            scale = there.size / max(there.sum(), 1.0)
    what = "sample_weight" if w is not None else "y of an output that has a mask"
    return scale * loss_of(values, mask, w, loss.reduction, counting, what)


def squeezes(sparse: bool, y: np.ndarray, p: np.ndarray) -> bool:
    """Does Keras take the last axis off predictions, which are then a tensor of their own that keeps no logits?"""
    return not sparse and y.ndim == p.ndim - 1 and p.shape[-1] == 1


def observe(one: Metered, part: Data, counting: Counting) -> None:
    """Show a metric one batch."""
    y, p = part.targets[one.output], part.predictions[one.output]
    if y is None:
        return
    logits = part.logits(one.output, one.metric.on_logits) if isinstance(one.metric, Mean) else None
    if squeezes(one.sparse, y, p):
        p, logits = p[..., 0], None
    mask = None if counting.metric_masks == "listed" and not one.weighted else part.masks[one.output]
    with computing(f"metric {one.name}", y, p), np.errstate(all="ignore"):
        weights = part.weights[one.output] if one.weighted else None
        if isinstance(one.metric, Mean):
            one.metric.update(y, p, mask, weights, logits)
        else:
            one.metric.update(y, p, mask, weights)


def results(
    names: Sequence[str], found: Sequence[Loss | None], asked: Wanted, metrics: Sequence[Metered], sums: Sums, counting: Counting,
    return_dict: bool,
) -> Any:  # fmt: skip
    """The numbers by their names, or as the list in Keras's order; a single one by itself."""
    answer: dict[str, Any] = {"loss": float(sums.total / sums.rows)}
    shows = [loss is not None for loss in found]
    many = len(names) > 1 and counting.output_losses and not (counting.names == "keras3" and sum(shows) < 2)
    own = [f"{name}_loss" for name, there in zip(names, shows, strict=True) if there] if many else []
    values = dict(zip([f"{name}_loss" for name in names], sums.own / sums.own_weights, strict=True))
    called = labels(metrics, names, ["loss", *own], asked, counting)
    measured = {name: one.metric.result() for name, one in zip(called, metrics, strict=True)}
    if counting.names == "keras3":
        order = sorted(range(len(metrics)), key=lambda number: metrics[number].weighted)
        answer |= {called[number]: measured[called[number]] for number in order}
        answer |= {name: float(values[name]) for name in own}
        listed = in_order(answer, metrics, own, counting)
    else:
        answer |= {name: float(values[name]) for name in own}
        answer |= measured
        listed = list(answer.values())
    if return_dict:
        return answer
    return listed[0] if len(listed) == 1 else listed


def batch_of(batch_size: Any, fixed: int | None) -> int:
    """Rows of a batch."""
    if batch_size is not None:
        positive(batch_size, "batch_size", expected="a positive number or None")
    return fixed or batch_size or KERAS_BATCH
