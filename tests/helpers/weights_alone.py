"""Files of weights alone, under the names that Keras gives the arrays."""

from __future__ import annotations

import io
from pathlib import Path

import drafts
import h5_files
import h5py
import numpy as np

RNG = np.random.default_rng(7)
#: Weights by the names that Keras gives them: {layer: {array: shape}}.
Shapes = dict[str, dict[str, tuple[int, ...]]]


def written(shapes: Shapes, version: str = "2.3.1", backend: str = "tensorflow", dtype: str = "float32") -> bytes:
    """A file of weights in the layout of Keras 1 to 3."""
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        if version:
            file.attrs["keras_version"], file.attrs["backend"] = version, backend
        file.attrs["layer_names"] = [name.encode() for name in shapes]
        for name, arrays in shapes.items():
            group = file.create_group(name)
            group.attrs["weight_names"] = [array.encode() for array in arrays] if arrays else np.zeros((0,))
            for array, shape in arrays.items():
                group[array] = RNG.normal(size=shape).astype(dtype)
    return out.getvalue()


def dense(name: str, features: int, units: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}/kernel:0": (features, units), f"{name}/bias:0": (units,)}


def loop(name: str, features: int, units: int, gates: int = 4, bias: tuple[int, ...] | None = None) -> dict[str, tuple[int, ...]]:
    width = gates * units
    return {
        f"{name}/kernel:0": (features, width),
        f"{name}/recurrent_kernel:0": (units, width),
        f"{name}/bias:0": (width,) if bias is None else bias,
    }


def small_model(path: Path) -> Path:
    """A classifier of ids whose arguments are not all Keras's defaults."""
    forward = h5_files.recurrent("LSTM", 3, 4, RNG, return_sequences=True)
    return h5_files.save(
        path,
        [
            h5_files.embedding(11, 4, RNG, mask_zero=True),
            h5_files.bidirectional(forward, h5_files.recurrent("LSTM", 3, 4, RNG).weights),
            h5_files.dropout(),
            h5_files.recurrent("GRU", 5, 6, RNG, activation="relu"),
            h5_files.dense(2, 5, RNG, "softmax"),
        ],
        (None,),
    )  # fmt: skip


#: The names of its arrays, in order.
NAMES = [
    ["embeddings"], [f"{way}_lstm/{one}" for way in ("forward", "backward") for one in ("kernel", "recurrent_kernel", "bias")], [],
    ["kernel", "recurrent_kernel", "bias"], ["kernel", "bias"],
]  # fmt: skip


def weights_of(path: Path) -> bytes:
    """Its weights alone, under the names that Keras gives them."""
    data = io.BytesIO(drafts.weights_of(path))
    with h5py.File(data, "r+") as file:
        for layer_name, names in zip(file.attrs["layer_names"], NAMES, strict=True):
            group = file[layer_name]
            arrays = [group[name][...] for name in group.attrs["weight_names"]]
            kept = [f"{layer_name.decode()}/{name}:0" for name in names]
            for name, array in zip(kept, arrays, strict=True):
                group[name] = array
            group.attrs["weight_names"] = [name.encode() for name in kept] or np.zeros((0,))
    return data.getvalue()


def tree() -> dict[str, list[np.ndarray]]:
    def arrays(*shapes: tuple[int, ...]) -> list[np.ndarray]:
        return [RNG.normal(size=shape).astype(np.float32) for shape in shapes]

    return {
        "layers/lstm/cell/vars": arrays((3, 16), (4, 16), (16,)), "layers/lstm_1/cell/vars": arrays((4, 20), (5, 20), (20,)),
        "layers/dense/vars": arrays((5, 2), (2,)),
    }  # fmt: skip
