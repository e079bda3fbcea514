"""All engines, and those among them that load a converted file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .engine import Engine, UnavailableError, beside, onnx_session
from .pytorch import PyTorch
from .with_tensorflow import XLA, KerasPredict, KerasPredictOnBatch, TensorFlowFunction
from .workload import Rows, arrays


class FastLSTM(Engine):
    label = "fastlstm"
    packages = ("fastlstm", "numpy")
    takes_ragged = True

    def __init__(self, model: Path, batch: int, threads: int):
        import fastlstm

        self.predict = fastlstm.load(model, threads=threads).predict


class InPrecision(FastLSTM):
    """fastlstm in a reduced precision, where this machine has it."""

    float32 = False
    tolerance = 3e-2
    asked, used = "bfloat16", "bfloat16"

    def __init__(self, model: Path, batch: int, threads: int):
        import fastlstm

        loaded = fastlstm.load(model, threads=threads, precision=self.asked)
        if loaded.precision_used != self.used:
            raise UnavailableError(f"{self.asked} is computed in {loaded.precision_used} here")
        self.predict = loaded.predict


class Bfloat16(InPrecision):
    label = "fastlstm bfloat16"


class Bfloat16x3(InPrecision):
    label = "fastlstm bfloat16x3"
    tolerance = 1e-3
    asked = used = "bfloat16x3"


class Bfloat16Weights(InPrecision):
    label = "fastlstm bfloat16 weights"
    used = "bfloat16 weights"


class ONNXRuntime(Engine):
    """Fed from tf2onnx, which makes LSTM and GRU operators of Keras's layers where it can."""

    label = "ONNX Runtime"
    packages = ("onnxruntime", "tf2onnx")

    def __init__(self, model: Path, batch: int, threads: int):
        self.session = onnx_session(model, threads)

    def predict(self, x: Rows) -> np.ndarray:
        return self.session.run(None, arrays(x))[0]


class OpenVINO(Engine):
    """Fed from the ONNX file, or from TensorFlow where it cannot read that; compiled for the batch."""

    label = "OpenVINO float32"
    packages = ("openvino",)

    def __init__(self, model: Path, batch: int, threads: int):
        import openvino

        path = beside(model, ".openvino.xml")
        core = openvino.Core()
        graph = core.read_model(path if path.exists() else beside(model, ".onnx"))
        graph.reshape({port: [batch, *list(port.partial_shape)[1:]] for port in graph.inputs})
        properties: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
        try:
            compiled = core.compile_model(graph, "CPU", {**properties, **self.precision()})
        except RuntimeError as error:
            raise UnavailableError(f"it cannot compile this: {str(error).strip().splitlines()[-1]}") from error
        self.check(compiled)
        self.request = compiled.create_infer_request()

    def precision(self) -> dict[str, str]:
        return {"INFERENCE_PRECISION_HINT": "f32"}

    def check(self, compiled: Any) -> None:
        """Raise UnavailableError where the model that was compiled is not what the label says."""

    def predict(self, x: Rows) -> np.ndarray:
        return self.request.infer(x if isinstance(x, dict) else {0: x})[0]


class OpenVINODefault(OpenVINO):
    label = "OpenVINO default"
    float32 = False
    tolerance = 3e-2

    def precision(self) -> dict[str, str]:
        return {}

    def check(self, compiled: Any) -> None:
        found = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if found in ("f32", "float32"):
            raise UnavailableError("its default precision on this CPU is float32")


class LiteRT(Engine):
    """Fed from TensorFlow's converter with a fixed batch, which it needs to make one operator of an LSTM."""

    label = "LiteRT"
    packages = ("ai-edge-litert", "tensorflow")

    def __init__(self, model: Path, batch: int, threads: int):
        path = beside(model, f".{batch}.tflite")
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError:
            from tensorflow.lite import Interpreter  # the same engine before it had a package of its own

        self.interpreter = Interpreter(str(path), num_threads=threads)
        self.interpreter.allocate_tensors()
        self.given = self.interpreter.get_input_details()
        self.result = self.interpreter.get_output_details()[0]["index"]

    def predict(self, x: Rows) -> np.ndarray:
        self.interpreter.reset_all_variables()  # its LSTM keeps its state from call to call
        for entry, array in zip(self.given, arrays(x).values(), strict=True):
            self.interpreter.set_tensor(entry["index"], array)
        self.interpreter.invoke()
        return self.interpreter.get_tensor(self.result)


ENGINES: dict[str, type[Engine]] = {
    "fastlstm": FastLSTM,
    "bfloat16": Bfloat16,
    "bfloat16x3": Bfloat16x3,
    "bfloat16_weights": Bfloat16Weights,
    "keras": KerasPredict,
    "keras_on_batch": KerasPredictOnBatch,
    "tf_function": TensorFlowFunction,
    "xla": XLA,
    "onnxruntime": ONNXRuntime,
    "pytorch": PyTorch,
    "litert": LiteRT,
    "openvino": OpenVINO,
    "openvino_default": OpenVINODefault,
}
