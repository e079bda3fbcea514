"""Self-tests: cases recorded when a model is converted, rerun to show that this machine computes the same; and live Keras."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import lazy, watching
from .assembly import EXAMPLE_SIZES, in_stages, row_bytes
from .catalogue import Role
from .errors import InputError
from .layers.base import Layer, every_layer
from .layers.network import Network, root
from .model import Model
from .pruning import MAKING
from .spec import STRING, WHOLE, Case, LayerSpec, ModelSpec, Shape

if TYPE_CHECKING:
    from . import precision, staging
    from .layers import texts
else:
    precision = lazy.module("fastlstm.precision")
    staging, texts = lazy.module("fastlstm.staging"), lazy.module("fastlstm.layers.texts")

#: Equal to the recorded truth means within RELATIVE * max|y| of an output, or within SLACK times the most that NumPy was off by
#: in the model's own precision, whichever is wider: a network that amplifies rounding does so for Keras too.
RELATIVE, SLACK, TINY = 4e-6, 16.0, 1e-9
#: What Keras may be off by, too (see docs/equality.md), beside what fastlstm may.
KERAS_ABSOLUTE, KERAS_RELATIVE = 2e-6, 1e-5
#: Precisions whose results are held to these.
EXACT = ("float32", "float64")
#: So many models, the same but for the last bit of their weights, show what rounding makes of the outputs.
NEIGHBOURS = 4
#: Rows of a recorded batch, and timesteps where the model leaves them open.
ROWS, STEPS, LONG = 5, 7, 50
#: Timesteps of examples that are not recorded, where the model leaves them open: the first that fits.
SUITING = (100, *EXAMPLE_SIZES, STEPS)
#: Where inputs are rounded to whole numbers, a last bit seldom changes one, but when it does it shows: there they differ by so much.
COARSE = 1e-4
#: Bytes of a weight for that: in float64, its neighbour, and what leads to that.
NEAR = 24
#: So many results of a case are there at once: in float64 and float32, with their inputs.
DRAWN = 2
#: A sequence of at least so many features may be meant to be one-hot.
MANY_FEATURES = 16


@dataclass(frozen=True)
class Comparison:
    """How one case came out."""

    case: str
    difference: float  # largest absolute one; inf where NaN stands against a number
    tolerance: float

    @property
    def equal(self) -> bool:
        """Is the difference within the case's tolerance?"""
        return self.difference <= self.tolerance


def record(model: Model) -> tuple[Case, ...]:
    """Cases for a model: plain, one timestep, long, one-hot where that suits it, and masked in every way that its masks allow.

    The outputs are those of every layer's ``apply`` in float64. Inputs on which float32 overflows, or in whose rounding the
    network loses itself, prove nothing; so each case has those that tell the most of the ones that were tried.
    """
    network = model.executor.network
    dtype = model.executor.dtype
    network.context.budget.lend("the weights in float64, and neighbours of them", NEAR * model.count_params())
    suiting = list(situations(network))
    total = len(suiting) * (1 + NEIGHBOURS)
    trials = {}
    for done, situation in enumerate(suiting):
        watching.tell(f"making the case {situation.name!r}", done, total)
        trials[situation.name] = most_telling(network, situation, dtype)
    for number in range(NEIGHBOURS):
        near = neighbour(network, number)
        for done, trial in enumerate(trials.values(), start=len(suiting) * (number + 1)):
            watching.tell("measuring what rounding does to the cases", done, total)
            trial.compare(outputs_of(near, trial.inputs, dtype))
    return tuple(trial.case(name) for name, trial in trials.items() if np.isfinite(trial.noise).all())


def check(model: Model, cases: Sequence[Case]) -> tuple[Comparison, ...]:
    """Rerun recorded cases. States of a stateful model are reset before and after."""
    results = []
    for done, case in enumerate(cases):
        watching.tell(f"checking the case {case.name!r}", done, len(cases))
        model.reset_states()
        found = [flat(model.predict(list(inputs), batch_size=max(len(inputs[0]), 1))) for inputs in case.inputs]
        tolerances = allowed(case, model)
        fits = shapes(found) == shapes(case.outputs) and len(tolerances) == len(model.outputs) and found
        results.append(_compared(case, found, case.outputs, tolerances) if fits else Comparison(case.name, np.inf, case.tolerance))
    model.reset_states()
    return tuple(results)


