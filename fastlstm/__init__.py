"""Trained Keras recurrent networks on CPU, without TensorFlow.

>>> import fastlstm.demo
>>> model = fastlstm.load(fastlstm.demo.MODEL)
>>> model.predict([[[0.1]] * 24]).shape  # one series of 24 months: the 12 that follow
(1, 12)
"""

from . import interpreter  # noqa: F401 - before all others: it says which interpreters are not supported
from .api import convert, describe, load, verify
from .errors import FastLSTMError, FormatError, InputError, KernelError, Problem, UnsupportedError, VerificationError
from .isolation import Isolation
from .model import Model
from .stream import Stream
from .support import supports

__version__ = "0.1.0"

__all__ = [
    "FastLSTMError", "FormatError", "InputError", "Isolation", "KernelError", "Model", "Problem", "Stream",
    "UnsupportedError", "VerificationError", "__version__", "convert", "describe", "load", "supports", "verify",
]  # fmt: skip


def __dir__() -> list[str]:
    """The public names alone: what is not among them may change with any release."""
    return sorted(__all__)
