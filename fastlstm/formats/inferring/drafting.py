"""From an inventory to all that can be told of the model: its layers, what is assumed, why there is no draft, or the draft."""

from __future__ import annotations

from typing import Any, NamedTuple

from ...catalogue import INPUT_LAYER, SEQUENTIAL
from ..reading.dialect import Dialect, dialect, version_numbers
from .chain import Chain, chained
from .guesses import Assumption, Guesser
from .listed import Inventory
from .names import EARLY
from .writing import Writer

#: The newest Keras that writes each kind of file which does not state its own, and which ones may have written it.
NAMED_TREE = ("3.15.1", "Keras 3.9 or later; no file of weights says which")
OTHER_TREE = ("3.3.3", "Keras 3.0 to 3.8, or tf.keras from 2.12 on (then its version: 2.15.0)")
UNTOLD_NAMES = ("2.1.6", "the file does not say which Keras wrote it")
KERAS_1 = "1.2.2"
KIND = "HDF5 weights"


class Inferred(NamedTuple):
    """What a file of weights tells of its model."""

    dialect: Dialect
    chain: Chain
    draft: dict[str, Any] | None  # None where there is a problem


def inferred(found: Inventory) -> Inferred:
    """Infer the model of a file of weights."""
    version, doubt = generation(found)
    told = initializer(found, version)
    understood = dialect(version, found.backend or None, {"class_name": SEQUENTIAL, "kernel_initializer": told}, KIND)
    guesser = Guesser(understood, found.layout)
    guesses = [guesser.layer(layer) for layer in found.layers]
    entering = [guess for guess in guesses if guess.kind == INPUT_LAYER]
    chain = chained(guesses, len(entering))
    if chain.problems:
        return Inferred(understood, chain, None)
    if told is not None:
        tell_tensorflow(chain, told)
    assumed = []
    if doubt:
        assumed.append(Assumption("keras_version", version, doubt))
    if found.layout == "tree" and len(chain.layers) > 1:
        order = [guess.name for guess in chain.layers]
        assumed.append(Assumption("order", order, "by where the file has them", True))
    if entering or (guesses and "class_name" in guesses[0].assumed) or found.root.startswith(("functional", "model")):
        assumed.append(
            Assumption("class_name", SEQUENTIAL, "each layer read by the next, and by no other, with no operation between them", True)
        )
    return Inferred(understood, chain, Writer(chain, understood).model(assumed))


def initializer(found: Inventory, version: str) -> dict[str, Any] | None:
    """What tells TensorFlow 1.13 to 1.15 from 2.0 and 2.1, which all say 2.2.4-tf: how their initializers are written."""
    if "-tf" not in version or version_numbers(version) != (2, 2, 4):
        return None
    second = any(len(array.shape) == 2 and array.shape[0] == 2 and "bias" in array.name for layer in found.layers for array in layer.arrays)
    return {"class_name": "GlorotUniform", "config": {"seed": None} if second else {"seed": None, "dtype": "float32"}}


def tell_tensorflow(chain: Chain, told: dict[str, Any]) -> None:
    """Mark the initializer that tells the version of TensorFlow."""
    guess = next((guess for guess in chain.flat if guess.takes is not None and not guess.inner and not guess.cells), None)
    guess = guess or next((guess.inner for guess in chain.flat if guess.inner is not None), None)
    if guess is not None:
        guess.assume("kernel_initializer", told, 'as TensorFlow 1.13 to 1.15 writes it with "dtype": "float32", 2.0 and 2.1 without', True)


def generation(found: Inventory) -> tuple[str, str]:
    """The version of Keras that wrote a file, and what makes it doubtful."""
    if found.version:
        return found.version, ""
    if found.layout == "tree":
        return NAMED_TREE if found.dialect == "Keras 3" else OTHER_TREE if found.dialect == "" else ("2.12.0", OTHER_TREE[1])
    arrays = [array.name.rsplit("/", 1)[-1] for layer in found.layers for array in layer.arrays]
    if any(EARLY.fullmatch(name) and name not in ("gamma", "beta") for name in arrays):
        return KERAS_1, ""
    return UNTOLD_NAMES