def allowed(case: Case, model: Model) -> tuple[float, ...]:
    """What each output may be off by: more, where a model computes in a reduced precision."""
    tolerances = case.tolerances or (case.tolerance,) * len(model.outputs)
    bound = precision.BOUNDS[model.precision_used] if model.precision_used not in EXACT else 0.0
    if bound == 0.0:
        return tolerances
    largest = [max((float(np.abs(call[n]).max(initial=0.0)) for call in case.outputs), default=0.0) for n in range(len(tolerances))]
    return tuple(max(tolerance, bound * most) for tolerance, most in zip(tolerances, largest, strict=True))


def shapes(calls: Sequence[Sequence[np.ndarray]]) -> list[list[tuple[int, ...]]]:
    """Of every output, call by call."""
    return [[np.shape(y) for y in outputs] for outputs in calls]


def _compared(
    case: Case, found: Sequence[Sequence[np.ndarray]], expected: Sequence[Sequence[np.ndarray]], tolerances: Sequence[float]
) -> Comparison:  # fmt: skip
    """The output that comes out worst, as measured by its tolerance."""
    worst = [
        max(difference(mine[number], theirs[number]) for mine, theirs in zip(found, expected, strict=True))
        for number in range(len(tolerances))
    ]
    parts = [Comparison(case.name, gap, allowed) for gap, allowed in zip(worst, tolerances, strict=True)]
    return max(parts, key=lambda part: (not part.equal, part.difference / max(part.tolerance, TINY)))


def own_keras(model: Model) -> Any | None:
    """An importable Keras of the generation that saved the file, or None.

    Keras 3 files: Keras 3. Files of tf.keras 2.4 and later: tf_keras, which continues it unchanged. Older generations
    do not run on any Python that fastlstm does.
    """
    major = model.generation.version.split(".")[0]
    version = tuple(int(part) for part in model.generation.version.split("-")[0].split(".")[:2] if part.isdigit())
    wanted = "keras" if major == "3" else "tf_keras" if (2, 4) <= version < (3,) else None
    if wanted is None or importlib.util.find_spec(wanted) is None:
        return None
    keras = importlib.import_module(wanted)
    return keras if keras.__version__.split(".")[0] == major else None


def check_with_keras(model: Model, path: str, cases: Sequence[Case], keras: Any) -> tuple[Comparison, ...]:
    """Compare with a live Keras that loads the very file. Stateful models compare the first call of each case."""
    try:
        theirs = keras.models.load_model(path, compile=False)
    except (TypeError, ValueError) as error:  # a class or a function that nobody registered with it
        raise InputError(f"keras: Keras {keras.__version__} cannot load {path}: {error}") from error
    stateful = bool(model.executor.stateful)
    results = []
    for done, case in enumerate(cases):
        watching.tell(f"comparing the case {case.name!r} with Keras", done, len(cases))
        model.reset_states()
        inputs = list(case.inputs[0])
        if stateful:
            for layer in theirs.layers:
                for reset in ("reset_states", "reset_state"):
                    if getattr(layer, "stateful", False) and hasattr(layer, reset):
                        getattr(layer, reset)()
                        break
        given = [importlib.import_module("tensorflow").constant(x) if x.dtype == object else x for x in inputs]
        expected = flat(theirs.predict(given if len(given) > 1 else given[0], batch_size=len(inputs[0]), verbose=0))
        found = flat(model.predict(inputs, batch_size=len(inputs[0])))
        theirs_too = [KERAS_ABSOLUTE + KERAS_RELATIVE * largest(np.asarray(y)) for y in expected]
        tolerances = case.tolerances or (case.tolerance,) * len(found)
        allowed = [max(pair) for pair in zip(tolerances, theirs_too, strict=True)]
        results.append(_compared(case, [found], [[np.asarray(y) for y in expected]], allowed))
    model.reset_states()
    return tuple(results)


def flat(y: Any) -> list[np.ndarray]:
    """List the arrays that ``predict`` returned, however structured."""
    if isinstance(y, dict):
        return [array for key in sorted(y) for array in flat(y[key])]
    if isinstance(y, (list, tuple)):
        return [array for part in y for array in flat(part)]
    return [y]


def difference(y: np.ndarray, expected: np.ndarray) -> float:
    """Largest absolute difference; NaN equals NaN and an infinity itself, and either against anything else is inf; so does text."""
    if object in (y.dtype, expected.dtype):
        return 0.0 if np.array_equal(y, expected) else np.inf
    with np.errstate(invalid="ignore"):
        gap = np.abs(np.asarray(y, np.float64) - np.asarray(expected, np.float64))
    same = (y == expected) | (np.isnan(y) & np.isnan(expected))
    gap = np.where(same, 0.0, np.where(np.isnan(gap), np.inf, gap))
    return float(gap.max(initial=0.0))


