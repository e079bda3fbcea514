"""Writes pictures."""

from __future__ import annotations

import os
from typing import Any

from ..errors import InputError
from ..replacing import checked, writing

ENDING = ".svg"
#: What lies here has no ending: /dev/stdout, for example.
DEVICES = ("/dev/", "/proc/")


def checked_picture(path: Any, *sources: Any, name: str = "path") -> str:
    """The path of a picture that is to be written; refused before the work that would be in vain.

    Raises
    ------
    InputError
        If it does not end in .svg, or as :func:`fastlstm.replacing.checked` says.
    """
    target = checked(path, *sources, name=name)
    if os.path.splitext(target)[1].lower() != ENDING and not target.startswith(DEVICES):
        raise InputError(f"{name}: expected a file ending in {ENDING}, found {target!r}")
    return target


def keep(picture: str, path: str) -> None:
    """Write a picture to a path that has been checked."""
    with writing(path) as stream:
        stream.write(picture.encode("utf-8"))
