"""A chain of guesses as the JSON of the generation that wrote the weights, with marks on what is guessed: see ``reading.marks``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...catalogue import INPUT_LAYER, SEQUENTIAL, STACKED_CELLS, Role, Row
from ..reading.dialect import Dialect
from ..reading.marks import KEY
from .chain import Chain
from .guesses import Assumption, Guess
from .signatures import NEEDED

#: What to do with the marks; the last entry of their list, so that any line before it can go and JSON is left.
ADVICE = (
    "Each line above is a guess. Compare it with the code that made the model, correct the layer's config below where it is another value, "
    "then delete the line. fastlstm loads the draft once no such line is left."
)
#: How the marks name what is assumed of the model as a whole.
MODEL = "(the model)"
#: Keras 1's words for arguments, and for those of layers along time that it takes as numbers: windows with filters, and without.
EARLY = {
    "units": "output_dim", "filters": "nb_filter", "use_bias": "bias", "recurrent_activation": "inner_activation",
    "dilation_rate": "atrous_rate", "data_format": "dim_ordering", "rate": "p", "stddev": "sigma",
}  # fmt: skip
FORMATS = {"channels_last": "tf", "channels_first": "th"}
WEIGHED, POOLED = {"kernel_size": "filter_length", "strides": "subsample_length"}, {"pool_size": "pool_length", "strides": "stride"}
#: Arguments that Keras 1 does not have: its layers are always so.
LATER = ("scale", "center", "return_state", "output_padding")


#: A list of numbers in JSON, a line for each.
SHAPE = re.compile(r"\[[\s\dnul,.\-]+\]")


class Writer:
    """Writes the draft of one chain."""

    def __init__(self, chain: Chain, dialect: Dialect):
        self.chain = chain
        self.dialect = dialect

    def model(self, assumed: list[Assumption]) -> dict[str, Any]:
        """The whole draft; ``assumed`` is what is assumed of the model itself."""
        generation = self.dialect.generation
        layers = [self.entry(guess) for guess in self.chain.layers if guess.row.role is not Role.INPUT]
        if self.dialect.keras3:
            layers.insert(0, self.entrance())
        else:
            self.first(layers)["config"].update(self.entering())
        config: Any = layers if self.dialect.keras1 else {"name": "sequential", "layers": layers}
        draft = {KEY: [*self.marks(assumed), ADVICE], **self.kerass(SEQUENTIAL, config, "keras")}
        draft["keras_version"] = generation.version
        if generation.backend:
            draft["backend"] = generation.backend
        return draft

    def kerass(self, kind: str, config: Any, module: str = "keras.layers") -> dict[str, Any]:
        """A class of Keras and its config."""
        if self.dialect.keras3:  # which tells layers from operations of the same name by "trainable"
            return {"module": module, "class_name": kind, "config": {"trainable": True, **config}, "registered_name": None}
        return {"class_name": kind, "config": config}

    @property
    def given(self) -> str:
        """The name of the layer that lets data in, or that states its shape: the first."""
        entering = next((guess.name for guess in self.chain.layers if guess.row.role is Role.INPUT), "draft_input")
        return entering if self.dialect.keras3 else self.chain.flat[0].name

    def first(self, layers: list[dict[str, Any]]) -> dict[str, Any]:
        """The entry of the first layer, which in files up to Keras 2 states the shape of the input."""
        inner = layers[0]["config"].get("layers")
        return layers[0] if inner is None else self.first(inner)

    def entering(self) -> dict[str, Any]:
        """What is told of the input."""
        shape: Any = NEEDED if self.chain.shape is None else self.chain.shape
        if self.dialect.keras3:
            return {"batch_shape": shape, "dtype": "int32" if self.chain.ids else "float32"}
        return {"batch_input_shape": shape, **({"input_dtype": "int32"} if self.chain.ids and self.dialect.keras1 else {})}

    def entrance(self) -> dict[str, Any]:
        """The layer that lets data in, as Keras 3 has one in every model."""
        return {
            "module": "keras.layers",
            "class_name": INPUT_LAYER,
            "config": {"name": self.given, **self.entering()},
            "registered_name": None,
        }

    def entry(self, guess: Guess) -> dict[str, Any]:
        """A layer."""
        if guess.layers:
            layers = [self.entry(inner) for inner in guess.layers if inner.row.role is not Role.INPUT]
            return self.kerass(SEQUENTIAL, {"name": guess.name, "layers": layers}, "keras")
        values = {**guess.config, **{key: one.value for key, one in guess.assumed.items() if key != "class_name"}}
        config: dict[str, Any] = {"name": guess.name, **self.words(guess, values)}
        if guess.dtype != "float32" and not self.dialect.keras1:
            config["dtype"] = guess.dtype
        if guess.inner is not None:
            inner = self.entry(guess.inner)
            inner["config"]["name"] = guess.inner.name or guess.inner.kind.lower()
            config["layer"] = inner
        if guess.cells:
            cells = [self.entry(cell) for cell in guess.cells]
            config["cell"] = cells[0] if len(cells) == 1 else self.kerass(STACKED_CELLS, {"name": "stacked_rnn_cells", "cells": cells})
        return self.kerass(guess.kind, config)

    def words(self, guess: Guess, values: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments as the generation calls them."""
        if not self.dialect.keras1:
            return dict(values)
        row, out = guess.row, dict[str, Any]()
        for key, value in values.items():
            if key in LATER or (key == "use_bias" and row.role is Role.RECURRENT):
                continue
            if key == "kernel_size" and row.axes == 2:
                out["nb_row"], out["nb_col"] = value
            else:
                out[early_name(row, key, value, "filters" in values)] = early_value(row, key, value)
        if row.role is Role.RECURRENT and row.gates:
            out["consume_less"] = "cpu" if guess.split else "gpu"
        return out

    # -- marks

    def marks(self, assumed: list[Assumption]) -> list[dict[str, Any]]:
        """A mark for each reason of each layer."""
        found = [{"layer": MODEL, "assumed": {one.argument: one.value}, "why": one.why} for one in assumed]
        if self.chain.why or self.chain.shape is None:
            key, shape = next(iter(self.entering().items()))
            found.append({"layer": self.given, "assumed": {key: shape}, "why": self.chain.why or "no array tells"})
        for guess in every(self.chain.layers):
            found += ({"layer": guess.name, "assumed": values, "why": why} for why, values in self.reasons(guess).items())
        return found

    def reasons(self, guess: Guess) -> dict[str, dict[str, Any]]:
        """What is assumed of a layer and of those in it, by the reason."""
        found: dict[str, dict[str, Any]] = {}
        for prefix, one in parts(guess, ""):
            if "class_name" in one.assumed:  # first, as the others follow from it
                found.setdefault(one.assumed["class_name"].why, {})[f"{prefix}class_name"] = one.kind
            words = self.words(one, {**one.config, **{key: other.value for key, other in one.assumed.items() if key != "class_name"}})
            for key, other in one.assumed.items():
                name = key if not self.dialect.keras1 else early_name(one.row, key, other.value, "filters" in one.config)
                if guess.layers:
                    found.setdefault(other.why, {})[name] = other.value
                elif name in words:
                    found.setdefault(other.why, {})[prefix + name] = words[name]
        return found


