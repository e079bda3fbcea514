"""Fourier transforms along the last axis, and the parts of complex numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .elementwise import Binary, Unary
from .meaning import Arguments, Meaning
from .operands import AcrossError, MisfitError, Operand, as_operand, is_batched, whole
from .rows import row


class Transform(Meaning):
    """A transform of the last axis; ``pairs``: real and imaginary parts are tensors of their own, as in Keras 3."""

    tensors = ("x",)

    def __init__(self, function: Callable[..., Any], *, pairs: bool, from_pair: bool = False, to_real: bool = False):
        self.function = function
        self.pairs, self.from_pair, self.to_real = pairs, from_pair, to_real

    def _length(self, size: int | None, a: Arguments) -> int | None:
        given = a.get("fft_length")
        if given is None:
            return None if size is None else (2 * (size - 1) if self.function is np.fft.irfft else size)
        return whole(given[0] if isinstance(given, list) and len(given) == 1 else given, "fft_length")

    def shapes(self, a: Arguments) -> tuple[Operand, ...]:
        x = as_operand(a["x"][0] if self.from_pair and isinstance(a["x"], list) and a["x"] else a["x"])
        if not isinstance(x, tuple) or not is_batched(x) or len(x) < 2:
            raise AcrossError("it transforms a tensor that has no rows, or across those of a batch")
        length = self._length(x[-1], a)
        if length is not None and length < 1:
            raise MisfitError(f"a transform of length {length}")
        size = length if self.function is not np.fft.rfft else None if length is None else length // 2 + 1
        return ((*x[:-1], size),) * (2 if self.pairs and not self.to_real else 1)

    def stepwise(self, a: Arguments) -> bool:
        x = a["x"][0] if isinstance(a["x"], list) else a["x"]
        return len(x) > 2

    def compute(self, a: Arguments) -> Any:
        x = a["x"]
        if self.from_pair:
            x = x[0] + 1j * x[1]
        length = self._length(x.shape[-1], a)
        real = (x[0] if isinstance(x, list) else x).real.dtype
        found = self.function(x, length) if self.function in (np.fft.rfft, np.fft.irfft) else self.function(x)
        narrow = np.complex64 if real == np.float32 else np.complex128
        if self.to_real:
            return found.real.astype(real)
        found = found.astype(narrow)
        return (found.real, found.imag) if self.pairs else found


def of_reals(a: Arguments, dtype: str) -> bool:
    """Is it called with real numbers?"""
    return dtype.startswith(("float", "bfloat"))


TABLE = (
    row(
        "complex(x1, x2)",
        Binary(lambda x1, x2: x1 + 1j * x2),
        tf=("dtypes.complex(real:x1, imag:x2)", "complex(real:x1, imag:x2)"),
        op="Complex(x1, x2)",
    ),
    row("fft(x)", Transform(np.fft.fft, pairs=True, from_pair=True), keras3="FFT"),
    row("rfft(x, fft_length=None)", Transform(np.fft.rfft, pairs=True), keras3="RFFT"),
    row("irfft(x, fft_length=None)", Transform(np.fft.irfft, pairs=True, from_pair=True, to_real=True), keras3="IRFFT"),
    row("complex_fft(x)", Transform(np.fft.fft, pairs=False), tf="signal.fft(input:x)", op="FFT(x)"),
    row("complex_ifft(x)", Transform(np.fft.ifft, pairs=False), tf="signal.ifft(input:x)", op="IFFT(x)"),
    row(
        "complex_rfft(x, fft_length=None)",
        Transform(np.fft.rfft, pairs=False),
        tf="signal.rfft(input_tensor:x, fft_length)",
        op="RFFT(x, fft_length)",
    ),
    row(
        "complex_irfft(x, fft_length=None)",
        Transform(np.fft.irfft, pairs=False, to_real=True),
        tf="signal.irfft(input_tensor:x, fft_length)",
        op="IRFFT(x, fft_length)",
    ),
    row("real(x)", Unary(np.real), keras3="Real", tf="math.real(input:x)", op="Real(x)", gives_back=of_reals),
    row("imag(x)", Unary(np.imag), keras3="Imag", tf="math.imag(input:x)", op="Imag(x)"),
    row("angle(x)", Unary(np.angle), keras3="Angle", tf="math.angle(input:x)", op="Angle(x)"),
    row("conjugate(x)", Unary(np.conjugate), keras3=("Conjugate", "Conj"), tf="math.conj(x)", op="Conj(x)", gives_back=of_reals),
)
