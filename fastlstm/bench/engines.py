"""The engines that ``fastlstm bench`` compares: each loads a model's file, and computes outputs from arrays."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np

from .. import logs
from ..errors import InputError
from ..model import Model
from ..precision import BOUNDS
from ..selftest import flat, own_keras
from . import onnx

STANDARD_ERROR = 2
LOOPS_NOTE = (
    "tf2onnx made a loop of a recurrent layer, where ONNX Runtime has a faster operator; if you have a better conversion, give --onnx FILE"
)


class UnavailableError(Exception):
    """An engine cannot run a model here; the message says why, and what would help."""


class Engine:
    """One engine with one model. ``predict`` is what is timed: from arrays to arrays, as a user would call it."""

    label: ClassVar[str]
    package: ClassVar[str]
    note: str = ""  # what is to be known beside its times
    tolerance = 1e-4  # an engine whose numbers differ by more, relative to the largest of an output, computes something else

    def __init__(self, version: str = ""):
        self.version = version or installed(self.package)

    def predict(self, inputs: Sequence[np.ndarray]) -> Any:
        """Compute a batch."""
        raise NotImplementedError

    def outputs(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The same as a list of arrays, in the order of the model's outputs."""
        return [np.asarray(y) for y in flat(self.predict(inputs))]

    def reset(self) -> None:
        """Forget the states of a stateful model."""


class FastLSTM(Engine):
    """This library."""

    label, package = "fastlstm", "fastlstm"

    def __init__(self, model: Model):
        super().__init__()
        self.model = model

    def predict(self, inputs: Sequence[np.ndarray]) -> Any:
        """See Engine."""
        return self.model.predict(inputs[0] if len(inputs) == 1 else list(inputs))

    def reset(self) -> None:
        """See Engine."""
        self.model.reset_states()


class InPrecision(FastLSTM):
    """This library in a precision that the model is computed in here."""

    def __init__(self, model: Model, precision: str):
        super().__init__(model)
        self.version = f"{self.version} in {precision}"
        self.tolerance = BOUNDS.get(precision, self.tolerance)


class KerasPredict(Engine):
    """Keras as everybody calls it."""

    label, package = "Keras predict", "keras"

    def __init__(self, model: Any, version: str):
        super().__init__(version)
        self.model = model

    def predict(self, inputs: Sequence[np.ndarray]) -> Any:
        """See Engine."""
        given = [text_tensor(x) if x.dtype == object else x for x in inputs]
        return self.model.predict(given[0] if len(given) == 1 else given, batch_size=len(inputs[0]), verbose=0)

    def reset(self) -> None:
        """See Engine."""
        for layer in self.model.layers:
            forget = getattr(layer, "reset_states", None) or getattr(layer, "reset_state", None)
            if getattr(layer, "stateful", False) and forget is not None:
                forget()


def text_tensor(texts: np.ndarray) -> Any:
    """Texts as Keras 3's ``predict`` takes them, which refuses arrays of them."""
    return importlib.import_module("tensorflow").constant(texts)


class KerasOnBatch(KerasPredict):
    """Keras without what ``predict`` does around a batch."""

    label = "Keras predict_on_batch"

    def predict(self, inputs: Sequence[np.ndarray]) -> Any:
        """See Engine."""
        return self.model.predict_on_batch(inputs[0] if len(inputs) == 1 else list(inputs))


class ONNXRuntime(Engine):
    """ONNX Runtime, on one model in an .onnx file or its bytes."""

    label, package = "ONNX Runtime", "onnxruntime"

    def __init__(self, model: str | bytes, threads: int):
        super().__init__()
        self.session = onnx.session(model, threads)
        self.names = [one.name for one in self.session.get_inputs()]
        self.dtypes = [onnx.DTYPES.get(one.type, np.float32) for one in self.session.get_inputs()]

    def predict(self, inputs: Sequence[np.ndarray]) -> Any:
        """See Engine."""
        given = zip(self.names, self.dtypes, inputs, strict=True)
        return self.session.run(None, {name: x.astype(dtype, copy=False) for name, dtype, x in given})

    def outputs(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """See Engine."""
        return [np.asarray(y) for y in self.predict(inputs)]


def installed(package: str) -> str:
    """The version of a package; "" if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


@contextmanager
def silent() -> Iterator[None]:
    """Without what TensorFlow's C++ says on standard error, of GPUs that are not there and the like; its exceptions are heard."""
    if logs.wanted(logs.INFO):  # somebody wants to hear everything
        yield
        return
    if sys.stderr is not None:
        sys.stderr.flush()
    try:
        kept = os.dup(STANDARD_ERROR)
    except OSError:  # it is closed: nothing can be said there
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, STANDARD_ERROR)
        yield
    finally:
        os.dup2(kept, STANDARD_ERROR)
        os.close(kept)
        os.close(nowhere)


