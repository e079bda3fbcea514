"""What fastlstm says by Python's ``logging``, on the logger "fastlstm": info about files, debug about layers and Programs.

Nobody can have asked for messages who has not imported ``logging``; so it is not imported here, which would take milliseconds.
"""

from __future__ import annotations

import sys
from typing import Any

NAME = "fastlstm"
INFO, DEBUG = 20, 10  # as logging has them


def wanted(level: int) -> bool:
    """Does anybody read messages of a level? Then they may cost something."""
    logger = _logger()
    return logger is not None and logger.isEnabledFor(level)


def say(level: int, message: str, *values: Any) -> None:
    """Send a message, ``message % values``, to those who read it."""
    logger = _logger()
    if logger is not None:
        logger.log(level, message, *values, stacklevel=2)


def outside() -> int:
    """The stack level of the nearest caller outside this package, so that a warning points at the user's line."""
    package = __name__.split(".")[0]
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).split(".")[0] == package:
        level, frame = level + 1, frame.f_back
    return level


def _logger() -> Any:
    logging = sys.modules.get("logging")
    if logging is None or not hasattr(logging, "NullHandler"):  # the second: it is being imported in another thread
        return None
    logger = logging.getLogger(NAME)
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    return logger
