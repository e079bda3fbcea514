"""Convolutions in one to three dimensions, and pooling: windows that go over an image, or over the timesteps of a sequence.

A window is a few runs of values that lie side by side, which the tiles of ``window_tile.py`` read where they are: no window is copied.
Where there is padding, each image is copied once, with zeros around it, into scratch that stays in the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..program.layout import MOST_VECTORS
from .activation import RELU, activated
from .arithmetic import greater_of
from .callbacks import PATIENCE, patience_after
from .flags import ONE, ZERO, compiled, inlined
from .layout import columns, dots_windows, jobs_of, last_vectors, lay_out_windows, padded_units
from .memory import clear, copy, load, load_first, load_float, load_int, load_part, stack, store, store_first, store_int, store_part
from .registry import kernel
from .sweep import Parts
from .target import LANES, VECTOR
from .vector import INFINITY, fma, splat, total
from .window_tile import MOST_WINDOWS, Runs, Windows, window_tile, window_tile_number, windows_at_once

#: Columns of a panel, and its bytes for each value of a window.
BLOCK, PANEL = MOST_VECTORS * LANES, MOST_VECTORS * VECTOR
_result, _zeros = stack(MOST_WINDOWS * PANEL), stack(PANEL)


# -- images -----------------------------------------------------------------------------------------------------------------------


@inlined
def padded_places(f: Any) -> int:
    """The places of the copy of an image; 0 where none is made."""
    if f.a0 == f.padded0 and f.a1 == f.padded1 and f.a2 == f.padded2:
        return 0
    return f.padded0 * f.padded1 * f.padded2


@compiled
def copy_image(f: Any, image: int, x: int) -> None:
    """Copy an image to where zeros are around it."""
    width = f.a2 * f.channels
    for i in range(f.a0):
        for j in range(f.a1):
            place = ((i + f.before0) * f.padded1 + j + f.before1) * f.padded2 + f.before2
            copy(image + 4 * place * f.channels, x + 4 * (i * f.a1 + j) * width, width)


@compiled
def fill_table(f: Any, table: int) -> None:
    """The distances of a window's runs from its start, in bytes."""
    n = 0
    for i in range(f.k0):
        for j in range(f.k1):
            for k in range(f.k2):
                store_int(table, n, 4 * (i * f.d0 + j * f.d1 + k * f.d2))
                n += 1


@inlined
def seen_by(f: Any, last: int) -> int:
    """Elements that all windows see from the first on, of runs of which the last ends so many elements after its start."""
    reach = (f.n0 - 1) * f.s0 + (f.n1 - 1) * f.s1 + (f.n2 - 1) * f.s2
    return reach + max(f.k0 - 1, 0) * f.d0 + max(f.k1 - 1, 0) * f.d1 + max(f.k2 - 1, 0) * f.d2 + last


@inlined
def image_floats(f: Any, last: int) -> int:
    """Floats of the copy of an image, as ``contracts/convolution.py`` counts them."""
    places = padded_places(f)
    if places == 0:
        return 0
    end = ((f.before0 + f.a0 - 1) * f.padded1 + f.before1 + f.a1 - 1) * f.padded2 + f.before2 + f.a2
    return max(f.channels * max(places, end), seen_by(f, last))


# -- convolutions -----------------------------------------------------------------------------------------------------------------


class Line(NamedTuple):
    """Positions along the last axis: addresses of the first window and of where its result goes, and bytes from one to the next."""

    x: int
    y: int
    y_step: int
    count: int


class Filters(NamedTuple):
    """A panel of a group's filters."""

    first: int  # number of its first filter among those of all groups
    count: int  # filters
    vectors: int
    weights: int  # address
    bias: int


