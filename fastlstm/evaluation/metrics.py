"""Metrics that add up over batches: means, counts of right and wrong by thresholds, areas under curves, scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from ..errors import InputError
from .counting import Counting, along, mean_of_batch, sums_of, with_mask
from .functions import OfLogits

#: More thresholds than anybody asks for; each takes memory.
MOST_THRESHOLDS = 1_000_000
EPSILON = 1e-7
#: Below every prediction.
LEAST = -1e10


class Metric(Protocol):
    """What a metric has: it takes batches, and gives its result."""

    def update(self, y: np.ndarray, p: np.ndarray, mask: np.ndarray | None, weights: np.ndarray | None) -> None:
        """Take one batch: targets, predictions, which steps are there, and how much they count."""

    def result(self) -> Any:
        """A number, or an array of them."""


def ratio(above: Any, below: Any) -> Any:
    """0 where below is 0."""
    return np.divide(above, below, out=np.zeros(np.broadcast(above, below).shape), where=np.asarray(below) != 0)[()]


class Mean:
    """The mean of a function of targets and predictions."""

    def __init__(
        self, function: Callable[[np.ndarray, np.ndarray], np.ndarray], counting: Counting, ignored: Any = None, rooted: bool = False
    ):  # fmt: skip
        self.function, self.counting, self.ignored, self.rooted = function, counting, ignored, rooted
        self.on_logits: OfLogits | None = None  # the same of logits, for a crossentropy
        self.total = self.count = 0.0

    def update(
        self, y: np.ndarray, p: np.ndarray, mask: np.ndarray | None, weights: np.ndarray | None, logits: np.ndarray | None = None
    ) -> None:  # fmt: skip
        """See Metric; ``logits``: those of the predictions, where they are known."""
        found = self.function(y, p) if logits is None or self.on_logits is None else self.on_logits.function(y, logits)
        values = np.asarray(found, np.float64)
        rows = len(p)
        if values.ndim == 0:  # a function of the caller's may give one number for the whole batch
            values, mask, weights = values[np.newaxis], None, None
        if self.counting.means == "batches":
            self.total += rows * mean_of_batch(values, mask, weights, self.counting, "sample_weight")
            self.count += rows
            return
        together = weighed(mask, weights, self.counting, function=not self.rooted)
        if self.ignored is not None and (together is not None or not self.counting.samplewise):
            there = (y.reshape(values.shape) != self.ignored).astype(np.float64)
            together = there if together is None else there * along(together, there, "sample_weight")
        total, count = sums_of(values, together, self.counting, "sample_weight")
        self.total += total
        self.count += count

    def result(self) -> float:
        """See Metric."""
        if self.counting.means == "batches":
            return self.total / self.count if self.count else 0.0
        mean = float(ratio(self.total, self.count))
        return float(np.sqrt(mean)) if self.rooted else mean


def weighed(mask: np.ndarray | None, weights: np.ndarray | None, counting: Counting, *, function: bool = False) -> np.ndarray | None:
    """The weights of a metric, with the mask in them where the generation heeds it: Keras 3 only in means of functions."""
    heeded = counting.metric_masks in ("always", "listed") or (counting.metric_masks == "weighted" and weights is not None)
    if heeded and (function or not counting.samplewise):
        return with_mask(weights, mask, counting, "sample_weight")
    return weights


def alike(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """The targets in the shape of the predictions."""
    if y.shape != p.shape and y.size == p.size:
        return y.reshape(p.shape)
    if y.shape != p.shape:
        raise InputError(f"y: expected shape {p.shape}, that of the predictions, found {y.shape}")
    return y


def thresholds_of(given: Any, default: float) -> np.ndarray:
    """Thresholds, in float32 as predictions are."""
    many = list(given) if isinstance(given, (list, tuple, np.ndarray)) else [default if given is None else given]
    if len(many) > MOST_THRESHOLDS or not all(isinstance(one, (int, float)) and (one == LEAST or 0 <= one <= 1) for one in many):
        raise InputError(f"thresholds: expected numbers from 0 to 1, found {str(given)[:60]}")
    return np.array(many, np.float32)


def top(p: np.ndarray, k: int) -> np.ndarray:
    """Predictions of which only the k largest of each row are left."""
    order = np.argsort(-p, axis=-1, kind="stable")[..., k:]
    found = p.copy()
    np.put_along_axis(found, order, LEAST, -1)
    return found


class Counts:
    """True and false positives and negatives, at each threshold."""

    def __init__(self, counting: Counting, thresholds: np.ndarray, top_k: int | None = None, class_id: int | None = None):
        self.counting, self.thresholds, self.top_k, self.class_id = counting, thresholds, top_k, class_id
        order = np.argsort(thresholds, kind="stable")
        self.sorted, self.back = thresholds[order], np.argsort(order, kind="stable")
        self.above = np.zeros((2, len(thresholds)))  # of what is no and what is yes, weights above each threshold
        self.all = np.zeros(2)

    def update(self, y: np.ndarray, p: np.ndarray, mask: np.ndarray | None, weights: np.ndarray | None) -> None:
        """See Metric."""
        y = alike(y, p)
        together = weighed(mask, weights, self.counting)
        together = np.ones(()) if together is None else along(together, p, "sample_weight")
        if self.top_k is not None:
            p = top(p, self.top_k)
        if self.class_id is not None:
            if not 0 <= self.class_id < p.shape[-1]:
                raise InputError(f"class_id: expected a class below {p.shape[-1]}, found {self.class_id}")
            y, p = y[..., self.class_id, np.newaxis], p[..., self.class_id, np.newaxis]
            together = together[..., :1] if together.ndim else together
        together = np.broadcast_to(together, p.shape).ravel()
        buckets = self.places(p.astype(np.float32).ravel())
        for yes in (0, 1):
            chosen = (y.ravel() != 0) == bool(yes)
            sums = np.bincount(buckets[chosen], together[chosen], len(self.thresholds) + 1)
            self.above[yes] += np.cumsum(sums[::-1])[::-1][1:][self.back]
            self.all[yes] += sums.sum()

    def places(self, p: np.ndarray) -> np.ndarray:
        """How many thresholds each prediction is above."""
        return np.searchsorted(self.sorted, p, side="left")

    @property
    def counts(self) -> dict[str, np.ndarray]:
        """By what they count."""
        fp, tp = self.above
        return {"tp": tp, "fp": fp, "tn": self.all[0] - fp, "fn": self.all[1] - tp}


class ConfusionMetric:
    """Something of these counts: of one threshold a number, of several an array."""

    def __init__(self, counts: Counts, formula: Callable[..., np.ndarray], several: bool):
        self.held, self.formula, self.several = counts, formula, several
        self.update = counts.update

    def result(self) -> Any:
        """See Metric."""
        found = np.asarray(self.formula(**self.held.counts))
        return found if self.several else float(found.reshape(-1)[0])


#: By their normal names: what they make of the counts.
FORMULAS: Mapping[str, Callable[..., np.ndarray]] = {
    "true_positives": lambda tp, fp, tn, fn: tp,
    "false_positives": lambda tp, fp, tn, fn: fp,
    "true_negatives": lambda tp, fp, tn, fn: tn,
    "false_negatives": lambda tp, fp, tn, fn: fn,
    "precision": lambda tp, fp, tn, fn: ratio(tp, tp + fp),
    "recall": lambda tp, fp, tn, fn: ratio(tp, tp + fn),
}


def confusion(name: str, counting: Counting, options: Mapping[str, Any]) -> ConfusionMetric:
    """One of the metrics in FORMULAS."""
    given, top_k = options.get("thresholds"), whole(options.get("top_k"), "top_k")
    thresholds = thresholds_of(given, 0.5 if top_k is None else LEAST)
    counts = Counts(counting, thresholds, top_k, whole(options.get("class_id"), "class_id", least=0))
    return ConfusionMetric(counts, FORMULAS[name], len(thresholds) > 1)


def whole(value: Any, name: str, least: int = 1) -> int | None:
    """A whole number, or None."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise InputError(f"{name}: expected a whole number from {least} on, found {str(value)[:60]}")
    return int(value)


