"""Trained Keras recurrent networks on CPU, without TensorFlow.

>>> import fastlstm.demo
>>> model = fastlstm.load(fastlstm.demo.MODEL)
>>> model.predict([[[0.1]] * 24]).shape  # one series of 24 months: the 12 that follow
(1, 12)
"""

from typing import TYPE_CHECKING

from . import interpreter  # noqa: F401 - before all others: it says which interpreters are not supported
from .lazy import names

if TYPE_CHECKING:
    from .api import convert, describe
    from .drafting import draft_architecture
    from .errors import FastLSTMError, FormatError, InputError, KernelError, Problem, UnsupportedError, VerificationError
    from .isolation import Isolation
    from .loading import load
    from .model import Model
    from .pipeline import Pipeline
    from .stream import Stream
    from .support import supports
    from .verifying import verify

__version__ = "0.2.0"

__getattr__, __dir__ = names(__name__, {
    "api": ("convert", "describe"), "drafting": ("draft_architecture",),
    "errors": (
        "FastLSTMError", "FormatError", "InputError", "KernelError", "Problem", "UnsupportedError", "VerificationError",
    ),
    "isolation": ("Isolation",), "loading": ("load",), "model": ("Model",),
    "pipeline": ("Pipeline",), "stream": ("Stream",), "support": ("supports",),
    "verifying": ("verify",),
})  # fmt: skip

__all__ = [
    "FastLSTMError", "FormatError", "InputError", "Isolation", "KernelError", "Model", "Pipeline", "Problem", "Stream",
    "UnsupportedError", "VerificationError", "__version__", "convert", "describe", "draft_architecture", "load", "supports", "verify",
]  # fmt: skip