@compiled
def _follow(f: Any, z: int, z_row: int, count: int, filters: Any) -> None:
    """What follows the sums of so many positions, in place."""
    for v in range(filters.vectors):
        column, left = filters.first + LANES * v, filters.count - LANES * v
        for n in range(count):
            value = load(z + n * z_row, LANES * v)
            if f.activation != 0 and f.activation != RELU:
                value = activated(f.activation, value, f.alpha)
            if f.mean:
                mean, factor, offset = load_part(f.mean, column, left), load_part(f.factor, column, left), load_part(f.offset, column, left)
                value = (value - mean) * factor + offset
            if f.then:
                value = activated(f.then, value, f.then_alpha)
            store(z + n * z_row, LANES * v, value)


@inlined
def windows_parts(count: int, vectors: int) -> Any:
    """So many positions divided up for tiles, as evenly as can be."""
    most = windows_at_once(vectors)
    parts = (count + most - 1) // most
    least = count // parts if parts > 1 else count
    return Parts(parts, least, count - least * parts)


@compiled
def _panel(f: Any, w: Any, line: Any, filters: Any, result: int) -> None:
    """The positions of a line times one panel."""
    runs, step = f.k0 * f.k1 * f.k2, 4 * f.s2
    whole = filters.count >= LANES * filters.vectors
    follows = f.mean != 0 or f.then != 0 or (f.activation != 0 and f.activation != RELU)
    floor = 0.0 if f.activation == RELU else -INFINITY
    row = line.y_step if whole else VECTOR * filters.vectors
    parts = windows_parts(line.count, filters.vectors)
    first = ZERO
    for part in range(parts.count):
        count = parts.least + (1 if part < parts.more else 0)
        y = line.y + first * line.y_step
        to = y if whole else result
        windows = Windows(
            result=to,
            result_row=row,
            bias=filters.bias,
            floor=floor,
            first=Runs(line.x + first * step, step, w.table, runs, f.size, filters.weights),
            second=Runs(ZERO, ZERO, w.table, ZERO, ZERO, filters.weights),
        )
        window_tile(window_tile_number(count, filters.vectors), windows)
        if follows:
            _follow(f, to, row, count, filters)
        if not whole:
            for n in range(count):
                for v in range(filters.vectors):
                    store_part(y + n * line.y_step, LANES * v, load(result + n * row, LANES * v), filters.count - LANES * v)
        first += count


@compiled
def _dot(w: Any, x: int, weights: int, runs: int, size: int) -> float:
    """One window times one filter."""
    whole, row = size & -LANES, 4 * padded_units(size, ONE * LANES)
    sums = splat(0.0)
    for run in range(runs):
        place = x + load_int(w.table, run)
        for i in range(0, whole, LANES):
            sums = fma(load(place, i), load(weights, i), sums)
        if whole < size:
            sums = fma(load_first(place, whole, size - whole, 0.0), load(weights, whole), sums)
        weights += row
    return total(sums)


@compiled
def _dots(f: Any, w: Any, line: Any, filters: Any) -> None:
    """The positions of a line, filter by filter: as in a panel, of which each vector has one filter."""
    runs, step = f.k0 * f.k1 * f.k2, 4 * f.s2
    by_filter = 4 * runs * padded_units(f.size, ONE * LANES)
    for n in range(line.count):
        for unit in range(filters.count):
            value = _dot(w, line.x + n * step, filters.weights + unit * by_filter, runs, f.size) + load_float(filters.bias, unit)
            y, column = line.y + n * line.y_step, filters.first + unit
            result = activated(f.activation, splat(value), f.alpha)
            if f.mean:
                result = (result - splat(load_float(f.mean, column))) * splat(load_float(f.factor, column)) + splat(
                    load_float(f.offset, column)
                )
            store_first(y, unit, activated(f.then, result, f.then_alpha), 1)


class Job(NamedTuple):
    """Some lines of an image, or a part of one."""

    x: int  # addresses of the image, of where its output goes, and of what is not pooled yet
    y: int
    stripe: int
    first: int  # of the pooled lines
    count: int
    start: int  # of the positions along the last axis
    positions: int
    chunk: int


