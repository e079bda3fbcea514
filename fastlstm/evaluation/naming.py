"""From what callers and files call losses and metrics to what computes them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..errors import FastLSTMError, InputError
from ..formats.reading.compiled import choice
from ..records import record
from . import functions
from .counting import Counting
from .functions import LOSSES, METRICS, OF_LOGITS, SPARSE, OfLogits, bound, of_logits
from .metrics import AUC, FORMULAS, R2, FBeta, Mean, Metric, at_other, confusion

#: Keras's other names, less their capitals and underscores.
ALIASES: Mapping[str, str] = {
    "mse": "mean_squared_error", "mae": "mean_absolute_error", "mape": "mean_absolute_percentage_error",
    "msle": "mean_squared_logarithmic_error", "huberloss": "huber", "logcosherror": "log_cosh", "kld": "kl_divergence",
    "kullbackleiblerdivergence": "kl_divergence", "cosine": "cosine_similarity", "cosineproximity": "cosine_similarity",
    "bce": "binary_crossentropy",
}  # fmt: skip
#: What Keras up to 2.2 calls functions whose names have changed since.
OLDER = {"kl_divergence": "kullback_leibler_divergence", "cosine_similarity": "cosine_proximity", "log_cosh": "logcosh"}
#: The metrics that are told by the data: Keras's words for them.
ACCURACY, CROSSENTROPY = ("accuracy", "acc"), ("crossentropy", "ce")
#: Arguments of losses and metrics that change no number here: names, kinds of numbers, and what repeats others.
IDLE = frozenset({"name", "dtype", "reduction", "fn", "axis_name"})
OTHERS: Mapping[str, tuple[str, str]] = {
    "sensitivity_at_specificity": ("sensitivity", "specificity"), "specificity_at_sensitivity": ("specificity", "sensitivity"),
    "precision_at_recall": ("precision", "recall"), "recall_at_precision": ("recall", "precision"),
}  # fmt: skip
#: Metrics that add up counts, and the arguments that they take.
COUNTED: Mapping[str, frozenset[str]] = {
    **{name: frozenset({"thresholds", "top_k", "class_id"}) for name in FORMULAS},
    **{name: frozenset({given, "num_thresholds", "class_id"}) for name, (_, given) in OTHERS.items()},
    "auc": frozenset({
        "num_thresholds", "curve", "summation_method", "thresholds", "multi_label", "num_labels", "label_weights", "from_logits",
    }),
    "f1_score": frozenset({"average", "threshold", "beta"}), "fbeta_score": frozenset({"average", "threshold", "beta"}),
    "r2_score": frozenset({"class_aggregation", "num_regressors"}), "root_mean_squared_error": frozenset(),
}  # fmt: skip
#: Classes that stand for a function, which their argument fn names.
WRAPPERS = ("LossFunctionWrapper", "MeanMetricWrapper")
#: Options of functions, beside their own arguments.
REDUCTIONS = ("auto", "sum_over_batch_size", "sum", "none", "mean", "mean_with_sample_weight")


@record(frozen=True)
class Loss:
    """A loss of one output."""

    function: Callable[[np.ndarray, np.ndarray], np.ndarray]
    name: str = ""  # Keras's own of it; "" for a function of the caller's
    reduction: str = "auto"
    ignored: int | None = None  # a class that does not count
    sparse: bool = False  # are targets numbers of classes?
    on_logits: OfLogits | None = None  # the same of targets and logits, of a crossentropy


def plain(name: str) -> str:
    """A name less its capitals and underscores."""
    return name.replace("_", "").lower()


FULL = {plain(name): name for name in (*METRICS, *COUNTED)} | dict(ALIASES)


def is_crossentropy(given: Mapping[str, Any]) -> bool:
    """Is a choice a crossentropy that goes back to logits, or might it be one?"""
    name, config = str(given.get("name", "")), given.get("config", {})
    full = FULL.get(plain(str(config.get("fn") if name in WRAPPERS else name)), "")
    return name.lower() in CROSSENTROPY or LOSSES.get(full) in OF_LOGITS


def snake(name: str) -> str:
    """mean_squared_error of MeanSquaredError."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def as_choice(value: Any, argument: str) -> Any:
    """What a caller gives, as canonical choices; functions stay as they are."""
    if value is None or isinstance(value, str):
        return choice(value)
    if isinstance(value, (list, tuple)):
        return [as_choice(one, argument) for one in value]
    if isinstance(value, Mapping):
        if "class_name" in value:
            return choice(value)
        if set(value) <= {"name", "config"} and isinstance(value.get("name"), str):
            return dict(value)
        return {"outputs": {str(name): as_choice(one, argument) for name, one in value.items()}}
    if hasattr(value, "get_config") and not isinstance(value, type):  # an object of Keras's
        return choice({"class_name": type(value).__name__, "config": value.get_config()})
    if callable(value):
        return value
    raise InputError(f"{argument}: expected a name such as 'mse', a function of (y_true, y_pred), or several, found {value!r:.60}")


