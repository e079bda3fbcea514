"""The table of layers in docs/layers.md: where each runs is read off a loaded example of it.

python tools/layer_table.py            prints it
python tools/layer_table.py --write    puts it into docs/layers.md
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np

from fastlstm.layers import REGISTRY, Layer, prepared, root
from fastlstm.model import Model
from fastlstm.replacing import writing
from fastlstm.spec import Call, Generation, LayerSpec, ModelSpec, Ref

PAGE = Path(__file__).parents[1] / "docs" / "layers.md"
BEGIN, END = "<!-- layers -->\n", "<!-- /layers -->"
WORDS = {"native": "kernels", "NumPy": "NumPy", "no work": "no work"}


class Example(NamedTuple):
    """A layer with its necessary arguments, and what it is called on."""

    config: dict[str, Any] = {}  # noqa: RUF012
    inputs: tuple[tuple[int, ...], ...] = ((6, 4),)  # less the batch
    children: tuple[tuple[str, str], ...] = ()  # class and name of the layers that it wraps, made by their own examples
    ids: bool = False
    arrays: tuple[tuple[int, ...], ...] = ()  # shapes of its arrays, where the layer does not ask for them
    dtype: str = "float32"  # of what it is called on
    vocabulary: tuple[np.ndarray, ...] = ()  # its arrays, where it looks terms up


#: The vocabulary of two words, "cat" and "a".
TERMS = (np.frombuffer(b"cata", np.uint8), np.array([3, 4]))
ROWS, IMAGES, VOLUMES = ((6, 4),), ((6, 8, 4),), ((6, 8, 8, 4),)
PAIR = ((6, 4), (6, 4))
ALONG = {"1D": ROWS, "2D": IMAGES, "3D": VOLUMES}
#: One example for each class, but those that do with their names and a sequence: "" holds for these.
EXAMPLES: dict[str, Example] = {
    **dict.fromkeys(
        ("ActivityRegularization", "AddLoss", "AddMetric", "AlphaDropout", "BatchNormalization", "Dropout", "ELU", "Flatten",
         "GaussianDropout", "GaussianNoise", "Identity", "InputLayer", "LayerNormalization", "LeakyReLU", "Masking", "PReLU",
         "ParametricSoftplus", "RMSNormalization", "ReLU", "Rescaling", "SReLU", "Softmax", "SpatialDropout1D", "SyncBatchNormalization",
         "ThresholdedReLU", "UnitNormalization"),
        Example(),
    ),
    "Operation": Example({"operation": "multiply", "arguments": {"x1": {"input": 0}, "x2": 2.0}}),
    **dict.fromkeys(("Add", "AdditiveAttention", "Attention", "Average", "Concatenate", "Maximum", "Minimum", "Multiply", "Subtract"),
                    Example(inputs=PAIR)),
    **{f"{kind}{axes}": Example({"pool_size": 2}, inputs) for kind in ("AveragePooling", "MaxPooling") for axes, inputs in ALONG.items()},
    **{f"AdaptiveAveragePooling{axes}": Example({"output_size": 4}, inputs) for axes, inputs in ALONG.items()},
    **{f"Global{kind}Pooling{axes}": Example({}, inputs) for kind in ("Average", "Max") for axes, inputs in ALONG.items()},
    **{f"{kind}{axes}": Example({"filters": 4, "kernel_size": 3}, inputs) for kind in ("Conv", "SeparableConv", "LocallyConnected")
       for axes, inputs in ALONG.items() if f"{kind}{axes}" in REGISTRY},
    **{f"Conv{axes}Transpose": Example({"filters": 4, "kernel_size": 3}, inputs) for axes, inputs in ALONG.items()},
    **{f"DepthwiseConv{axes}": Example({"kernel_size": 3}, inputs) for axes, inputs in ALONG.items() if f"DepthwiseConv{axes}" in REGISTRY},
    **{f"ConvLSTM{axes}": Example({"filters": 2, "kernel_size": 3}, ((5, *inputs[0]),)) for axes, inputs in ALONG.items()},
    **{f"Cropping{axes}": Example({"cropping": 1}, inputs) for axes, inputs in ALONG.items()},
    **{f"UpSampling{axes}": Example({"size": 2}, inputs) for axes, inputs in ALONG.items()},
    **{f"ZeroPadding{axes}": Example({"padding": 1}, inputs) for axes, inputs in ALONG.items()},
    **dict.fromkeys(("SpatialDropout2D",), Example(inputs=IMAGES)),
    **dict.fromkeys(("SpatialDropout3D",), Example(inputs=VOLUMES)),
    **dict.fromkeys(("Sequential", "Functional", "Model"), Example(children=(("Dense", "inner"),))),
    **dict.fromkeys(("Dot", "MergeCosine"), Example({"axes": 1}, PAIR)),
    **dict.fromkeys(("GRU", "LSTM", "SimpleRNN"), Example({"units": 4, "activation": "tanh"})),
    **dict.fromkeys(("GRUCell", "SimpleRNNCell"), Example({"units": 4, "activation": "tanh"}, ((3,), (4,)))),
    "LSTMCell": Example({"units": 4, "activation": "tanh"}, ((3,), (4,), (4,))),
    "Activation": Example({"activation": "tanh"}),
    "Bidirectional": Example(children=(("LSTM", "forward"), ("LSTM", "backward"))),
    "Dense": Example({"units": 4}),
    "EinsumDense": Example({"equation": "abc,cd->abd", "output_shape": [None, 4], "bias_axes": "d"}, arrays=((4, 4), (4,))),
    "Embedding": Example({"input_dim": 9, "output_dim": 4}, ((6,),), ids=True),
    "GroupNormalization": Example({"groups": 2}),
    "GroupQueryAttention": Example({"head_dim": 3, "num_query_heads": 4, "num_key_value_heads": 2}, PAIR),
    "Highway": Example({"activation": "tanh"}, ((4,),)),
    "MaxoutDense": Example({"units": 4, "nb_feature": 2}, ((4,),)),
    "MultiHeadAttention": Example({"num_heads": 2, "key_dim": 3}, PAIR),
    "Normalization": Example({"mean": [0.5] * 4, "variance": [2.0] * 4}),
    "Permute": Example({"dims": [2, 1]}),
    "RNN": Example(children=(("LSTMCell", "cell"),)),
    **dict.fromkeys(("Resizing", "CenterCrop"), Example({"height": 5, "width": 4}, IMAGES)),
    "RepeatVector": Example({"n": 3}, ((4,),)),
    "Reshape": Example({"target_shape": [3, 8]}),
    "SpectralNormalization": Example(children=(("Dense", "inner"),), arrays=((1, 4),)),
    "StackedRNNCells": Example({}, ((3,), (4,), (4,), (4,)), (("LSTMCell", "lower"), ("GRUCell", "upper"))),
    "CategoryEncoding": Example({"num_tokens": 5}, ((4,),), dtype="int64"),
    "Discretization": Example({"bin_boundaries": [0.0, 1.0]}, ((4,),)),
    "HashedCrossing": Example({"num_bins": 5}, ((1,), (1,)), dtype="int64"),
    "Hashing": Example({"num_bins": 5}, ((4,),), dtype="int64"),
    "IntegerLookup": Example({}, ((4,),), dtype="int64", vocabulary=(np.array([5, 7]),)),
    "StringLookup": Example({}, ((4,),), dtype="string", vocabulary=TERMS),
    "TextVectorization": Example({"split": "whitespace", "mask_token": ""}, ((1,),), dtype="string", vocabulary=TERMS),
    "TimeDistributed": Example(children=(("Dense", "inner"),)),
}  # fmt: skip


def chain(layer: LayerSpec, inputs: tuple[tuple[int, ...], ...], ids: bool = False, dtype: str = "float32") -> ModelSpec:
    """A model of one layer."""
    dtype = "int32" if ids else dtype
    entries = tuple(LayerSpec("InputLayer", f"input{n}", {"shape": [None, *shape], "dtype": dtype}) for n, shape in enumerate(inputs))
    refs = tuple(Ref(n) for n in range(len(entries)))
    calls = (*(Call(n) for n in range(len(entries))), Call(len(entries), refs))
    return ModelSpec(
        "example", "Functional", (*entries, layer), calls, refs, (Ref(len(entries)),), tuple(entry.name for entry in entries),
        (layer.name,), Generation("Keras", "", "", "example"),
    )  # fmt: skip


def layer_of(kind: str, name: str) -> LayerSpec:
    """The example of a class, without its arrays."""
    example = EXAMPLES[kind]
    children = tuple(layer_of(inner, called) for inner, called in example.children)
    if kind in ("Sequential", "Functional", "Model"):
        return LayerSpec(kind, name, {}, model=chain(children[0], example.inputs))
    return LayerSpec(kind, name, dict(example.config), example.vocabulary, children)


def with_arrays(model: ModelSpec, kind: str) -> ModelSpec:
    """The model of a class's example with random arrays of the shapes that its layers ask for."""
    shapes: dict[str, tuple[tuple[int, ...], ...]] = {"layer": EXAMPLES[kind].arrays}
    random = np.random.default_rng(0)

    def note(layer: Layer, *asked: tuple[int, ...]) -> tuple[np.ndarray, ...]:
        shapes[layer.path] = asked
        return tuple(np.zeros(shape, np.float32) for shape in asked)

    with patch.object(Layer, "arrays", note):
        given = tuple(
            replace(layer, weights=tuple(map(np.zeros, shapes.get(layer.name, ()))) or layer.weights) for layer in model.layers
        )  # fmt: skip
        network = root(replace(model, layers=given), prepared(model, "example"))
        network.shapes(network.input_shapes(), {})

    def filled(layer: LayerSpec, prefix: str) -> LayerSpec:
        path = prefix + layer.name
        arrays = tuple(random.uniform(0.1, 0.5, shape).astype(np.float32) for shape in shapes.get(path, ())) or EXAMPLES[kind].vocabulary
        inner = layer.model and replace(layer.model, layers=tuple(filled(one, path + "/") for one in layer.model.layers))
        return replace(layer, weights=arrays, model=inner, children=tuple(filled(child, path + "/") for child in layer.children))

    return replace(model, layers=tuple(filled(layer, "") for layer in model.layers))