def largest(y: np.ndarray) -> float:
    """Largest absolute value of the finite ones; no text has any."""
    if y.dtype == object:
        return 0.0
    return float(np.abs(y[np.isfinite(y)]).max(initial=0.0))


def rounded(y: np.ndarray, dtype: Any) -> np.ndarray:
    """Numbers in a model's dtype; ids and text as they are."""
    return y.astype(dtype) if y.dtype.kind == "f" else y


def finite(y: np.ndarray) -> bool:
    """Are all numbers finite?"""
    return y.dtype == object or bool(np.isfinite(y).all())


# -- what NumPy makes of inputs -------------------------------------------------------------------------------------------


@dataclass
class Trial:
    """Inputs, what they should give, and what float32 loses of it."""

    inputs: list[list[np.ndarray]]  # call by call
    outputs: list[list[np.ndarray]]  # call by call
    responses: list[float]  # of each output: by how much it differs from one random row to another
    draw: Draw  # what the inputs were drawn from
    noise: list[float] = field(default_factory=list)  # of each output: the most that float32 was off by so far

    def compare(self, rough: Sequence[Sequence[np.ndarray]]) -> None:
        """Take note of how far outputs that float32 gave are off."""
        self.noise = [
            max(before, *(difference(y, e[number]) for y, e in zip((call[number] for call in rough), self.outputs, strict=True)))
            for number, before in enumerate(self.noise or [0.0] * len(self.outputs[0]))
        ]

    def tolerances(self) -> list[float]:
        """The largest difference of each output that counts as equal."""
        sizes = [max(largest(call[number]) for call in self.outputs) for number in range(len(self.noise))]
        return [max(TINY, RELATIVE * size, SLACK * noise) for size, noise in zip(sizes, self.noise, strict=True)]

    def tells(self) -> float:
        """How much a wrong weight would show: what the outputs make of different inputs, in units of the tolerance."""
        whole = (all(map(finite, calls)) for calls in zip(*self.outputs, strict=True))
        found = zip(self.responses, self.tolerances(), whole, strict=True)
        return float(np.mean([min(response / allowed, ENOUGH) if whole else 0.0 for response, allowed, whole in found]))

    def case(self, name: str) -> Case:
        """The case as it is recorded."""
        tolerances = self.tolerances()
        return Case(name, tuple(map(tuple, self.inputs)), tuple(map(tuple, self.outputs)), max(tolerances), tuple(tolerances))


def response(calls: Sequence[np.ndarray]) -> float:
    """By how much an output differs from row to row, where it is a number."""
    with np.errstate(all="ignore"):
        return max(largest(np.ptp(y, axis=0)) if len(y) > 1 and y.dtype != object else largest(y) for y in calls)


def outputs_of(network: Network, calls: Sequence[Sequence[np.ndarray]], dtype: Any) -> list[list[np.ndarray]]:
    """Outputs of consecutive calls, as ``apply`` of every layer gives them, starting from states of zeros."""
    states = zero_states(network, len(calls[0][0]), dtype)
    computing = (staging.staged(network) if in_stages(network) else None) or network
    return [list(computing.run(inputs, dtype, states)) for inputs in calls]


def zero_states(network: Network, rows: int, dtype: Any) -> dict[str, tuple[np.ndarray, ...]]:
    """States of the stateful layers."""
    stateful = [layer for layer in every_layer(network) if layer.stateful]
    return {layer.path: tuple(np.zeros((rows, *shape), dtype) for shape in layer.state_shapes()) for layer in stateful}


def neighbour(network: Network, number: int) -> Network:
    """The same network but for the last bit of each weight: rounding errors made anew, and as large as those of other orders of sums."""
    random = np.random.default_rng(number)
    rounds = any(weight.dtype == np.int8 for layer in every_layer(network) for weight in layer.spec.weights)

    def nudged(weight: np.ndarray) -> np.ndarray:
        if weight.dtype.kind != "f":
            return weight
        if rounds:
            return (weight * (1 + COARSE * random.choice((-1.0, 1.0), weight.shape))).astype(weight.dtype)
        towards = np.where(random.random(weight.shape, np.float32) < 0.5, -np.inf, np.inf).astype(weight.dtype)
        return np.where(weight == 0, weight, np.nextafter(weight, towards))  # zeros may mean something: a padding id's row

    return root(reweighted(network.model, nudged), replace(network.context, problems=[]))


