"""The cases of tools/make_saved_models.py, by name."""

from . import graphs, recurrent  # noqa: F401 - they register theirs
from .base import CASES

__all__ = ["CASES"]
