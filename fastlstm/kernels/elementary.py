"""exp, tanh, sigmoid and the like on vectors, within about 3 ulp of float32; NaN and infinities come through.

They are what activations are made of, and inlined into whatever computes one: polynomials and the bits of floats, no library calls.
"""

from __future__ import annotations

from typing import Any

from .flags import inlined
from .target import LEVEL
from .vector import HAS_SCALE, INFINITY, bits, fma, from_bits, from_int, scale, select

LOG2_E = 1.44269504088896341
LN_2 = 0.69314718055994531
LN_2_HIGH, LN_2_LOW = 0.693359375, -2.12194440e-4  # products of the high part with small integers are exact
ROUNDING = 12582912.0  # 1.5 * 2**23: adding it leaves the nearest integer in the low bits


@inlined
def at_most(x: Any, bound: float) -> Any:
    """min(x, bound); NaN stays NaN."""
    return select(x > bound, bound, x)


@inlined
def at_least(x: Any, bound: float) -> Any:
    """max(x, bound); NaN stays NaN."""
    return select(x < bound, bound, x)


@inlined
def magnitude(x: Any) -> Any:
    """|x|."""
    return from_bits(bits(x) & 0x7FFFFFFF)


@inlined
def _polynomial(r: Any) -> Any:
    """(exp(r) - 1 - r) / r**2 for |r| <= log(2) / 2, fitted so that exp(r) - 1 keeps its relative accuracy near 0."""
    # In pairs, as the chain of dependent operations is what a single sequence waits for.
    low = fma(0.16666541993618011, r, 0.4999999701976776)
    high = fma(0.008366642519831657, r, 0.04166720435023308)
    square = r * r
    return fma(fma(0.001388246426358819, square, high), square, low)


@inlined
def _reduced(x: Any) -> Any:
    """exp(x) as (q, n, bits of n): 2**n * (1 + q), n an integer in the low bits of its bits. For |x| < 2**21."""
    t = fma(x, LOG2_E, ROUNDING)
    n = t - ROUNDING
    r = fma(n, -LN_2_LOW, fma(n, -LN_2_HIGH, x))
    return fma(r * r, _polynomial(r), r), n, bits(t)


@inlined
def _reduced_twice_fused(x: Any) -> Any:
    """exp(2x) likewise, for |x| <= 10: n is so small that its product with one float of log(2) is good enough."""
    t = fma(x, 2 * LOG2_E, ROUNDING)
    n = t - ROUNDING
    half = fma(n, -0.5 * LN_2, x)
    r = half + half
    return fma(r * r, _polynomial(r), r), n, bits(t)


@inlined
def _reduced_twice(x: Any) -> Any:
    return _reduced(x + x)


reduced_twice = _reduced_twice_fused if LEVEL.fused else _reduced_twice


@inlined
def _power(n: Any) -> Any:
    """2**n for n in the low bits, -126 <= n <= 127."""
    return from_bits((n << 23) + 0x3F800000)


@inlined
def _exp_by_instruction(x: Any) -> Any:
    q, n, _ = _reduced(at_least(at_most(x, 90.0), -105.0))
    return scale(q + 1.0, n)


@inlined
def _exp_by_bits(x: Any) -> Any:
    q, _, t = _reduced(at_least(at_most(x, 90.0), -105.0))
    n = (t << 23) >> 23
    # In two steps, as neither 2**128 nor 2**-150 is a float.
    half = n >> 1
    factor = _power(half)
    return fma(q, factor, factor) * _power(n - half)


#: exp(x), with infinity, zero and subnormal results where they belong.
exp = _exp_by_instruction if HAS_SCALE else _exp_by_bits


@inlined
def exp_bounded(x: Any) -> Any:
    """exp(x) for |x| <= 87 or NaN."""
    q, _, n = _reduced(x)
    factor = _power(n)
    return fma(q, factor, factor)


@inlined
def expm1_bounded(x: Any) -> Any:
    """exp(x) - 1 for |x| <= 87 or NaN, accurate near 0."""
    q, _, n = _reduced(x)
    factor = _power(n)
    return fma(q, factor, factor - 1.0)


@inlined
def expm1_negative(x: Any) -> Any:
    """exp(x) - 1 for x <= 0."""
    return expm1_bounded(at_least(x, -87.0))