def mark_of(mark: Mapping[str, Any]) -> tuple[str, Mapping[str, Any], str]:
    """The layer, the arguments and the reason of a mark."""
    return str(mark["layer"]), mark["assumed"], str(mark["why"])


def every(layers: Sequence[Guess]) -> Iterator[Guess]:
    """The layers, and those in models among them."""
    for guess in layers:
        yield guess
        yield from every(guess.layers)


def parts(guess: Guess, prefix: str) -> Iterator[tuple[str, Guess]]:
    """A layer and those in it, with what goes before the names of their arguments."""
    yield prefix, guess
    if guess.inner is not None:
        yield from parts(guess.inner, f"{prefix}layer.")
    for number, cell in enumerate(guess.cells):
        yield f"{prefix}cell." + (f"cells.{number}." if len(guess.cells) > 1 else ""), cell


def early_name(row: Row, key: str, value: Any, weighed: bool) -> str:
    """Keras 1's name of an argument."""
    if key == "padding" and isinstance(value, str):
        return "border_mode"
    if row.axes == 1 and key in (WEIGHED if weighed else POOLED):
        return (WEIGHED if weighed else POOLED)[key]
    if key == "strides" and weighed:
        return "subsample"
    if key == "size" and row.axes == 1:
        return "length"
    return EARLY.get(key, key)


def early_value(row: Row, key: str, value: Any) -> Any:
    """Keras 1's value of an argument."""
    if key == "data_format":
        return FORMATS.get(value, value)
    if row.axes == 1 and isinstance(value, list) and len(value) == 1:
        return value[0]
    return value


def as_text(draft: Mapping[str, Any]) -> str:
    """A draft as JSON, each mark in a line of its own."""
    marks = ",\n".join(f"    {json.dumps(mark)}" for mark in draft[KEY])
    rest = json.dumps({key: value for key, value in draft.items() if key != KEY}, indent=2)
    rest = SHAPE.sub(lambda found: re.sub(r"\s+", " ", found[0]).replace("[ ", "[").replace(" ]", "]"), rest)
    return f'{{\n  "{KEY}": [\n{marks}\n  ],\n{rest[2:]}\n'