def short(error: BaseException) -> str:
    """What another library says went wrong, in a line."""
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first[:160]}"


class Keras:
    """A live Keras with the user's model, for those who compute with it and those who convert it."""

    def __init__(self, model: Model, path: str, threads: int):
        with silent():
            module = chosen_keras(model)
            if module is None:
                raise UnavailableError("not installed: pip install keras tensorflow (for files of Keras 2: pip install tf_keras)")
            limit_threads(threads)
        self.version = str(module.__version__)
        try:
            with silent():
                self.model = module.models.load_model(path, compile=False)
        except Exception as error:  # Keras raises anything about files that it does not read
            raise UnavailableError(f"Keras {self.version} cannot load the file: {short(error)}") from error

    def engines(self) -> list[Engine]:
        """The ways to call it."""
        return [KerasPredict(self.model, self.version), KerasOnBatch(self.model, self.version)]


def chosen_keras(model: Model) -> Any | None:
    """A Keras of the file's generation, else any: whether its numbers are the same is seen before it is timed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # what TensorFlow says of itself is of no use here
    found = own_keras(model)
    if found is not None:
        return found
    name = next((name for name in ("tf_keras", "keras") if importlib.util.find_spec(name) is not None), None)
    if name is None:
        return None
    try:
        return importlib.import_module(name)
    except ImportError as error:  # Keras without a backend
        raise UnavailableError(f"{name} is installed but cannot be imported: {error}") from error


def limit_threads(threads: int) -> None:
    """Let TensorFlow, if it is what Keras computes with, use so many threads."""
    if importlib.util.find_spec("tensorflow") is None:
        return
    tensorflow = importlib.import_module("tensorflow")
    try:
        tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
        tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError as error:  # it has computed already in this process
        raise UnavailableError(f"TensorFlow's number of threads cannot be set any more: {error}") from error


def onnx_engine(model: Model, path: str | None, keras: Keras | None, shapes: Sequence[Any], threads: int) -> Engine:
    """ONNX Runtime with the model: from an .onnx file, or converted from Keras."""
    if not installed("onnxruntime"):
        raise UnavailableError("not installed: pip install onnxruntime")
    if model.executor.stateful and path is None:
        raise UnavailableError("a stateful model keeps its states in Keras, which an .onnx file does not have")
    if path is not None:
        source: str | bytes = path
    else:
        if not installed("tf2onnx") or keras is None:
            raise UnavailableError(
                "needs an .onnx file: give --onnx FILE, or install what converts a Keras model: pip install tf2onnx tensorflow"
            )
        source = converted(keras, shapes)
    try:
        engine = ONNXRuntime(source, threads)
        if isinstance(source, bytes) and onnx.has_loops(source):
            engine.note = LOOPS_NOTE
    except Exception as error:  # ONNX Runtime's errors share no class that can be named without importing it
        raise UnavailableError(f"ONNX Runtime cannot load it: {short(error)}") from error
    if len(engine.names) != len(model.inputs):
        raise InputError(f"--onnx: expected a model of {len(model.inputs)} inputs, found {len(engine.names)} ({', '.join(engine.names)})")
    return engine


def converted(keras: Keras, shapes: Sequence[Any]) -> bytes:
    """The model as ONNX."""
    try:
        with silent():
            return onnx.from_keras(keras.model, shapes)
    except Exception as error:  # a converter fails in its own ways
        raise UnavailableError(f"tf2onnx cannot convert it: {short(error)}; give --onnx FILE") from error
