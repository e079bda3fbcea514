"""What callers get: arrays of their own, in the form in which Keras returns them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .spec import ModelSpec


def copies(outputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Outputs of ``apply`` as arrays of their own: a layer may have given back its very input, or a constant of the model."""
    return [np.array(y, order="C") for y in outputs]


def unlike(rows: Sequence[np.ndarray]) -> bool:
    """Have rows other shapes than each other?"""
    return len({row.shape for row in rows}) > 1


def as_returned(spec: ModelSpec, outputs: Sequence[Any]) -> Any:
    """Outputs as Keras's ``predict`` returns them: one, a list, or a dict."""
    if spec.output_kind == "single":
        return outputs[0]
    if spec.output_kind == "dict":
        return dict(zip(spec.output_names, outputs, strict=True))
    return list(outputs)