@inlined
def _line(f: Any, job: Any, i: int, j: int, number: int) -> Any:
    """The line at i, j of the first two axes, so many after the job's first one."""
    x = job.x + 4 * (i * f.s0 + j * f.s1 + job.start * f.s2)
    if job.stripe:
        width = 4 * f.groups * f.units
        return Line(x, job.stripe + number * job.chunk * width, width, job.positions)
    return Line(x, job.y + 4 * (i * f.y0 + j * f.y1 + job.start * f.y2), 4 * f.y2, job.positions)


@compiled
def _panel_of_job(f: Any, w: Any, job: Any, group: int, filters: Any, space: Any) -> None:
    """One panel for all lines of a job."""
    lines = f.n1 // f.pool1
    i, j = job.first // lines, job.first % lines
    number = ZERO
    for _ in range(job.count):
        for a in range(f.pool0):
            for b in range(f.pool1):
                one = _line(f, job, i * f.pool0 + a, j * f.pool1 + b, number)
                line = Line(one.x + 4 * group * f.x_group, one.y + 4 * filters.first, one.y_step, one.count)
                if space.dots:
                    _dots(f, w, line, filters)
                else:
                    _panel(f, w, line, filters, space.result)
                number += 1
        j += 1
        if j == lines:
            i, j = i + 1, ZERO


class Space(NamedTuple):
    """What all jobs share: addresses on the stack, and whether each filter is a dot product."""

    result: int
    zeros: int
    dots: int


@compiled
def _multiply(f: Any, w: Any, job: Any, space: Any) -> None:
    """All filters of a job, panel by panel."""
    width, runs = columns(f.units, ONE, ONE * LANES), f.k0 * f.k1 * f.k2
    of_group = runs * (f.units * padded_units(f.size, ONE * LANES) if space.dots else f.size * width)
    panels = ONE if space.dots else (f.units + BLOCK - 1) // BLOCK
    last = last_vectors(f.units, ONE, ONE * LANES)
    for group in range(f.groups):
        weights = f.kernel + 4 * group * of_group
        for panel in range(panels):
            first = panel * BLOCK
            filters = Filters(
                first=group * f.units + first,
                count=min(f.units - first, ONE * BLOCK),
                vectors=ONE * MOST_VECTORS if first + BLOCK <= f.units else last,
                weights=weights + 4 * first * runs * f.size,
                bias=f.bias + 4 * (group * width + first) if f.bias else space.zeros,
            )
            _panel_of_job(f, w, job, group, filters, space)


@inlined
def _whole(x: int, i: int, left: int) -> Any:
    return load(x, i)


def pooler(fetch: Callable[[int, int, int], Any]) -> Callable[..., Any]:
    """A function: a vector of the maximum or mean of the positions from address x on that make one; lines are so many bytes apart.

    ``fetch(address, index, left)`` loads a vector, of which so many values are there.
    """

    @compiled
    def most(f, x, line, i, left):
        step = 4 * f.groups * f.units
        so_far = splat(-INFINITY)
        for q in range(f.pool0 * f.pool1):
            place = x + q * line
            for _ in range(0, f.pool2 - 1, 2):
                so_far = greater_of(so_far, greater_of(fetch(place, i, left), fetch(place + step, i, left)))
                place += 2 * step
            if f.pool2 & 1:
                so_far = greater_of(so_far, fetch(place, i, left))
        return so_far

    @compiled
    def mean(f, x, line, i, left):
        step = 4 * f.groups * f.units
        so_far = splat(0.0)
        for q in range(f.pool0 * f.pool1):
            for k in range(f.pool2):
                so_far = so_far + fetch(x + q * line + k * step, i, left)
        return so_far / splat(f.pool0 * f.pool1 * f.pool2)

    @inlined
    def pooled(f, x, line, i, left):
        return mean(f, x, line, i, left) if f.pool_mean else most(f, x, line, i, left)

    return pooled


_pooled, _pooled_part = pooler(_whole), pooler(load_part)


