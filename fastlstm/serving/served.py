"""One version of a model, ready to answer: arrays by input name in, arrays by output name out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..inputs import TensorInfo
from ..model import Model
from ..pipeline import Pipeline


class Served:
    """One version of a model.

    Attributes
    ----------
    name : str
        What requests call the model.
    version : int
        Its version.
    model : Model or Pipeline
        What computes it.
    inputs, outputs : tuple of TensorInfo
        What it takes and gives: of a pipeline, raw input and answers.
    """

    def __init__(self, name: str, version: int, model: Model[Any] | Pipeline):
        self.name, self.version, self.model = name, version, model
        network = model.model if isinstance(model, Pipeline) else model
        self.inputs: tuple[TensorInfo, ...] = tuple(network.inputs)
        self.outputs: tuple[TensorInfo, ...] = tuple(network.outputs)

    def predict(self, arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The outputs of checked inputs, by name; blocks until they are computed.

        Raises
        ------
        InputError
            If they do not fit the model.
        """
        given = [arrays[info.name] for info in self.inputs]
        found = self.model.predict(given[0] if len(given) == 1 else given)
        if isinstance(found, Mapping):
            return dict(found)
        parts = found if isinstance(found, (list, tuple)) else [found]
        return dict(zip((info.name for info in self.outputs), parts, strict=True))

    def warm(self) -> None:
        """Compute something of each shape that is known beforehand, so that no request waits for what is done once."""
