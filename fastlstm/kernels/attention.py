"""Attention: softmax(scores) @ value, matrix by matrix, the scores of a few queries at a time in the cache.

Scores that nobody may see are replaced as the layers do it, and what has no weight is left out of the product where that gives the
same bits: where every query of a few sees something, and no value is NaN or infinite.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..program.layout import MOST_QUERIES, TURNED_ROWS, Attending
from .callbacks import PATIENCE, patience_after
from .data_product import BLOCK, Factors, dot, multiply
from .elementary import exp, tanh
from .flags import ONE, ZERO, compiled, inlined
from .layout import lay_out_attention
from .memory import copy, first_lanes, load, load_byte, load_flags, load_float, load_part, stack, store, store_float, transpose
from .registry import kernel
from .target import LANES, VECTOR
from .vector import INFINITY, fma, largest, select, splat, total

#: Scores of what is hidden; a query whose largest score is above the half of it gives nothing that has it a weight.
FAR = -1e9
#: Bytes of a row of a panel.
PANEL = 4 * BLOCK
#: Multiply-adds in the time of a tanh.
TANH_WORK = 8
_tops, _sums = stack(4 * MOST_QUERIES + VECTOR), stack(4 * MOST_QUERIES + VECTOR)


class Matrix(NamedTuple):
    """One of the matrices."""

    q: int  # addresses
    k: int
    y: int
    pairs: int  # 0: none
    scores: int  # 0: not wanted
    values: int  # the rows of v, so many bytes apart
    values_row: int
    step_mask: int
    other_mask: int
    others: int  # steps of the value that there are
    end: int  # those up to the last one that ``other_mask`` lets through
    past: int  # those before the query's first step
    skips: bool  # may weights of 0 be left out of the product?


class Part(NamedTuple):
    """A few queries, and the columns of their scores that are computed."""

    first: int
    count: int
    begin: int  # a multiple of LANES
    end: int


# -- what is hidden -----------------------------------------------------------------------------------------------------------------


@compiled
def _part(f: Any, m: Matrix, first: int, count: int) -> Part:
    """The queries from one on, and the columns outside of which they see nothing."""
    begin, end = ZERO, m.others
    if m.skips:
        end = m.end
        if f.causal:
            end = min(end, m.past + first + count)
        if f.band:
            begin = min(max(m.past + first - f.band + 1, 0), m.others) & -LANES
            end = min(end, m.past + first + count - 1 + f.band)
    return Part(first, count, begin, max(begin, end))


class Sight(NamedTuple):
    """What one query sees: columns from ``left`` on to before ``right``, less what masks hide."""

    left: int
    right: int
    pairs: int  # address of the bytes of its pairs; 0: none


@compiled
def _sight(f: Any, m: Matrix, step: int) -> Sight:
    left, right, pairs = ZERO, m.others, ZERO
    if f.causal:
        right = min(right, m.past + step + 1)
    if f.band:
        left, right = m.past + step - f.band + 1, min(right, m.past + step + f.band)
    if m.pairs:
        pairs = m.pairs + step * f.pairs_step
        if not f.pairs_other:
            right = right if load_byte(pairs, 0) else ZERO
            pairs = ZERO
    if m.step_mask and load_byte(m.step_mask, step) == 0:
        right = ZERO
    return Sight(left, right, pairs)


@inlined
def _hidden_as(m: Matrix, sight: Sight, i: int, v: Any, value: float) -> Any:
    """The vector of columns i and following, with a number where the query sees nothing."""
    if m.other_mask:
        v = select(load_flags(m.other_mask, i, m.others - i), v, value)
    if sight.pairs:
        v = select(load_flags(sight.pairs, i, m.others - i), v, value)
    if i + LANES > sight.right:
        v = select(first_lanes(sight.right - i), v, value)
    if i < sight.left:
        v = select(first_lanes(sight.left - i), value, v)
    return v


@compiled
def _masked(f: Any, m: Matrix, p: Part, step: int, row: int) -> float:
    """The raw scores of a query scaled, and masked. The largest, of which none is NaN."""
    sight, scale = _sight(f, m, step), splat(f.scale)
    tops = splat(-INFINITY)
    for i in range(p.begin, p.end, LANES):
        v = _hidden_as(m, sight, i, load(row, i) * scale, FAR)
        if i + LANES > m.others:
            v = select(first_lanes(m.others - i), v, -INFINITY)
        store(row, i, v)
        tops = select(v > tops, v, tops)
    return largest(tops)


@compiled
def _fill(m: Matrix, p: Part, row: int) -> None:
    """The scores of a query outside of what was computed."""
    for i in range(0, p.begin, LANES):
        store(row, i, splat(FAR))
    for i in range((p.end + LANES - 1) & -LANES, m.others, LANES):
        store(row, i, select(first_lanes(m.others - i), splat(FAR), -INFINITY))


# -- weights ------------------------------------------------------------------------------------------------------------------------


@compiled
def _exponentials(p: Part, row: int, top: float) -> float:
    """exp(score - top) in place of the scores, and their sum."""
    tops, sums = splat(top), splat(0.0)
    for i in range(p.begin, p.end, LANES):
        v = exp(load(row, i) - tops)
        store(row, i, v)
        sums = sums + v
    return total(sums)


@compiled
def _shares(f: Any, m: Matrix, p: Part, step: int, row: int, factor: float) -> None:
    """The weights: exponentials divided by their sum, whose reciprocal is given."""
    sight, factors = _sight(f, m, step), splat(factor)
    for i in range(p.begin, p.end, LANES):
        v = load(row, i) * factors
        if f.zeros:
            v = _hidden_as(m, sight, i, v, 0.0)
        store(row, i, v)


@compiled
def _weights(f: Any, m: Matrix, w: Attending, p: Part, tops: int, sums: int) -> Part:
    """The weights of a few queries in place of their raw scores; and which columns they have, others being 0."""
    seeing = True
    for i in range(p.count):
        top = _masked(f, m, p, p.first + i, w.scores + i * w.row)
        store_float(tops, i, top)
        seeing = seeing and top > 0.5 * FAR
    if not seeing and (p.begin > 0 or p.end < m.others):
        for i in range(p.count):
            _fill(m, p, w.scores + i * w.row)
            store_float(tops, i, max(load_float(tops, i), FAR))
        p = Part(p.first, p.count, ZERO, m.others)
    for i in range(p.count):
        store_float(sums, i, _exponentials(p, w.scores + i * w.row, load_float(tops, i)))
    for i in range(0, p.count, LANES):
        store(sums, i, 1.0 / load_part(sums, i, p.count - i))
    for i in range(p.count):
        _shares(f, m, p, p.first + i, w.scores + i * w.row, load_float(sums, i))
    return p


# -- scores -------------------------------------------------------------------------------------------------------------------------


@compiled
def _products(f: Any, m: Matrix, w: Attending, p: Part, left: int) -> int:
    """The products of queries and keys. The patience left after it, of so much."""
    q = m.q + 4 * p.first * f.q_step
    if f.steps < TURNED_ROWS:
        for i in range(p.count):
            for s in range(p.begin, p.end):
                store_float(w.scores + i * w.row, s, dot(q + 4 * i * f.q_step, m.k + 4 * s * f.k_step, f.features))
        return patience_after(f, left, p.count * (p.end - p.begin) * f.features)
    panel = p.begin // BLOCK
    start = panel * BLOCK
    x = Factors(
        y=w.scores + 4 * start, y_row=w.row, a=q, a_row=4 * f.q_step, b=w.keys + panel * PANEL * f.features, b_row=ONE * PANEL,
        b_panel=PANEL * f.features, m=p.count, k=f.features, n=((p.end + LANES - 1) & -LANES) - start,
    )  # fmt: skip
    return multiply(f, x, left)


@compiled
def _tanh_sums(f: Any, m: Matrix, w: Attending, p: Part, left: int) -> int:
    """The sums over tanh(query + key). The patience left after it, of so much."""
    within = splat(f.within)
    for i in range(p.count):
        q, row = m.q + 4 * (p.first + i) * f.q_step, w.scores + i * w.row
        for c in range(p.begin, p.end, LANES):
            keys = w.keys + c // BLOCK * PANEL * f.features + 4 * (c & (BLOCK - 1))
            sums = splat(0.0)
            for n in range(f.features):
                v = tanh(within * (load(keys, n * BLOCK) + load_float(q, n)))
                sums = fma(v, splat(load_float(f.factors, n)), sums) if f.factors else sums + v
            store(row, c, sums)
        left = patience_after(f, left, TANH_WORK * (p.end - p.begin) * f.features)
        if left < 0:
            break
    return left


# -- matrix by matrix ---------------------------------------------------------------------------------------------------------------


@compiled
def _finite(v: int, step: int, steps: int, size: int) -> bool:
    """Is every number of a matrix finite?"""
    sums = splat(0.0)
    for s in range(steps):
        for i in range(0, size, LANES):
            sums = fma(load_part(v + s * step, i, size - i), splat(0.0), sums)
    return total(sums) == 0.0


@compiled
def _turned(f: Any, keys: int, k: int, others: int) -> None:
    """Keys transposed, in panels."""
    for start in range(0, others, BLOCK):
        transpose(
            keys + 4 * start * f.features, ONE * PANEL, k + 4 * start * f.k_step, 4 * f.k_step, f.features, min(others - start, BLOCK)
        )


@compiled
def _values(f: Any, w: Attending, v: int, others: int) -> tuple[int, int]:
    """The values row after row: their address, and the bytes of a row. They are copied unless they are so, or few queries want them."""
    if f.size >= LANES and (f.v_step == f.size or f.steps < TURNED_ROWS):
        return v, 4 * f.v_step
    row = 4 * max(f.size, LANES)
    for s in range(others):
        copy(w.values + s * row, v + 4 * s * f.v_step, f.size)
    return w.values, row


@compiled
def _past(f: Any, row: int) -> int:
    """How many steps of the value come before the query's first: whatever the number says, not more than there is room for."""
    given = load_float(f.past, row)
    return min(int(given), f.others - f.steps) if 0.0 < given < 1e9 else ZERO


