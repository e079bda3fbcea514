"""How numbers of rows and timesteps become one: masks, weights and batches, by generation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from ..errors import InputError
from ..records import record
from .functions import Flavour

#: How a mask and weights make one number of a batch's losses.
Masking = Literal["share", "weights", "elements", "valid"]


@record(frozen=True)
class Counting:
    """How one generation of Keras evaluates."""

    # "share": masked losses divided by the share of steps that are there, weighted ones by the share of weights that are not 0.
    # "weights": divided by the sum of the weights, in which the mask is. "elements": by the number of all losses, masked or not.
    # "valid": by the number of those that are there.
    losses: Masking = "valid"
    # Do metrics heed masks: those that are given weights? those that are listed as weighted? all?
    metric_masks: Literal["never", "weighted", "listed", "always"] = "always"
    means: Literal["batches", "samples"] = "samples"  # metrics that are functions: a mean of batches' means, or of samples
    loss_rows: bool = True  # is the loss a mean of batches by their rows? Else each batch counts as much
    output_loss_rows: bool = True  # ... that of one of several outputs
    strict_weights: bool = False  # weights must fit losses as arrays do, from the last axis on
    samplewise: bool = False  # a metric counts rows, each by the mean of its weights
    temporal: bool = True  # weights of timesteps, without a word in compile
    names: Literal["functions", "strings", "unique", "keras3"] = "keras3"
    output_losses: bool = True  # does each of several outputs show its loss?
    sorted_metrics: bool = False  # does a list of results have metrics in the order of their names?
    by_loss: bool = False  # is "accuracy" told by the loss and the output, not by the shapes of the data?
    lists: Literal["broadcast", "nested", "outputs"] = "outputs"  # what a list of metrics is, where there are several outputs
    buckets: bool = True  # are thresholds that lie evenly told by a product, as rounded?
    nearest: bool = False  # is one rate at another taken where the other is nearest to a value? Else the best where it is at least that
    trainable_penalties: bool = False  # do weights that are not trained add no regularisation?
    # Do crossentropies go back to what went into a softmax or sigmoid? "made": if the output was made by the one that the loss is for.
    # "kept": by either, which has kept its input.
    logits: Literal["never", "made", "kept"] = "never"
    softmax_keeps: bool = False  # does the layer Softmax keep it too?
    through_idle: bool = False  # are layers that do nothing at inference, such as Dropout, gone back through?
    # A penalty of what a layer gives: the mean of the rows of a batch, or their sum? None: not known here.
    activities: Literal["rows", "sum"] | None = None
    distributed_activities: bool = True  # ... of a layer in TimeDistributed too?
    flavour: Flavour = Flavour()


EARLY = Flavour(hinge_labels=False, cosine_metric=-1.0, rounds=True)
SUM, FOLDED = Flavour(logarithms="sum"), Flavour(logarithms="folded")
OF_2 = Counting(losses="share", means="batches", names="functions", by_loss=True, lists="broadcast", temporal=False, flavour=EARLY)
OF_TF1 = Counting(
    losses="elements", output_loss_rows=False, names="functions", by_loss=True, lists="nested", temporal=False, buckets=False, nearest=True,
    logits="made", flavour=SUM,
)  # fmt: skip
OF_TF2 = Counting(losses="elements", names="unique", lists="nested", logits="kept", activities="rows", flavour=FOLDED)
OF_3 = Counting(
    output_loss_rows=False, strict_weights=True, samplewise=True, metric_masks="weighted", trainable_penalties=True,
    logits="kept", softmax_keeps=True, through_idle=True, activities="sum", distributed_activities=False,
)  # fmt: skip


#: In the order in which they are given.
FIELDS = (
    "losses", "metric_masks", "means", "loss_rows", "output_loss_rows", "strict_weights", "samplewise", "temporal", "names",
    "output_losses", "sorted_metrics", "by_loss", "lists", "buckets", "nearest", "trainable_penalties", "logits",
    "softmax_keeps", "through_idle", "activities", "distributed_activities", "flavour",
)  # fmt: skip


def altered(counting: Counting, **changes: Any) -> Counting:
    """A way to count that differs from another."""
    given: dict[str, Any] = {name: getattr(counting, name) for name in FIELDS}
    return Counting(**{**given, **changes})


#: By ``Rules.evaluation``.
COUNTINGS: Mapping[str, Counting] = {
    "keras1": altered(OF_2, metric_masks="never"),
    "keras2": OF_2,
    "sums_of_weights": altered(OF_2, losses="weights"),
    "tf1_13": altered(OF_TF1, losses="weights", logits="never", flavour=Flavour()),
    "tf1": OF_TF1,
    "keras2_3": altered(OF_TF1, names="strings"),
    "tf2": altered(OF_TF1, names="strings"),
    "unmasked_metrics": altered(OF_TF2, metric_masks="listed", nearest=True, buckets=False, logits="made", through_idle=True),
    "elements": OF_TF2,
    "valid": altered(OF_TF2, losses="valid"),
    "valid_softmax": altered(OF_TF2, losses="valid", softmax_keeps=True),
    "keras3_batches": altered(OF_3, loss_rows=False, output_losses=False, sorted_metrics=True),
    "keras3_early": altered(OF_3, output_losses=False),
    "keras3": OF_3,
    "keras3_masks": altered(OF_3, metric_masks="always"),
    "keras3_activities": altered(OF_3, metric_masks="always", activities="rows"),
}


def along(weights: np.ndarray, values: np.ndarray, what: str) -> np.ndarray:
    """Weights with as many axes as the values that they weigh, each along its own."""
    if weights.ndim == values.ndim + 1 and weights.shape[-1] == 1:
        weights = weights[..., 0]
    if weights.ndim > values.ndim:
        raise InputError(f"{what}: expected weights of up to {values.ndim} axes, for losses of shape {values.shape}, found {weights.shape}")
    weights = weights.reshape(weights.shape + (1,) * (values.ndim - weights.ndim))
    try:
        np.broadcast_to(weights, values.shape)
    except ValueError:
        raise InputError(f"{what}: expected weights that fit losses of shape {values.shape}, found {weights.shape}") from None
    return weights


def same_rank(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keras 3's way to have two arrays agree: a last axis of one element comes or goes."""
    if one.ndim == other.ndim + 1 and one.shape[-1] == 1:
        return (one, other[:, np.newaxis]) if other.ndim == 1 else (one[..., 0], other)
    if other.ndim == one.ndim + 1 and other.shape[-1] == 1:
        return (one[:, np.newaxis], other) if one.ndim == 1 else (one, other[..., 0])
    return one, other