#: What NumPy and Python raise where an argument or a shape is not one that a loss or metric can take.
MISFITS = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError)


@contextmanager
def computing(what: str, y: np.ndarray, p: np.ndarray) -> Iterator[None]:
    """While it lasts, whatever does not fit is told with the shapes of targets and predictions."""
    try:
        yield
    except FastLSTMError:
        raise
    except MISFITS as error:
        found = f"targets of shape {y.shape} and predictions of shape {p.shape}"
        raise InputError(f"{what}: expected {found} to fit, found {type(error).__name__}: {str(error)[:200]}") from error


def called(given: Any) -> str:
    """What a choice goes by, for messages."""
    if callable(given):
        return str(getattr(given, "__name__", type(given).__name__))
    return str(given.get("custom", given.get("name")))


def unknown(given: Any, argument: str) -> InputError:
    """The error for what only the user of Keras has, or Keras in other parts than these."""
    name = called(given)
    if isinstance(given, Mapping) and "custom" in given:
        what = f"{name!r} is a function or class of the user's own, whose code is not in the file"
    else:
        near = difflib.get_close_matches(plain(name), FULL, n=1)
        what = f"{name!r} is none of Keras's that are known here" + (f" (did you mean {FULL[near[0]]!r}?)" if near else "")
    return InputError(f"{argument}: {what}; pass {argument}= with a function of (y_true, y_pred), or with a name of Keras's")


def options_of(name: str, config: Mapping[str, Any], argument: str, known: frozenset[str]) -> dict[str, Any]:
    """The arguments of an object, all of which must be known."""
    found = {key: value for key, value in config.items() if key not in IDLE}
    extra = sorted(set(found) - known)
    if extra:
        raise InputError(f"{argument}: {name}: expected arguments among {', '.join(sorted(known)) or 'none'}, found {', '.join(extra)}")
    return found


def arguments(function: functions.Function) -> frozenset[str]:
    """Of a function, beside the two arrays."""
    code = function.__code__
    return frozenset(code.co_varnames[2 : code.co_argcount]) - {"flavour"}


def checked_options(name: str, config: Mapping[str, Any], function: functions.Function, argument: str) -> dict[str, Any]:
    """Arguments of a function, of the kinds that it takes."""
    found = options_of(name, config, argument, arguments(function))
    for key, value in found.items():
        if key == "ignore_class" and value is None:
            continue
        if not isinstance(value, (bool, int, float)) or value != value:
            raise InputError(f"{argument}: {name}: {key}: expected a number, found {str(value)[:60]}")
    return found


def loss_of(given: Any, counting: Counting, argument: str = "loss") -> Loss:
    """The loss of a choice."""
    if callable(given):
        return Loss(own(given))
    name = given.get("name")
    config = given.get("config", {})
    full = FULL.get(plain(str(config.get("fn") if name == WRAPPERS[0] else name)), "")
    if "custom" in given or full not in LOSSES:
        raise unknown(given, argument)
    options = checked_options(str(name), config, LOSSES[full], argument)
    reduction = config.get("reduction") or ("none" if "reduction" in config else "auto")
    if reduction not in REDUCTIONS:
        raise InputError(f"{argument}: {name}: expected a reduction among {', '.join(REDUCTIONS)}, found {str(reduction)[:60]}")
    function, flavour = LOSSES[full], counting.flavour
    return Loss(
        bound(function, flavour, options), full, reduction, options.get("ignore_class"), function in SPARSE,
        of_logits(function, flavour, options),
    )  # fmt: skip


