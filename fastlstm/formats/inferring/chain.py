"""What the layers of a chain tell of each other: whether they fit, which return sequences, how directions are merged, what is read.

Each layer reads as many features as the one before it gives. Where that does not come out, something stands between them that keeps no
arrays, or the model is no chain: then there is no draft.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ...catalogue import ACTIVATION, FLATTEN, MaskRule, Role
from .guesses import Guess
from .signatures import NEEDED, OPEN, SAME

#: Why an argument is what it is.
DEFAULT = "Keras's default"
#: The class of a layer that does nothing, the argument that says so, and what makes rows of everything.
NOTHING, FLAT = (ACTIVATION, "linear"), FLATTEN


@dataclass
class Chain:
    """The layers of a model, in order, and what is wrong with them."""

    layers: list[Guess]  # as the file lists them
    flat: list[Guess] = field(default_factory=list)  # those in models too, less those that only let data in
    problems: list[tuple[str, str, str]] = field(default_factory=list)  # layer, class, what
    shape: list[int | None] | None = None  # of the input; None where nothing tells
    why: str = ""  # what is assumed of it
    ids: bool = False
    steps: int | None = None  # timesteps that a Flatten counts

    def problem(self, guess: Guess, what: str) -> None:
        """Note why there is no chain."""
        self.problems.append((guess.name, guess.kind, what))


def chained(layers: Sequence[Guess], inputs: int) -> Chain:
    """Fit layers together.

    Parameters
    ----------
    layers
        Guesses in the model's order, which are completed.
    inputs
        How many of the file's layers let data in.
    """
    chain = Chain(list(layers))
    chain.flat = list(leaves(chain.layers))
    for guess in chain.layers:
        if guess.problem:
            chain.problem(guess, guess.problem)
    if inputs > 1:
        chain.problems.append(("", "", f"the model has {inputs} inputs, so it is no chain of layers"))
    if not any(guess.gives for guess in chain.flat):
        chain.problems.append(("", "", "no layer in it keeps arrays"))
    if not chain.problems:
        unknown(chain)
        features(chain)
    if not chain.problems:
        sequences(chain)
        entrance(chain)
    return chain


def leaves(layers: Sequence[Guess]) -> Iterator[Guess]:
    """The layers that compute, those in nested models in their place."""
    for guess in layers:
        if guess.layers:
            yield from leaves(guess.layers)
        elif guess.row.role is not Role.INPUT:
            yield guess


def is_open(guess: Guess) -> bool:
    """Whether what a layer gives cannot be told from what it reads."""
    return guess.rank == OPEN or is_unknown(guess) or guess.row.role is Role.CODE


def is_unknown(guess: Guess) -> bool:
    """Whether nothing tells the class of a layer without arrays."""
    return "class_name" in guess.assumed and guess.takes is None and guess.gives is None


def moves_features(guess: Guess) -> bool:
    """Whether it may put other values on the last axis."""
    return is_open(guess) or "dims" in guess.assumed or guess.kind == FLAT


def unknown(chain: Chain) -> None:
    """Call layers without arrays and without a name of Keras's something that does nothing, until another layer says otherwise."""
    for guess in chain.flat:
        if guess.kind == "":
            guess.kind, activation = NOTHING
            guess.assume("class_name", guess.kind, "it keeps no arrays, and its name tells no class: assumed to change nothing")
            guess.assume("activation", activation, "as long as its class is not known")


# -- features -------------------------------------------------------------------------------------------------------------


def features(chain: Chain) -> None:
    """See that each layer reads what the one before it gives."""
    given: int | None = None
    giver: Guess | None = None
    between: list[Guess] = []
    for guess in chain.flat:
        if guess.row.role is Role.EMBEDDING and giver is not None:
            chain.problem(guess, f"it reads ids, and {giver.name!r} stands before it: the model has several inputs")
            return
        if guess.takes is not None and given is not None and giver is not None:
            fit(chain, giver, between, guess, given)
        if guess.gives is not None or guess.takes is not None:
            given = guess.gives if guess.gives is not None else guess.takes
            if guess.gives is not None or giver is None:
                giver = guess
            between = []
        if guess.takes is None and guess.gives is None:
            between.append(guess)
        if chain.problems:
            return
    last = giver
    if last is not None and last.row.role is Role.BIDIRECTIONAL and "merge_mode" in last.assumed:
        last.assume("merge_mode", "concat", DEFAULT)