@compiled
def _last(mask: int, others: int) -> int:
    """One more than the number of the last step that a mask lets through."""
    while others > 0 and load_byte(mask, others - 1) == 0:
        others -= 1
    return others


def _attending_once(scores: Callable[..., int]) -> Callable[..., int]:
    """A function that attends over one matrix, of a function of some queries' raw scores."""

    @compiled
    def attend(f, m, w, left):
        tops, sums, first = _tops(), _sums(), ZERO
        while first < f.steps and left >= 0:
            p = _part(f, m, first, min(f.steps - first, w.queries))
            first += p.count
            left = scores(f, m, w, p, left)
            if left < 0:
                break
            p = _weights(f, m, w, p, tops, sums)
            for i in range(p.count if m.scores else ZERO):
                copy(m.scores + 4 * (p.first + i) * f.others, w.scores + i * w.row, f.others)
            x = Factors(
                y=m.y + 4 * p.first * f.y_step, y_row=4 * f.y_step, a=w.scores + 4 * p.begin, a_row=w.row,
                b=m.values + p.begin * m.values_row, b_row=m.values_row, b_panel=ONE * PANEL, m=p.count, k=p.end - p.begin, n=f.size,
            )  # fmt: skip
            left = multiply(f, x, left)
        return left

    return attend


