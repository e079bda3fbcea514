"""What the extra ``batch`` brings, once it is needed."""

from __future__ import annotations

from types import ModuleType

from ..errors import InputError


def arrow_columns(what: str) -> ModuleType:
    """The module that reads and writes Arrow columns.

    Raises
    ------
    InputError
        If there is no pyarrow.
    """
    try:
        from . import columns
    except ImportError as error:
        raise InputError(f"{what}: read and written by pyarrow, which is not installed: pip install 'fastlstm[batch]'") from error
    return columns