def reweighted(model: ModelSpec, change: Callable[[np.ndarray], np.ndarray]) -> ModelSpec:
    """The model with every weight array changed."""
    return replace(model, layers=tuple(reweighted_layer(layer, change) for layer in model.layers))


def reweighted_layer(layer: LayerSpec, change: Callable[[np.ndarray], np.ndarray]) -> LayerSpec:
    """The same of a layer, and of what stands in it."""
    inner = None if layer.model is None else reweighted(layer.model, change)
    children = tuple(reweighted_layer(child, change) for child in layer.children)
    return replace(layer, weights=tuple(map(change, layer.weights)), children=children, model=inner)


# -- inputs ---------------------------------------------------------------------------------------------------------------


class Situation(NamedTuple):
    """A situation that a case covers."""

    name: str
    rows: int | None = None  # of the batch drawn; None: all
    steps: int | None = None  # where the model leaves them open; None: so many as it takes
    calls: int = 1


class Draw(NamedTuple):
    """Random numbers of a kind."""

    scale: float
    positive: bool = False  # as data scaled to 0...1, or a picture's


#: Whole numbers that operations compute with are drawn below it.
SMALL = 4
#: Tried in turn, until one tells ENOUGH; ids, which have no scale, are drawn anew.
DRAWS = (Draw(1.0), Draw(0.3), Draw(0.3, positive=True), Draw(0.1), Draw(0.03), Draw(0.01), Draw(3.0), Draw(10.0))
ENOUGH = 1e4
MASKED = ("masked at the start", "masked at the end", "masked in between", "fully masked")
ONE_HOT = "one-hot"


def situations(network: Network) -> Iterator[Situation]:
    """The cases that suit a model."""
    shapes = network.input_shapes()
    yield Situation("plain")
    if shapes[0][0] is None and network.rows_together() == 1 and not network.crosses_rows(shapes, {}):
        yield Situation("one row", rows=1)
    if any(None in shape[1:] for shape in shapes):
        for name, steps in (("one timestep", 1), ("long", LONG)):
            if network.fitting_size([steps]) is not None:
                yield Situation(name, steps=steps)
    if zero_states(network, 1, np.float32):
        yield Situation("chained calls", calls=3)
    if any(map(like_one_hot, shapes, network.vocabularies(), network.readers())):
        yield Situation(ONE_HOT)
    if any(mask_value(readers) is not None for readers in network.readers()):
        yield from map(Situation, MASKED)


def most_telling(network: Network, situation: Situation, dtype: Any) -> Trial:
    """The first of some random inputs that tells enough, or the one that tells the most."""
    best, most, refused = None, -1.0, None
    for number, draw in enumerate(DRAWS):
        random = np.random.default_rng(number)
        inputs = [drawn(network, situation, draw, random) for _ in range(situation.calls)]
        try:
            with np.errstate(all="ignore"):  # NaN and infinities are data
                truth = [[rounded(y, dtype) for y in call] for call in outputs_of(network, inputs, np.float64)]
        except InputError as error:  # ids that operations make of data
            refused = error
            continue
        responses = [response(calls) for calls in zip(*truth, strict=True)]
        inputs, truth = ([[array[: situation.rows] for array in call] for call in calls] for calls in (inputs, truth))
        rough = outputs_of(network, inputs, dtype)
        trial = Trial(inputs, [list(map(_overflown, *pair)) for pair in zip(truth, rough, strict=True)], responses, draw)
        trial.compare(rough)
        tells = trial.tells()
        if tells > most:
            best, most = trial, tells
        if most >= ENOUGH:
            break
    if best is None:  # tells() is never negative
        assert refused is not None
        raise refused
    return best


def _overflown(truth: np.ndarray, rough: np.ndarray) -> np.ndarray:
    """The truth; where it is beyond float32, what float32 makes of it, as Keras gives that too."""
    return truth if truth.dtype.kind != "f" else np.where(np.isfinite(rough), truth, rough)


