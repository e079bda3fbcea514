"""Makes the files that engines load: ``NAME.h5`` by Keras 2, its ``NAME.onnx``, and what Keras gives for the inputs.

Run in a process of its own, so that no engine shares one with TensorFlow unless it is TensorFlow.
"""

from __future__ import annotations

import argparse
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from workloads import WORKLOADS, Workload

#: So many of a workload's inputs are compared with Keras before an engine is timed.
CHECKED = 2


def prepare(workload: Workload, folder: Path) -> None:
    """Write a workload's files, unless they are there."""
    import tf_keras

    answers = folder / f"{workload.name}.npz"
    if answers.exists():
        return
    model = tf_keras.Sequential(workload.build(tf_keras))
    rng = np.random.default_rng(zlib.crc32(workload.name.encode()))
    weights = model.get_weights()
    model.set_weights([rng.normal(size=w.shape) * (0.5 if w.ndim == 1 else 1 / np.sqrt(min(w.shape))) for w in weights])
    model.save(folder / f"{workload.name}.h5")
    expected = {
        f"batch{batch}_{number}": model.predict(x, batch_size=len(x), verbose=0)
        for batch in workload.batches
        for number, x in enumerate(workload.inputs(batch)[:CHECKED])
    }
    to_onnx(model, folder / f"{workload.name}.onnx")
    np.savez(answers, **expected)  # last: says that the rest is complete


def to_onnx(model: Any, path: Path) -> None:
    """Convert with tf2onnx; where that fails, leave the reason beside."""
    try:
        import tensorflow as tf
        import tf2onnx
    except ImportError as error:
        path.with_suffix(".onnx.failed").write_text(f"tf2onnx is not installed: {error}")
        return
    start = model.inputs[0]
    signature = [tf.TensorSpec((None, *start.shape[1:]), start.dtype, name="x")]
    try:
        function = tf.function(model.call, input_signature=signature)
        converted, _ = tf2onnx.convert.from_function(function, input_signature=signature, opset=18)
    except Exception as error:  # noqa: BLE001  a converter fails in its own ways; the reason is shown where the engine is skipped
        path.with_suffix(".onnx.failed").write_text(f"tf2onnx: {type(error).__name__}: {error}")
        return
    path.write_bytes(converted.SerializeToString())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workloads", default="", metavar="REGEX")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for workload in WORKLOADS:
        if re.search(arguments.workloads, workload.name):
            prepare(workload, arguments.folder)
            print(workload.name, flush=True)


if __name__ == "__main__":
    main()
