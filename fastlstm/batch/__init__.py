"""Models over tables: batches of columns in, the same with the outputs' columns out. Needs ``pip install 'fastlstm[batch]'`` for Arrow."""

from typing import TYPE_CHECKING

from ..lazy import names

if TYPE_CHECKING:
    from .predictor import Predictor

__getattr__, __dir__ = names(__name__, {"predictor": ("Predictor",)})

__all__ = ["Predictor"]