def _attending_group(once: Callable[..., int], always_turned: bool) -> Callable[..., int]:
    """A function that attends over the matrices which have one head's keys and values."""

    @compiled
    def attend(f, w, r, o, h, left):
        k = f.k + 4 * (r * f.k_row + o * f.k_outer + h * f.k_head)
        v = f.v + 4 * (r * f.v_row + o * f.v_outer + h * f.v_head)
        past = _past(f, r) if f.past else ZERO
        others = past + f.steps if f.past else f.others
        if always_turned or f.steps >= TURNED_ROWS:
            _turned(f, w.keys, k, others)
        values, row = _values(f, w, v, others)
        other_mask = f.other_mask + r * f.others if f.other_mask else ZERO
        hiding = (f.causal and f.steps > 1) or f.band or other_mask
        skips = bool(hiding and not f.scores) and _finite(values, row, others, f.size)
        for n in range(h * f.group, (h + 1) * f.group):
            m = Matrix(
                q=f.q + 4 * (r * f.q_row + o * f.q_outer + n * f.q_head),
                k=k,
                y=f.y + 4 * (r * f.y_row + o * f.y_outer + n * f.y_head),
                pairs=f.pairs + r * f.pairs_row + o * f.pairs_outer + n * f.pairs_head if f.pairs else ZERO,
                scores=f.scores + 4 * ((r * f.outer + o) * f.heads * f.group + n) * f.steps * f.others if f.scores else ZERO,
                values=values,
                values_row=row,
                step_mask=f.step_mask + r * f.steps if f.step_mask else ZERO,
                other_mask=other_mask,
                others=others,
                end=_last(other_mask, others) if other_mask and skips else others,
                past=past,
                skips=skips,
            )
            left = once(f, m, w, left)
            if left < 0:
                break
        return left

    return attend


def attending(scores: Callable[..., int], always_turned: bool) -> Callable[[Any], None]:
    """A function that attends over all matrices."""
    group = _attending_group(_attending_once(scores), always_turned)

    @compiled
    def attend(f):
        w = lay_out_attention(f.scratch, f.others, f.features, f.size, ONE * LANES)
        left = ONE * PATIENCE
        for r in range(f.rows):
            for o in range(f.outer):
                for h in range(f.heads):
                    left = group(f, w, r, o, h, left)
                    if left < 0:
                        return

    return attend


_by_products, _by_tanh_sums = attending(_products, False), attending(_tanh_sums, True)


@kernel
def remember(f: Any) -> None:
    """y (others, size) = x (steps, size) after the past steps of each row."""
    for r in range(f.rows):
        y = f.y + 4 * (r * f.others + _past(f, r)) * f.size
        for s in range(f.steps):
            copy(y + 4 * s * f.size, f.x + 4 * (r * f.x_row + s * f.x_step), f.size)


@kernel
def attention(f: Any) -> None:
    """y = softmax(q @ k transposed * scale) @ v of all matrices."""
    _by_products(f)


@kernel
def additive_attention(f: Any) -> None:
    """The same with sums over tanh(query + key) as scores."""
    _by_tanh_sums(f)