def product(one: np.ndarray, other: np.ndarray, what: str) -> np.ndarray:
    """Of two arrays whose shapes must fit from the last axis on."""
    try:
        return one * other
    except ValueError:
        raise InputError(
            f"{what}: expected weights that fit losses of shape {one.shape}, one for each, found {other.shape}; this Keras takes no others"
        ) from None


def with_mask(weights: np.ndarray | None, mask: np.ndarray | None, counting: Counting, what: str) -> np.ndarray | None:
    """Weights in which a mask is."""
    if mask is None:
        return weights
    if weights is None:
        return mask
    if counting.strict_weights:
        mask, weights = same_rank(mask, weights)
        return product(mask, weights, what)
    return mask * along(weights, mask, what) if weights.ndim <= mask.ndim else weights * along(mask, weights, what)


def loss_of(
    values: np.ndarray, mask: np.ndarray | None, weights: np.ndarray | None, reduction: str, counting: Counting, what: str
) -> float:
    """The loss of one batch.

    Parameters
    ----------
    values
        Of each row and timestep.
    mask, weights
        Which are there, and how much they count; None where there are none.
    reduction
        How the loss object sums up.
    counting
        The generation's way.
    what
        The argument that weights were given as, for messages.
    """
    with np.errstate(all="ignore"):  # where nothing is left, Keras divides by 0 too
        if counting.losses == "share":
            return _by_share(values, mask, weights, what)
        if counting.losses == "weights":
            weights = with_mask(np.ones(len(values)) if weights is None else weights, mask, counting, what)
            return _weighted_mean(values, weights, what)
        averages = reduction in ("auto", "sum_over_batch_size", "mean")
        scale = 1.0
        if counting.losses == "valid" and mask is not None and averages:
            scale = mask.size / mask.sum() if mask.any() else 0.0
        weights = with_mask(weights, mask, counting, what)
        if weights is not None:
            if counting.strict_weights:
                values, weights = same_rank(values, weights)
                values = product(values, weights, what)
            else:
                values = values * along(weights, values, what)
        if reduction == "sum":
            return float(values.sum())
        if reduction == "mean_with_sample_weight" and weights is not None:
            return float(values.sum() / weights.sum()) if weights.sum() else 0.0
        return scale * float(values.sum() / values.size)


def _by_share(values: np.ndarray, mask: np.ndarray | None, weights: np.ndarray | None, what: str) -> float:
    if mask is not None:
        values = values * along(mask, values, what) / np.mean(mask)
    if weights is not None:
        if weights.ndim > values.ndim:
            raise InputError(f"{what}: expected weights of up to {values.ndim} axes, found {weights.shape}")
        values = np.mean(values, axis=tuple(range(weights.ndim, values.ndim))) * weights / np.mean(weights != 0)
    return float(np.mean(values))


def _weighted_mean(values: np.ndarray, weights: np.ndarray | None, what: str) -> float:
    if weights is None:
        return float(np.mean(values))
    weights = np.broadcast_to(along(weights, values, what), values.shape)
    return float(np.sum(values * weights) / np.sum(weights)) if weights.sum() else 0.0


def mean_of_batch(values: np.ndarray, mask: np.ndarray | None, weights: np.ndarray | None, counting: Counting, what: str) -> float:
    """A metric of one batch, where a metric is a mean of batches."""
    with np.errstate(all="ignore"):
        if counting.losses == "share":
            return _by_share(values, mask, weights, what)
        return _weighted_mean(values, with_mask(weights, mask, counting, what), what)


def sums_of(values: np.ndarray, weights: np.ndarray | None, counting: Counting, what: str) -> tuple[float, float]:
    """What a metric that is a mean of samples adds up of one batch: the sum, and how much it counts."""
    if weights is None:
        if counting.samplewise:  # each row counts once
            return float(np.sum(np.mean(values.reshape(len(values), -1), axis=1) if values.size else 0.0)), float(len(values))
        return float(values.sum()), float(values.size)
    if counting.samplewise:
        values, weights = same_rank(values, weights)
        values = np.mean(values, axis=tuple(range(weights.ndim, values.ndim)))
        try:
            weights = np.broadcast_to(weights, values.shape)
        except ValueError:
            raise InputError(f"{what}: expected weights that fit values of shape {values.shape}, found {weights.shape}") from None
        axes = tuple(range(1, weights.ndim))
        return float(np.mean(values * weights, axis=axes).sum()), float(np.mean(weights, axis=axes).sum())
    weights = np.broadcast_to(along(weights, values, what), values.shape)
    return float(np.sum(values * weights)), float(weights.sum())
