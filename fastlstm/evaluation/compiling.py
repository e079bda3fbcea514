"""Losses and metrics for each output of a model, and the order and names in which Keras gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from ..records import record
from .counting import Counting
from .metrics import Metric
from .naming import Loss, Named, computing, loss_of, metric_of


@record(frozen=True)
class Wanted:
    """What is to be computed, as canonical choices (see ``formats/reading/compiled_form.py``), where functions may stand too."""

    loss: Any = None
    metrics: Any = None
    weighted_metrics: Any = None
    loss_weights: Any = None
    named: bool = False  # have names of outputs been put before the metrics' names already, as a file keeps them?


@record(frozen=True)
class Metered:
    """A metric of one output."""

    output: int
    metric: Metric
    name: str  # the metric's own
    weighted: bool
    sparse: bool


def is_outputs(value: Any) -> bool:
    """Is it an object by the names of outputs?"""
    return isinstance(value, Mapping) and set(value) == {"outputs"}


def by_name(value: Mapping[str, Any], names: Sequence[str], argument: str) -> list[Any]:
    """One for each output, None where it is not named."""
    extra = [key for key in value if key not in names]
    if extra:
        raise InputError(f"{argument}: expected names of outputs ({', '.join(names)}), found {', '.join(extra)}")
    return [value.get(name) for name in names]


def losses(wanted: Any, names: Sequence[str], counting: Counting) -> list[Loss | None]:
    """The loss of each output."""
    if is_outputs(wanted):
        chosen = by_name(wanted["outputs"], names, "loss")
    elif isinstance(wanted, list):
        if len(wanted) != len(names):
            raise InputError(f"loss: expected one for each output ({', '.join(names)}), found {len(wanted)} of them")
        chosen = wanted
    else:
        chosen = [wanted] * len(names)
    found: list[Any] = []
    for one in chosen:
        one = one[0] if isinstance(one, list) and len(one) == 1 else one
        if isinstance(one, list) or is_outputs(one):
            raise InputError(f"loss: expected one for each output ({', '.join(names)}), found several for one")
        found.append(None if one is None else loss_of(one, counting))
    return found


def loss_weights(wanted: Any, names: Sequence[str]) -> list[float]:
    """The weight of each output's loss."""
    if isinstance(wanted, Mapping):
        found = by_name(wanted, names, "loss_weights")
    elif isinstance(wanted, (list, tuple, np.ndarray)):
        found = list(wanted)
    else:
        found = [wanted] * len(names)
    if len(found) != len(names):
        raise InputError(f"loss_weights: expected one for each output ({', '.join(names)}), found {len(found)} of them")
    for one in found:
        if one is not None and (isinstance(one, bool) or not isinstance(one, (int, float, np.number))):
            raise InputError(f"loss_weights: expected numbers, found {str(one)[:60]}")
    return [1.0 if one is None else float(one) for one in found]


def for_outputs(wanted: Any, names: Sequence[str], counting: Counting, argument: str) -> list[list[Any]]:
    """The metrics of each output."""
    if wanted is None or wanted == []:
        return [[] for _ in names]
    if is_outputs(wanted):
        chosen = by_name(wanted["outputs"], names, argument)
    elif not isinstance(wanted, list):
        chosen = [wanted] * len(names)
    elif len(names) == 1:
        return [[one for one in flat(wanted) if one is not None]]
    elif any(isinstance(one, list) for one in wanted) or (counting.lists == "outputs" and len(wanted) == len(names)):
        if len(wanted) != len(names):
            raise InputError(f"{argument}: expected a list for each output ({', '.join(names)}), found {len(wanted)} of them")
        chosen = wanted
    else:
        chosen = [wanted] * len(names)
    return [[one for one in flat(each) if one is not None] for each in chosen]


def flat(value: Any) -> list[Any]:
    """Choices in nested lists."""
    return [one for inner in value for one in flat(inner)] if isinstance(value, list) else [value]


def metered(
    wanted: Wanted, names: Sequence[str], found: Sequence[Loss | None], y: Sequence[np.ndarray | None], p: Sequence[np.ndarray],
    counting: Counting,
) -> list[Metered]:  # fmt: skip
    """All metrics: output by output, the weighted ones of each behind the others."""
    plain = for_outputs(wanted.metrics, names, counting, "metrics")
    weighted = for_outputs(wanted.weighted_metrics, names, counting, "weighted_metrics")
    out = []
    for number in range(len(names)):
        target = y[number]
        if target is None or (counting.by_loss and found[number] is None):
            continue
        for chosen, counts, argument in ((plain[number], False, "metrics"), (weighted[number], True, "weighted_metrics")):
            for one in chosen:
                if is_outputs(one):
                    raise InputError(f"{argument}: expected metrics of an output, found an object of outputs in it")
                with computing(argument, target, p[number]):
                    named: Named = metric_of(one, target, p[number], found[number], counting, argument)
                out.append(Metered(number, named.metric, named.name, counts, named.sparse))
    return out


def labels(metrics: Sequence[Metered], names: Sequence[str], first: Sequence[str], wanted: Wanted, counting: Counting) -> list[str]:
    """The name of each metric among the results."""
    if counting.names == "keras3":
        return keras3_labels(metrics, names)
    taken = list(first)
    found: list[str] = []
    for one in metrics:
        several = len(names) > 1 and not wanted.named
        if counting.names == "unique":
            own = one.name if not several else f"{names[one.output]}_{one.name}"
            if one.weighted and own in taken:
                own = f"weighted_{one.name}" if not several else f"{names[one.output]}_weighted_{one.name}"
        else:
            prefix = "weighted_" if one.weighted and counting.names == "functions" else ""
            own = f"{names[one.output]}_{prefix}{one.name}" if several else prefix + one.name
        base, number = own, 1
        while own in taken:
            own, number = f"{base}_{number}", number + 1
        taken.append(own)
        found.append(own)
    return found


def keras3_labels(metrics: Sequence[Metered], names: Sequence[str]) -> list[str]:
    """The same as Keras 3 has it: all metrics without weights come first."""
    counts: dict[str, int] = {}
    found: dict[int, str] = {}
    for number, one in sorted(enumerate(metrics), key=lambda item: item[1].weighted):
        prefix = f"{names[one.output]}_" if len(names) > 1 else ""
        own = prefix + one.name
        if own in counts and one.weighted:
            own = f"{prefix}weighted_{one.name}"
        if own in counts:
            counts[own] += 1
            own = f"{own}_{counts[own] - 1}"
        else:
            counts[own] = 1
        found[number] = own
    return [found[number] for number in range(len(metrics))]


def in_order(results: Mapping[str, Any], metrics: Sequence[Metered], output_losses: Sequence[str], counting: Counting) -> list[Any]:
    """The list that Keras 3 makes of results by name: those that are called as their metrics are, then the others by name."""
    plain = [] if counting.sorted_metrics else [one.name for one in sorted(metrics, key=lambda one: one.weighted)]
    names = ["loss", *plain, *output_losses]
    found = [results[name] for name in names if name in results]
    return found + [results[name] for name in sorted(results) if name not in names]