@compiled
def _pool(f: Any, job: Any) -> None:
    """What a job gives, from positions that are not pooled yet."""
    width, lines = f.groups * f.units, f.n1 // f.pool1
    line, whole = 4 * job.chunk * width, width & -LANES
    i, j, x = job.first // lines, job.first % lines, job.stripe
    for _ in range(job.count):
        y = job.y + 4 * (i * f.y0 + j * f.y1 + job.start // f.pool2 * f.y2)
        for t in range(job.positions // f.pool2):
            place = x + 4 * t * f.pool2 * width
            for c in range(0, whole, LANES):
                store(y, c, _pooled(f, place, line, c, ONE * LANES))
            if whole < width:
                store_part(y, whole, _pooled_part(f, place, line, whole, width - whole), width - whole)
            y += 4 * f.y2
        x += f.pool0 * f.pool1 * line
        j += 1
        if j == lines:
            i, j = i + 1, ZERO


@inlined
def _stripe_floats(f: Any, jobs: Any) -> int:
    """Floats that a job gives before they are pooled; none where nothing is."""
    if f.pool0 * f.pool1 * f.pool2 == 1:
        return 0
    return jobs.lines * f.pool0 * f.pool1 * jobs.chunk * f.groups * f.units


@kernel
def convolve(f: Any) -> None:
    """A convolution, with what follows it position by position, and pooled."""
    lines, last = (f.n0 // f.pool0) * (f.n1 // f.pool1), (f.groups - 1) * f.x_group + f.size
    jobs = jobs_of(lines, f.n2, f.pool0 * f.pool1, f.pool2)
    image, stripe = image_floats(f, last), _stripe_floats(f, jobs)
    w = lay_out_windows(f.scratch, f.member, f.k0 * f.k1 * f.k2, image, stripe)
    space = Space(_result(), _zeros(), dots_windows(f.units, f.size, ONE * LANES))
    clear(space.zeros, ONE * BLOCK)
    fill_table(f, w.table)
    if image:
        clear(w.image, image)
    members = max(f.members, 1)
    left, work = ONE * PATIENCE, jobs.lines * jobs.chunk * f.pool0 * f.pool1 * f.k0 * f.k1 * f.k2 * f.size * f.units * f.groups
    for r in range(f.rows):
        x, y = f.x + 4 * r * f.x_row, f.y + 4 * r * f.y_row
        if image:
            copy_image(f, w.image, x)
            x = w.image
        for number in range(jobs.number * f.member // members, jobs.number * (f.member + 1) // members):
            first, start = number // jobs.chunks * jobs.lines, number % jobs.chunks * jobs.chunk
            job = Job(
                x=x,
                y=y,
                stripe=w.stripe if stripe else ZERO,
                first=first,
                count=min(jobs.lines, lines - first),
                start=start,
                positions=min(jobs.chunk, f.n2 - start),
                chunk=jobs.chunk,
            )
            _multiply(f, w, job, space)
            if stripe:
                _pool(f, job)
            left = patience_after(f, left, work)
            if left < 0:
                return


# -- each channel by itself -------------------------------------------------------------------------------------------------------


@compiled
def _channels(f: Any, w: Any, x: int, c: int, left: int) -> Any:
    """A vector of channels of one window."""
    sums = load_part(f.bias, c, left) if f.bias else splat(0.0)
    for run in range(f.k0 * f.k1 * f.k2):
        sums = fma(load_part(x + load_int(w.table, run), c, left), load_part(f.kernel + 4 * run * f.channels, c, left), sums)
    return sums


@compiled
def _channels_of_four(f: Any, w: Any, x: int, y: int, c: int) -> None:
    """The same of four windows: each value of the kernel is loaded once for all of them."""
    step = 4 * f.s2
    bias = load(f.bias, c) if f.bias else splat(0.0)
    s0, s1, s2, s3 = bias, bias, bias, bias
    for run in range(f.k0 * f.k1 * f.k2):
        weights, place = load(f.kernel + 4 * run * f.channels, c), x + load_int(w.table, run)
        s0 = fma(load(place, c), weights, s0)
        s1 = fma(load(place + step, c), weights, s1)
        s2 = fma(load(place + 2 * step, c), weights, s2)
        s3 = fma(load(place + 3 * step, c), weights, s3)
    row = 4 * f.channels
    store(y, c, s0)
    store(y + row, c, s1)
    store(y + 2 * row, c, s2)
    store(y + 3 * row, c, s3)


@compiled
def _depthwise(f: Any, w: Any, x: int, y: int, count: int) -> None:
    """Up to four positions along the last axis."""
    width, whole = f.channels, f.channels & -LANES
    if count == 4:
        for c in range(0, whole, LANES):
            _channels_of_four(f, w, x, y, c)
    for n in range(count):
        for c in range(whole if count == 4 else 0, width, LANES):
            store_part(y + 4 * n * width, c, _channels(f, w, x + 4 * n * f.s2, c, width - c), width - c)
    if f.activation:
        size = count * width
        for i in range(0, size, LANES):
            store_part(y, i, activated(f.activation, load_part(y, i, size - i), f.alpha), size - i)


@kernel
def convolve_depthwise(f: Any) -> None:
    """Each channel convolved by itself."""
    image = image_floats(f, f.channels)
    w = lay_out_windows(f.scratch, ZERO, f.k0 * f.k1 * f.k2, image, ZERO)
    fill_table(f, w.table)
    if image:
        clear(w.image, image)
    left, work = ONE * PATIENCE, f.channels * f.k0 * f.k1 * f.k2
    for r in range(f.rows):
        x, y = f.x + 4 * r * f.x_row, f.y + 4 * r * f.y_row
        if image:
            copy_image(f, w.image, x)
            x = w.image
        for line in range(f.n0 * f.n1):
            place = x + 4 * (line // f.n1 * f.s0 + line % f.n1 * f.s1)
            for t in range(0, f.n2, 4):
                count = min(f.n2 - t, 4)
                _depthwise(f, w, place + 4 * t * f.s2, y, count)
                y += 4 * count * f.channels
                left = patience_after(f, left, count * work)
                if left < 0:
                    return


# -- pooling ----------------------------------------------------------------------------------------------------------------------


class Span(NamedTuple):
    """The places along an axis that a window sees."""

    first: int
    last: int


@inlined
def _span(position: int, stride: int, before: int, window: int, size: int) -> Any:
    first = position * stride - before
    return Span(max(first, 0), min(first + window, size))


@compiled
def _window(f: Any, x: int, d: Any, h: Any, v: Any, c: int) -> Any:
    """A vector of channels of one window's maximum or mean."""
    left, width = f.channels - c, 4 * f.channels
    so_far = splat(0.0 if f.mean else -INFINITY)
    for i in range(d.first, d.last):
        for j in range(h.first, h.last):
            place = x + (i * f.a1 + j) * f.a2 * width
            for k in range(v.first, v.last):
                value = load_part(place + k * width, c, left)
                so_far = so_far + value if f.mean else greater_of(so_far, value)
    if f.mean:
        count = (d.last - d.first) * (h.last - h.first) * (v.last - v.first)
        so_far = so_far / splat(count)
    return so_far


@kernel
def pool_windows(f: Any) -> None:
    """Maximum (mean = 0) or mean over windows; what of them lies outside does not count."""
    left, width = ONE * PATIENCE, 4 * f.channels
    y, image = f.y, f.a0 * f.a1 * f.a2 * width
    for r in range(f.rows):
        x = f.x + r * image
        for i in range(f.n0):
            d = _span(i, f.s0, f.before0, f.k0, f.a0)
            for j in range(f.n1):
                h = _span(j, f.s1, f.before1, f.k1, f.a1)
                for k in range(f.n2):
                    v = _span(k, f.s2, f.before2, f.k2, f.a2)
                    for c in range(0, f.channels, LANES):
                        store_part(y, c, _window(f, x, d, h, v, c), f.channels - c)
                    y += width
                    left = patience_after(f, left, f.k0 * f.k1 * f.k2 * f.channels)
                    if left < 0:
                        return
