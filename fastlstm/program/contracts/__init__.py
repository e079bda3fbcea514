"""The kernels' contracts, a module for each of ``kernels/``.

The kernels are declared by them (``kernels/registry.py``), and no Program runs that does not keep them (``verifier.py``).
"""

from ..contract import CONTRACTS
from . import (
    arithmetic,
    attention,
    conv_lstm,
    convolution,
    curves,
    dense,
    elementwise,
    normalising,
    pooling,
    product,
    rearranging,
    recurrent,
    reductions,
    resampling,
)

__all__ = [
    "CONTRACTS", "arithmetic", "attention", "conv_lstm", "convolution", "curves", "dense", "elementwise", "normalising", "pooling",
    "product", "rearranging", "recurrent", "reductions", "resampling",
]  # fmt: skip