def loaded(kind: str) -> Model:
    """A Model of one layer of a class."""
    example = EXAMPLES[kind]
    model = chain(layer_of(kind, "layer"), example.inputs, example.ids, example.dtype)
    return Model(with_arrays(model, kind), source=f"the example of {kind}")


def runs(kind: str) -> str:
    """Where the example of a class is computed."""
    layers = {layer.name: layer for layer in loaded(kind).layers}
    return WORDS[layers["input0" if kind == "InputLayer" else "layer"].runs]


def table() -> str:
    """The families (files in ``layers/``), and each layer with where it runs and the arguments that it honours."""
    families: dict[str, list[str]] = {}
    for name, layer in REGISTRY.items():
        families.setdefault(sys.modules[layer.__module__].__doc__ or "", []).append(name)
    return "\n".join([*of_families(families), *of_layers(), "", ""])


def of_families(families: dict[str, list[str]]) -> Iterator[str]:
    """The lines of the first table."""
    yield from ("| family | Keras's layers |", "|---|---|")
    for family, names in sorted(families.items()):
        yield f"| {re.split('[:.]', family)[0]} | {', '.join(sorted(names))} |"


def of_layers() -> Iterator[str]:
    """The lines of the second table."""
    yield from ("", "## Each layer: where it runs, and which arguments change what it computes", "")
    yield from ("| layer | runs in | arguments honoured |", "|---|---|---|")
    for name, layer in sorted(REGISTRY.items()):
        yield f"| {name} | {runs(name)} | {', '.join(sorted(layer.HONOURED))} |"


def updated(text: str) -> str:
    """The page with the table in its place."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


if __name__ == "__main__":
    if "--write" in sys.argv[1:]:
        with writing(PAGE) as stream:
            stream.write(updated(PAGE.read_text(encoding="utf-8")).encode())
    else:
        print(table(), end="")