class EvenCounts(Counts):
    """Counts at thresholds that lie evenly between 0 and 1, with one before and one behind."""

    def places(self, p: np.ndarray) -> np.ndarray:
        """See Counts: by a product in float32, as Keras has it."""
        p = np.clip(p, np.float32(0), np.float32(1))
        found = np.ceil(p * np.float32(len(self.thresholds) - 1)) - 1
        return np.maximum(found, 0).astype(np.int64) + 1


class AUC:
    """The area under a curve of rates over all thresholds; Keras's Riemann sum."""

    def __init__(self, counting: Counting, options: Mapping[str, Any]):
        given = options.get("thresholds")
        many = whole(options.get("num_thresholds", 200), "num_thresholds", least=2) or 200
        # Keras keeps the thresholds in its configuration beside their number, which then counts those around them too.
        inner = [float(one) for one in sorted(thresholds_of(given, 0.5))] if given else []
        if many > MOST_THRESHOLDS:
            raise InputError(f"num_thresholds: expected up to {MOST_THRESHOLDS}, found {many}")
        even = not given
        if given:
            spread = np.array([0.0, *inner, 1.0])
            even = len(spread) > 2 and bool(np.allclose(spread, np.arange(len(spread), dtype=np.float32) / (len(spread) - 1), atol=EPSILON))
        else:
            inner = [(number + 1) * 1.0 / (many - 1) for number in range(many - 2)]
        thresholds = np.array([-EPSILON, *inner, 1.0 + EPSILON]).astype(np.float32)
        self.curve = str(options.get("curve", "ROC")).lower()
        self.method = str(options.get("summation_method", "interpolation")).lower()
        if self.curve not in ("roc", "pr", "prgain") or self.method not in ("interpolation", "minoring", "majoring"):
            raise InputError(f"AUC: expected curve 'ROC' or 'PR', found {self.curve!r} with summation_method {self.method!r}")
        self.labels = bool(options.get("multi_label"))
        self.label_weights = options.get("label_weights")
        self.from_logits = bool(options.get("from_logits"))
        self.kind = EvenCounts if even and counting.buckets else Counts
        self.counting, self.thresholds = counting, thresholds
        self.held: list[Counts] = []

    def update(self, y: np.ndarray, p: np.ndarray, mask: np.ndarray | None, weights: np.ndarray | None) -> None:
        """See Metric."""
        y = alike(y, p)
        if self.from_logits:
            p = 1.0 / (1.0 + np.exp(-p))
        if not self.counting.samplewise and np.any((p < 0) | (p > 1)):  # which Keras 3 takes for 0 and 1
            raise InputError(f"AUC: expected predictions from 0 to 1, found {p.min():.6g} to {p.max():.6g}")
        columns = p.shape[-1] if self.labels else 1
        self.held = self.held or [self.kind(self.counting, self.thresholds) for _ in range(columns)]
        if self.labels:
            for number, counts in enumerate(self.held):
                counts.update(y[..., number, np.newaxis], p[..., number, np.newaxis], mask, weights)
            return
        if self.label_weights is not None:
            together = weighed(mask, weights, self.counting)
            together = np.ones(p.shape) if together is None else np.broadcast_to(along(together, p, "sample_weight"), p.shape)
            mask, weights = None, together * np.asarray(self.label_weights, np.float64)
        self.held[0].update(y, p, mask, weights)

    def result(self) -> float:
        """See Metric."""
        areas = np.array([self.area(**counts.counts) for counts in self.held])
        if len(areas) == 1 or self.label_weights is None:
            return float(areas.mean()) if len(areas) else 0.0
        return float(ratio(np.sum(areas * np.asarray(self.label_weights, np.float64)), np.sum(self.label_weights)))

    def area(self, tp: np.ndarray, fp: np.ndarray, tn: np.ndarray, fn: np.ndarray) -> float:
        """Of one curve."""
        if self.curve == "pr" and self.method == "interpolation":
            return interpolated(tp, fp, fn)
        recall = ratio(tp, tp + fn)
        if self.curve == "roc":
            x, y = ratio(fp, fp + tn), recall
        elif self.curve == "pr":
            x, y = recall, ratio(tp, tp + fp)
        else:
            scale = ratio(tp + fn, tn + fp)
            x = np.maximum(np.where(tp == 0, 0.0, 1.0 - scale * ratio(fn, tp)), 0.0)
            y = np.where(tp == 0, 1.0, 1.0 - scale * ratio(fp, tp))
        sides = {"interpolation": (y[:-1] + y[1:]) / 2.0, "minoring": np.minimum(y[:-1], y[1:]), "majoring": np.maximum(y[:-1], y[1:])}
        return float(np.sum((x[:-1] - x[1:]) * sides[self.method]))


