"""exp, tanh and their kin on vectors, within about 3 ulp of float32; NaN and infinities come through."""

from __future__ import annotations

from typing import Any

from numba import njit

from .vector import bits, fma, from_bits, ints, select, shift_left, shift_right, splat

#: How the arithmetic is compiled. Inlined whatever it costs: a call would pass vectors through memory.
inlined = njit(error_model="numpy", forceinline=True)

LOG2_E = 1.44269504088896341
LN_2_HIGH, LN_2_LOW = 0.693359375, -2.12194440e-4  # products of the high part with small integers are exact
ROUNDING = 12582912.0  # 1.5 * 2**23: adding it leaves the nearest integer in the low bits


@inlined
def at_most(x: Any, bound: float) -> Any:
    """min(x, bound); NaN stays NaN."""
    return select(x > bound, splat(bound), x)


@inlined
def at_least(x: Any, bound: float) -> Any:
    """max(x, bound); NaN stays NaN."""
    return select(x < bound, splat(bound), x)


@inlined
def magnitude(x: Any) -> Any:
    """|x|."""
    return from_bits(bits(x) & ints(0x7FFFFFFF))


@inlined
def _reduced(x: Any) -> Any:
    """exp(x) as (q, n): 2**n * (1 + q), n an integer in the low bits of a float's bits. For |x| < 2**21."""
    t = fma(x, splat(LOG2_E), splat(ROUNDING))
    n = t - ROUNDING
    r = fma(n, splat(-LN_2_LOW), fma(n, splat(-LN_2_HIGH), x))
    p = fma(splat(1.9875691500e-4), r, splat(1.3981999507e-3))
    p = fma(p, r, splat(8.3334519073e-3))
    p = fma(p, r, splat(4.1665795894e-2))
    p = fma(p, r, splat(1.6666665459e-1))
    p = fma(p, r, splat(5.0000001201e-1))
    return fma(r * r, p, r), bits(t)


@inlined
def _power(n: Any) -> Any:
    """2**n for n in the low bits, -126 <= n <= 127."""
    return from_bits(shift_left(n, 23) + ints(0x3F800000))


@inlined
def exp_bounded(x: Any) -> Any:
    """exp(x) for |x| <= 87 or NaN."""
    q, n = _reduced(x)
    scale = _power(n)
    return fma(q, scale, scale)


@inlined
def exp(x: Any) -> Any:
    """exp(x), with infinity, zero and subnormal results where they belong."""
    q, t = _reduced(at_least(at_most(x, 90.0), -105.0))
    n = shift_right(shift_left(t, 23), 23)
    # In two steps, as neither 2**128 nor 2**-150 is a float.
    half = shift_right(n, 1)
    scale = _power(half)
    return fma(q, scale, scale) * _power(n - half)


@inlined
def expm1_bounded(x: Any) -> Any:
    """exp(x) - 1 for |x| <= 87 or NaN, accurate near 0."""
    q, n = _reduced(x)
    scale = _power(n)
    return fma(q, scale, scale - 1.0)


@inlined
def expm1_negative(x: Any) -> Any:
    """exp(x) - 1 for x <= 0."""
    return expm1_bounded(at_least(x, -87.0))


@inlined
def tanh(x: Any) -> Any:
    """tanh(x) by exp(2x) - 1, which is accurate near 0 too."""
    # From 9.02 on the result rounds to 1; at 10 the quotient below is exactly 1.
    e = expm1_bounded(at_least(at_most(x + x, 20.0), -20.0))
    return e / (e + 2.0)


@inlined
def one_plus_exp(x: Any) -> Any:
    """1 + exp(x), infinity from 88 on."""
    q, n = _reduced(at_least(x, -87.0))
    scale = _power(n)
    return select(x > 88.0, splat(float("inf")), fma(q, scale, scale + 1.0))


@inlined
def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x))."""
    return 1.0 / one_plus_exp(-x)


@inlined
def log1p_unit(x: Any) -> Any:
    """log(1 + x) for 0 <= x <= 1 or NaN, as 2 artanh(x / (2 + x))."""
    s = x / (x + 2.0)
    z = s * s
    p = fma(splat(0.13333334), z, splat(0.15384616))
    p = fma(p, z, splat(0.18181819))
    p = fma(p, z, splat(0.22222222))
    p = fma(p, z, splat(0.2857143))
    p = fma(p, z, splat(0.4))
    p = fma(p, z, splat(0.6666667))
    return fma(z * p, s, s + s)


@inlined
def softplus(x: Any) -> Any:
    """log(1 + exp(x))."""
    e = exp_bounded(at_least(-magnitude(x), -87.0))
    return at_least(x, 0.0) + log1p_unit(e)


@inlined
def normal_cdf(x: Any) -> Any:
    """Probability that a standard normal variable is below x: exp(-x**2 / 2) times a polynomial in 1 / (1 + 0.35 |x|), fitted."""
    size = magnitude(x)
    u = 1.0 / fma(size, splat(0.35), splat(1.0))
    p = fma(splat(-0.029172563925385475), u, splat(0.14409968256950378))
    p = fma(p, u, splat(-0.2559753954410553))
    p = fma(p, u, splat(0.1594688892364502))
    p = fma(p, u, splat(-0.02331048995256424))
    p = fma(p, u, splat(0.10559213906526566))
    p = fma(p, u, splat(0.11981170624494553))
    p = fma(p, u, splat(0.13986477255821228))
    p = fma(p, u, splat(0.13962124288082123))
    tail = u * p * exp(size * size * -0.5)
    return select(x < 0.0, tail, 1.0 - tail)