def own(function: Callable[..., Any]) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A function of the caller's, which must give numbers: NumPy takes None for one that is not."""

    def checked(y: np.ndarray, p: np.ndarray) -> np.ndarray:
        found = function(y, p)
        if found is None:
            raise TypeError("None, as it returns nothing")
        return np.asarray(found, np.float64)

    return checked


@record(frozen=True)
class Named:
    """A metric, and what it is called before an output's name comes before it."""

    metric: Metric
    name: str
    sparse: bool


def told_by(word: str, y: np.ndarray, p: np.ndarray, loss: Loss | None, counting: Counting) -> str:
    """Which accuracy or crossentropy is meant."""
    end = "crossentropy" if word in CROSSENTROPY else "accuracy"
    of_loss = loss.name if loss is not None else ""
    if p.shape[-1] == 1 or (counting.by_loss and of_loss == "binary_crossentropy"):
        return f"binary_{end}"
    by_shapes = y.ndim < p.ndim or (y.shape[-1] == 1 and p.shape[-1] > 1)
    sparse = of_loss == "sparse_categorical_crossentropy" if counting.by_loss else by_shapes
    return f"sparse_categorical_{end}" if sparse else f"categorical_{end}"


def metric_of(given: Any, y: np.ndarray, p: np.ndarray, loss: Loss | None, counting: Counting, argument: str) -> Named:
    """The metric of a choice, for targets and predictions of these shapes."""
    if callable(given):
        name = called(given)
        return Named(Mean(own(given), counting), name, False)
    name, config = str(given.get("name", "")), given.get("config", {})
    if "custom" in given:
        raise unknown(given, argument)
    word = name.lower() if "config" not in given else ""
    told = word in (*ACCURACY, *CROSSENTROPY)
    wrapped = name == WRAPPERS[1]
    full = told_by(word, y, p, loss, counting) if told else FULL.get(plain(str(config.get("fn", "")) if wrapped else name))
    if full is None:
        raise unknown({"custom": str(config.get("fn"))} if wrapped else given, argument)
    shown = shown_name(name, full, config, "config" in given, told, counting)
    if full in COUNTED:
        return Named(counted(full, options_of(name, config, argument, COUNTED[full]), counting), shown, False)
    if wrapped and full == "cosine_similarity" and "proximity" in str(config.get("fn")):
        shown = str(config.get("name", shown))
    function = METRICS[full]
    options = checked_options(name, {key: one for key, one in config.items() if key in arguments(function)}, function, argument)
    options_of(name, config, argument, arguments(function))
    metric = Mean(bound(function, counting.flavour, options), counting, options.get("ignore_class"))
    metric.on_logits = of_logits(function, counting.flavour, options)
    return Named(metric, shown, function in SPARSE)


def shown_name(name: str, full: str, config: Mapping[str, Any], is_object: bool, told: bool, counting: Counting) -> str:
    """What Keras calls a metric."""
    if is_object:
        return str(config.get("name") or OBJECTS.get(name) or snake(name))
    if counting.names == "functions":
        if told:
            return "ce" if name.lower() in CROSSENTROPY else "acc"
        return OLDER.get(full, full)
    if counting.names != "keras3" and not name.islower() and not name.isupper():  # a class, whose objects have names of their own
        return OLDER_OBJECTS.get(name, snake(name))
    return name


#: Names of objects that are not those of their classes.
OBJECTS = {
    "KLDivergence": "kl_divergence",
    "LogCoshError": "logcosh",
    "AUC": "auc",
    "F1Score": "f1_score",
    "FBetaScore": "fbeta_score",
    "R2Score": "r2_score",
}


#: ... and those of tf.keras.
OLDER_OBJECTS = {**OBJECTS, "KLDivergence": "kullback_leibler_divergence", "AUC": "auc"}


def squared(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Squares of differences, element by element."""
    return (p - y) ** 2


def counted(full: str, options: Mapping[str, Any], counting: Counting) -> Metric:
    """A metric that adds up counts."""
    if full == "root_mean_squared_error":
        return Mean(squared, counting, rooted=True)
    if full == "auc":
        return AUC(counting, options)
    if full in ("f1_score", "fbeta_score"):
        return FBeta(counting, options)
    if full == "r2_score":
        return R2(counting, options)
    if full in OTHERS:
        return at_other(OTHERS[full], counting, options)
    return confusion(full, counting, options)
