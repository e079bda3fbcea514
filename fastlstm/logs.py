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


def _logger() -> Any:
    logging = sys.modules.get("logging")
    if logging is None or not hasattr(logging, "NullHandler"):  # the second: it is being imported in another thread
        return None
    logger = logging.getLogger(NAME)
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    return logger