def drawn(network: Network, situation: Situation, draw: Draw, random: np.random.Generator, rows: int = ROWS) -> list[np.ndarray]:
    """Inputs of one call, of so many rows at least."""
    shapes, vocabularies = network.input_shapes(), network.vocabularies()
    together = network.rows_together()
    rows = shapes[0][0] or (rows + together - 1) // together * together
    steps = situation.steps or network.fitting_size((STEPS, *EXAMPLE_SIZES)) or STEPS
    found = []
    sizes = [(rows, *(steps if n is None else n for n in shape[1:])) for shape in shapes]
    network.context.budget.lend(f"the case {situation.name!r}", DRAWN * rows * row_bytes(network, [size[1:] for size in sizes], itemsize=8))
    doors = [door.declared for door in network.doors]
    for size, shape, vocabulary, readers, declared in zip(sizes, shapes, vocabularies, network.readers(), doors, strict=True):
        masked = mask_value(readers)
        sampled = samples(readers, size, declared, random)
        if sampled is not None:
            x = sampled
        elif vocabulary is not None:
            x = random.integers(1 if masked == 0 and vocabulary > 1 else 0, vocabulary, size, dtype=np.int32)
            x.flat[:1] = vocabulary - 1
        elif situation.name == ONE_HOT and like_one_hot(shape, vocabulary, readers):
            x = np.eye(size[-1], dtype=np.float32)[random.integers(0, size[-1], size[:-1])] * np.float32(draw.scale)
        elif declared in WHOLE and any(layer.row.role is Role.OPERATION for layer in readers):
            x = random.integers(0, SMALL, size, dtype=np.int32)  # what an operation makes of them may be ids of few
        else:
            x = random.standard_normal(size).astype(np.float32) * np.float32(draw.scale)
            x = np.abs(x) if draw.positive else x
        if masked is not None and situation.name in MASKED:
            mask_steps(x, masked, situation.name)
        found.append(x)
    return found


def samples(readers: Sequence[Layer], size: tuple[int, ...], declared: str, random: np.random.Generator) -> np.ndarray | None:
    """Text, or whole numbers that layers make categories of, such as suit their readers; None where an input holds neither."""
    below = [layer.vocabulary for layer in readers if layer.vocabulary is not None]
    suiting = [array for layer in readers if not below and (array := layer.sample(size, random)) is not None]
    if suiting:
        return suiting[0]
    if declared == STRING:
        return texts.drawn([b"some", b"Text,", b"and more"], size, random)
    return random.integers(0, min(below), size) if below and any(layer.row.role in MAKING for layer in readers) else None


def fitting_steps(model: Model, steps: int | None = None) -> int:
    """How many timesteps the inputs may have where the model leaves them open: so many as are asked for, or as suit it.

    Raises
    ------
    InputError
        If so many do not fit.
    """
    found = model.executor.network.fitting_size(SUITING if steps is None else [steps])
    if found is None and steps is not None:
        raise InputError(f"timesteps: {steps} do not fit the model, some layer of which needs more of them or another number")
    return found or STEPS


def example_inputs(model: Model, rows: int, steps: int | None, count: int) -> list[list[np.ndarray]]:
    """Random inputs that suit a model, for so many calls: ids for an Embedding, and numbers in which it does not lose itself."""
    network = model.executor.network
    telling = most_telling(network, Situation("plain"), model.executor.dtype)
    random = np.random.default_rng(rows)
    return [drawn(network, Situation("plain", steps=steps), telling.draw, random, rows) for _ in range(count)]


def like_one_hot(shape: Shape, vocabulary: int | None, readers: Sequence[Layer]) -> bool:
    """May an input be meant for one-hot vectors: many numbers at each timestep, which a recurrent layer reads as they are?"""
    if vocabulary is not None or len(shape) != 3 or (shape[-1] or 0) < MANY_FEATURES:
        return False
    # Stepwise and without weights are Masking, Dropout, ...: what follows them cannot be told.
    return any(layer.recurrent or (layer.stepwise([shape]) and not layer.count_params()) for layer in readers)


def mask_steps(x: np.ndarray, value: float, name: str) -> None:
    """Give each row but the first masked steps of its own number."""
    steps = x.shape[1]
    for row in range(min(1, len(x) - 1), len(x)):
        count = min(steps - 1, 1 + row)
        where = {
            "masked at the start": slice(None, count), "masked at the end": slice(steps - count, None),
            "masked in between": slice(1, steps, 2), "fully masked": slice(None),
        }[name]  # fmt: skip
        x[row, where] = value


def mask_value(readers: Sequence[Layer]) -> float | None:
    """The value of an input that some of its readers takes as masked."""
    return next((layer.masked_value for layer in readers if layer.masked_value is not None), None)