def interpolated(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray) -> float:
    """The area under precision and recall, both between thresholds as the counts go: Davis and Goadrich 2006, section 4."""
    positive = tp + fp
    more = tp[:-1] - tp[1:]
    slope = ratio(more, np.maximum(positive[:-1] - positive[1:], 0))
    intercept = tp[1:] - slope * positive[1:]
    both = (positive[:-1] > 0) & (positive[1:] > 0)
    shares = np.where(both, ratio(positive[:-1], np.maximum(positive[1:], 0)), 1.0)
    return float(np.sum(ratio(slope * (more + intercept * np.log(shares)), np.maximum(tp[1:] + fn[1:], 0))))


class FBeta:
    """The weighted harmonic mean of precision and recall."""

    def __init__(self, counting: Counting, options: Mapping[str, Any], beta: float = 1.0):
        self.counting, self.beta = counting, float(options.get("beta", beta))
        self.average, self.threshold = options.get("average"), options.get("threshold")
        if self.average not in (None, "micro", "macro", "weighted"):
            raise InputError(f"average: expected None, 'micro', 'macro' or 'weighted', found {str(self.average)[:60]}")
        self.sums: Any = 0.0

    def update(self, y: np.ndarray, p: np.ndarray, mask: np.ndarray | None, weights: np.ndarray | None) -> None:
        """See Metric."""
        y = alike(y, p)
        largest = (p >= p.max(axis=-1, keepdims=True)) & (np.abs(p) > 1e-9)
        said = largest if self.threshold is None else p > self.threshold
        together = weighed(mask, weights, self.counting)
        w = np.ones(()) if together is None else along(together, p, "sample_weight")
        axis = None if self.average == "micro" else tuple(range(p.ndim - 1))
        if self.average == "micro" and not self.counting.samplewise:  # tf.keras weighs every row by the weights of all
            w = np.asarray(np.sum(w))
        parts = (said * y, said * (1 - y), (1 - said) * y, y)
        self.sums = self.sums + np.stack([np.sum(part * w, axis=axis) for part in parts])

    def result(self) -> Any:
        """See Metric."""
        tp, fp, fn, weights = self.sums
        precision, recall = ratio(tp, tp + fp), ratio(tp, tp + fn)
        found = (1 + self.beta**2) * ratio(precision * recall, self.beta**2 * precision + recall)
        if self.average == "weighted":
            return float(np.sum(found * ratio(weights, np.sum(weights))))
        return np.asarray(found) if self.average is None else float(np.mean(found))