def fit(chain: Chain, giver: Guess, between: list[Guess], guess: Guess, given: int) -> None:
    """See that a layer reads what another gives, through layers without arrays."""
    takes = guess.takes or 0
    both = giver.row.role is Role.BIDIRECTIONAL and "merge_mode" in giver.assumed
    flat = [one for one in between if one.kind == FLAT]
    if takes == given:
        if both and not any(map(moves_features, between)):
            giver.settle("merge_mode", "concat")
        return
    if both and 2 * takes == given and not flat:
        giver.assume("merge_mode", NEEDED, f"sum, mul or ave: {guess.name!r} reads {takes} features, the units of one direction", True)
        giver.gives = takes
        return
    if any(one.rank == OPEN or one.row.role is Role.CODE or "dims" in one.assumed for one in between):
        return
    unknowns = [one for one in between if is_unknown(one)]
    if takes % given == 0 and (flat or unknowns):
        if not flat:
            flatten(unknowns[-1], guess, takes, given)
        chain.steps = takes // given
        return
    if takes % given == 0 and guess.hidden_before:
        chain.problem(guess, f"it reads {takes} features, {giver.name!r} gives {given}, and what stands between them is not in the file")
        return
    statistics = [one for one in (guess, giver) if one.row.role is Role.NORMALIZATION]
    if statistics:
        statistics[0].assume("axis", NEEDED, "not the last: its neighbours have another number of features", True)
        statistics[0].takes = None
        return
    groups = guess.assumed.get("groups")
    if groups is not None and given % takes == 0:
        guess.settle("groups", given // takes)
        return
    chain.problem(guess, f"it reads {takes} features, but {giver.name!r} before it gives {given}: the model is no chain of layers, "
                         "or they stand in another order")  # fmt: skip


def flatten(one: Guess, reader: Guess, takes: int, given: int) -> None:
    """Call an unknown layer a Flatten."""
    one.kind, one.rank = FLAT, 2
    one.assumed.clear()
    one.assume("class_name", FLAT, f"{reader.name!r} reads {takes} features, {takes // given} times {given}", True)


# -- axes -----------------------------------------------------------------------------------------------------------------


def sequences(chain: Chain) -> None:
    """Find out which recurrent layers return sequences."""
    for place, guess in enumerate(chain.flat):
        core = guess.core
        if core is None:
            continue
        axes = core.rank + (1 if guess.row.role is Role.DISTRIBUTED else 0)
        told, why, likely = returns(chain.flat[place + 1 :], axes, guess.gives)
        if told is None:
            core.assume("return_sequences", False, why)
        elif likely:
            core.assume("return_sequences", told, why, True)
        else:
            core.settle("return_sequences", told)


def returns(after: Sequence[Guess], axes: int, given: int | None) -> tuple[bool | None, str, bool]:
    """Whether a layer returns sequences, by what stands after it; why, and whether that is only likely.

    ``axes`` are those that sequences have.
    """
    doubtful = False
    for place, guess in enumerate(after):
        doubtful = doubtful or guess.hidden_before or is_unknown(guess)
        if guess.kind == FLAT:
            reader = next((one for one in after[place:] if one.takes is not None), None)
            if reader is None or not given or reader.takes is None or axes > 3:
                return None, f"{guess.name!r} after it takes both", False
            many = reader.takes // given > 1
            return many, f"{reader.name!r} reads {reader.takes} features", doubtful or not many
        if is_open(guess) and not is_unknown(guess):
            return None, f"nothing tells what {guess.name!r} after it reads", False
        if guess.reads in (axes, axes - 1):
            return guess.reads == axes, f"{guess.name!r} after it reads {'sequences' if guess.reads == axes else 'the last step'}", doubtful
        if guess.reads != SAME:
            return None, DEFAULT, False
        if guess.gives is not None:
            given = guess.gives
    return None, DEFAULT, False


def entrance(chain: Chain) -> None:
    """The shape of the input, by the first layers that tell."""
    first = next((guess for guess in chain.flat if guess.takes is not None or guess.row.role is Role.EMBEDDING), None)
    if first is None:
        return
    before = chain.flat[: chain.flat.index(first)]
    if any(moves_features(guess) and not is_unknown(guess) for guess in before) or any(
        guess.row.mask is MaskRule.NONE and guess.rank not in (SAME, guess.reads) for guess in before
    ):
        chain.why = f"nothing tells what {first.name!r} is given"
        return
    if first.row.role is Role.EMBEDDING:
        chain.ids, chain.shape, chain.why = True, [None, None], "the number of timesteps is in no array; null takes any"
        counted(chain, 1)
        return
    rank, certain = needed(chain.flat)
    chain.shape = [*[None] * (rank - 1), first.takes]
    if rank == 2:
        chain.why = "" if certain else "more axes than two would do too"
    else:
        chain.why = "sizes other than that of the features are in no array; null takes any"
        counted(chain, 1 if rank == 3 else 0)


def needed(layers: Sequence[Guess]) -> tuple[int, bool]:
    """How many axes the input has, and whether a layer says so."""
    for guess in layers:
        if guess.reads != SAME:
            return guess.reads, True
        if guess.rank != SAME or guess.kind == FLAT:
            break
    return 2, False


def counted(chain: Chain, axis: int) -> None:
    """The number of timesteps, where a Flatten counts them and nothing before it may change it."""
    if chain.steps is None or not axis or chain.shape is None:
        return
    for guess in chain.flat:
        if guess.kind == FLAT:
            chain.shape[axis] = chain.steps
            chain.why = f"{chain.steps} timesteps, by the features that are read after {guess.name!r}"
            return
        core = guess.core
        if (core is None and guess.reads != SAME and guess.row.role is not Role.EMBEDDING) or is_open(guess):
            break
    chain.why = f"{chain.steps} steps reach the Flatten; how many are read depends on the layers before it"
