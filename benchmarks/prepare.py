"""Makes the files that engines load: ``NAME.h5`` by Keras 2, what converters make of it, and what Keras gives for the inputs.

Run in a process of its own, so that no engine shares one with TensorFlow unless it is TensorFlow.
"""

from __future__ import annotations

import argparse
import io
import math
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fastlstm.bench import onnx

from .files import write_bytes, write_text
from .workload import Rows, Workload, arrays, count
from .workloads import WORKLOADS

#: So many of a workload's inputs are compared with Keras before an engine is timed.
CHECKED = 2


def is_prepared(workload: Workload, folder: Path) -> bool:
    """Are all files of a workload there, for all its batches?"""
    answers = folder / f"{workload.name}.npz"
    if not answers.exists():
        return False
    with np.load(answers) as found:
        return all(f"batch{batch}_{number}" in found for batch in workload.batches for number in range(CHECKED))


def prepare(workload: Workload, folder: Path) -> None:
    """Write a workload's files."""
    import tf_keras

    model = workload.model(tf_keras)
    randomize(model, workload.name)
    path = folder / f"{workload.name}.h5"
    model.save(path)
    expected = {
        f"batch{batch}_{number}": model.predict(x, batch_size=count(x), verbose=0)
        for batch in workload.batches
        for number, x in enumerate(workload.inputs(batch)[:CHECKED])
    }
    x = next(workload.endless(1))
    attempt(to_onnx, model, path.with_suffix(".onnx"), x)
    attempt(to_openvino, model, path.with_suffix(".openvino.xml"), x)
    for batch in sorted({*workload.batches, *workload.memory}):
        attempt(to_litert, model, path.with_suffix(f".{batch}.tflite"), x, batch)
    answers = io.BytesIO()
    np.savez(answers, **expected)
    write_bytes(path.with_suffix(".npz"), answers.getvalue())  # last: says that the rest is complete


def randomize(model: Any, name: str) -> None:
    """Give a model weights that do something, always the same ones."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    values = [rng.normal(size=w.shape) * scale(w.shape) for w in model.weights]
    named = zip(model.weights, values, strict=True)
    model.set_weights([0.5 + abs(value) if "variance" in weight.name else value for weight, value in named])


def scale(shape: tuple[int, ...]) -> float:
    """Of weights, so that numbers stay near 1 on their way through layers, whose convolutions and heads add over all axes but the last."""
    if len(shape) == 1:
        return 0.5
    return 1 / math.sqrt(min(shape) if len(shape) == 2 else math.prod(shape[:-1]))


def attempt(convert: Callable[..., None], model: Any, path: Path, *arguments: Any) -> None:
    """Convert; where that fails, leave the reason beside."""
    failed = path.with_name(path.name + ".failed")
    failed.unlink(missing_ok=True)
    try:
        convert(model, path, *arguments)
    except ImportError as error:
        write_text(failed, f"{error.name} is not installed")
    except Exception as error:  # noqa: BLE001  a converter fails in its own ways; the reason is shown where the engine is skipped
        reason = " ".join(str(error).split())
        write_text(failed, f"conversion failed: {type(error).__name__}: {reason[:300]}")


def signature(x: Rows, batch: int | None) -> list[Any]:
    """What a function of the model is given: tensors in the order of its inputs."""
    import tensorflow as tf

    return [tf.TensorSpec((batch, *array.shape[1:]), array.dtype, name=name) for name, array in arrays(x).items()]


def to_onnx(model: Any, path: Path, x: Rows) -> None:
    """By tf2onnx, any batch, as ``fastlstm bench`` does it."""
    write_bytes(path, onnx.from_keras(model, [(name, (None, *array.shape[1:]), array.dtype) for name, array in arrays(x).items()]))


def to_openvino(model: Any, path: Path, x: Rows) -> None:
    """From TensorFlow, where OpenVINO does not understand the ONNX file; that one it runs better."""
    import openvino

    onnx = path.with_name(path.name.removesuffix(".openvino.xml") + ".onnx")
    try:
        openvino.Core().read_model(onnx)
    except RuntimeError:
        graph = openvino.convert_model(model)
        graph.reshape({port: [-1, *array.shape[1:]] for port, array in zip(graph.inputs, arrays(x).values(), strict=True)})
        openvino.save_model(graph, path, compress_to_fp16=False)


def to_litert(model: Any, path: Path, x: Rows, batch: int) -> None:
    """For one batch: only then one operator comes out of an LSTM."""
    import tensorflow as tf

    owner = tf.Module()
    owner.weights = model.variables
    function = onnx.as_function(model).get_concrete_function(*signature(x, batch))
    write_bytes(path, tf.lite.TFLiteConverter.from_concrete_functions([function], owner).convert())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workloads", default="", metavar="REGEX")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for workload in WORKLOADS:
        if workload.chosen(arguments.workloads) and not is_prepared(workload, arguments.folder):
            print(workload.name, flush=True)
            prepare(workload, arguments.folder)


if __name__ == "__main__":
    main()