class R2:
    """The share of the variance that is explained."""

    def __init__(self, counting: Counting, options: Mapping[str, Any]):
        self.counting = counting
        self.aggregation = options.get("class_aggregation", "uniform_average")
        self.regressors = whole(options.get("num_regressors", 0), "num_regressors", least=0) or 0
        self.sums: Any = 0.0
        self.count, self.rows = 0.0, 0

    def update(self, y: np.ndarray, p: np.ndarray, mask: np.ndarray | None, weights: np.ndarray | None) -> None:
        """See Metric."""
        y = alike(y, p)
        together = weighed(mask, weights, self.counting)
        shape = (*p.shape[:-1], 1)
        w = np.ones(shape) if together is None else np.broadcast_to(along(together, p, "sample_weight"), shape)
        axes = tuple(range(p.ndim - 1))
        self.sums = self.sums + np.stack([np.sum(w * part, axis=axes) for part in (y, y**2, (y - p) ** 2)])
        self.count += float(w.sum())
        self.rows += p.size

    def result(self) -> Any:
        """See Metric."""
        sums, squares, errors = self.sums
        with np.errstate(all="ignore"):
            total = squares - sums * sums / self.count
            found = 1.0 - errors / total
            found = np.where(np.isinf(found), 0.0, found)
            if self.aggregation == "uniform_average":
                found = np.mean(found)
            elif self.aggregation == "variance_weighted_average":
                found = np.sum(found * total) / np.sum(total)
            if self.regressors and self.regressors < self.rows - 1:
                found = 1.0 - (1.0 - found) * (self.rows - 1) / (self.rows - self.regressors - 1)
        return float(found) if np.ndim(found) == 0 else found


def at_other(kind: Sequence[str], counting: Counting, options: Mapping[str, Any]) -> ConfusionMetric:
    """The best of one rate where the other is at least a value: SensitivityAtSpecificity and its kin."""
    wanted, given = kind
    value, many = options.get(given), whole(options.get("num_thresholds", 200), "num_thresholds") or 200
    if not isinstance(value, (int, float)) or not 0 <= value <= 1 or many > MOST_THRESHOLDS:
        raise InputError(f"{given}: expected a number from 0 to 1, found {str(value)[:60]}")
    inner = [(number + 1) * 1.0 / (many - 1) for number in range(many - 2)]
    thresholds = np.array([0.5] if many == 1 else [0.0, *inner, 1.0]).astype(np.float32)
    rates: dict[str, Callable[..., np.ndarray]] = {
        "sensitivity": FORMULAS["recall"], "recall": FORMULAS["recall"], "precision": FORMULAS["precision"],
        "specificity": lambda tp, fp, tn, fn: ratio(tn, tn + fp),
    }  # fmt: skip

    def best(**counts: np.ndarray) -> np.ndarray:
        given_rate, wanted_rate = rates[given](**counts), rates[wanted](**counts)
        if counting.nearest and given != "precision":
            return np.asarray(wanted_rate[np.argmin(np.abs(given_rate.astype(np.float32) - np.float32(value)))])
        return np.asarray(wanted_rate[given_rate >= value].max(initial=0.0))

    return ConfusionMetric(Counts(counting, thresholds, None, whole(options.get("class_id"), "class_id", 0)), best, False)
