from typing import Any

import numpy as np

from .call import Watch
from .runner import Runner

class Team(Watch):
    def __init__(
        self,
        runner: Runner,
        inputs: list[np.ndarray[Any, Any]],
        outputs: list[np.ndarray[Any, Any]],
        states: list[np.ndarray[Any, Any]],
        members: int,
    ) -> None: ...
    def work(self, member: int) -> None: ...