@inlined
def tanh_numerator(x: Any) -> Any:
    """e = exp(2x) - 1, of which tanh(x) is e / (e + 2): accurate near 0 too. Cells share divisions by this."""
    # From 9.02 on tanh rounds to 1; at 10 the quotient is exactly 1.
    q, _, n = reduced_twice(at_least(at_most(x, 10.0), -10.0))
    factor = _power(n)
    return fma(q, factor, factor - 1.0)


@inlined
def tanh(x: Any) -> Any:
    """tanh(x)."""
    e = tanh_numerator(x)
    return e / (e + 2.0)


@inlined
def _one_plus_exp_by_instruction(x: Any) -> Any:
    q, n, _ = _reduced(at_least(at_most(x, 90.0), -90.0))
    return scale(q + 1.0, n) + 1.0


@inlined
def _one_plus_exp_by_bits(x: Any) -> Any:
    q, _, n = _reduced(at_least(x, -87.0))
    factor = _power(n)
    return select(x > 88.0, INFINITY, fma(q, factor, factor + 1.0))


_one_plus_exp = _one_plus_exp_by_instruction if HAS_SCALE else _one_plus_exp_by_bits


@inlined
def sigmoid_denominator(x: Any) -> Any:
    """1 + exp(-x), infinity where that is none: sigmoid(x) is 1 by it."""
    return _one_plus_exp(-x)


@inlined
def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x))."""
    return 1.0 / sigmoid_denominator(x)


@inlined
def expm1(x: Any) -> Any:
    """exp(x) - 1."""
    return select(x > 80.0, exp(x), expm1_bounded(at_least(at_most(x, 80.0), -87.0)))


@inlined
def _log_near(f: Any) -> Any:
    """(log(1 + f) - f + f**2 / 2) / f**3 for 0.7 <= 1 + f <= 1.42 (Cephes)."""
    p = fma(7.0376836292e-2, f, -1.1514610310e-1)
    p = fma(p, f, 1.1676998740e-1)
    p = fma(p, f, -1.2420140846e-1)
    p = fma(p, f, 1.4249322787e-1)
    p = fma(p, f, -1.6668057665e-1)
    p = fma(p, f, 2.0000714765e-1)
    p = fma(p, f, -2.4999993993e-1)
    return fma(p, f, 3.3333331174e-1)


@inlined
def log(x: Any) -> Any:
    """log(x): -infinity for 0, NaN below."""
    # Numbers below the normal range are scaled up.
    tiny = x < 1.17549435e-38
    b = bits(select(tiny, x * 8388608.0, x)) - 0x3F3504F3  # of sqrt(1/2)
    n = from_int(b >> 23) - select(tiny, 23.0, x * 0.0)
    f = from_bits((b & 0x7FFFFF) + 0x3F3504F3) - 1.0
    square = f * f
    y = fma(f * square, _log_near(f), fma(n, LN_2_LOW, square * -0.5))
    y = fma(n, LN_2_HIGH, f + y)
    y = select(x < INFINITY, y, x)
    y = select(x == 0.0, -INFINITY, y)
    return select(x < 0.0, float("nan"), y)


@inlined
def log1p(x: Any) -> Any:
    """log(1 + x), accurate near 0."""
    u = x + 1.0
    return select(x < INFINITY, log(u) + select(u > 0.0, (x - (u - 1.0)) / u, 0.0), x)


@inlined
def log1p_unit(x: Any) -> Any:
    """log(1 + x) for 0 <= x <= 1 or NaN, as 2 artanh(x / (2 + x))."""
    s = x / (x + 2.0)
    z = s * s
    p = fma(0.13333334, z, 0.15384616)
    p = fma(p, z, 0.18181819)
    p = fma(p, z, 0.22222222)
    p = fma(p, z, 0.2857143)
    p = fma(p, z, 0.4)
    p = fma(p, z, 0.6666667)
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
    u = 1.0 / fma(size, 0.35, 1.0)
    p = fma(-0.029172563925385475, u, 0.14409968256950378)
    p = fma(p, u, -0.2559753954410553)
    p = fma(p, u, 0.1594688892364502)
    p = fma(p, u, -0.02331048995256424)
    p = fma(p, u, 0.10559213906526566)
    p = fma(p, u, 0.11981170624494553)
    p = fma(p, u, 0.13986477255821228)
    p = fma(p, u, 0.13962124288082123)
    tail = u * p * exp(size * size * -0.5)
    return select(x < 0.0, tail, 1.0 - tail)
