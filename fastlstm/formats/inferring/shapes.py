"""What the shapes of a layer's arrays tell of its arguments, by class.

A function for each family: it gets the shapes in Keras's order and the names of the arrays where the file has them, and gives what they
tell, or None where no layer of the class keeps such arrays. Shapes of Keras 1 are those that its files have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ...catalogue import Row, row_of

Shape = tuple[int, ...]


class Told(NamedTuple):
    """What shapes tell."""

    config: Mapping[str, Any]
    takes: int | None = None  # features that it reads
    gives: int | None = None  # ... and gives; None: as many as it reads
    unsure: Mapping[str, Any] = {}  # arguments that these very shapes leave open
    split: bool = False  # Keras 1: the arrays of each gate apart


Fit = Callable[[Row, Sequence[Shape], Sequence[str]], "Told | None"]


def no_arrays(row: Row, shapes: Sequence[Shape], names: Sequence[str]) -> Told | None:
    """Layers that keep none."""
    return None if shapes else Told({})


def with_bias(shapes: Sequence[Shape], kernels: int, size: int) -> bool | None:
    """Whether there is a bias of a size after the kernels; None if anything else is there."""
    rest = list(shapes[kernels:])
    return len(rest) == 1 if len(shapes) >= kernels and rest in ([], [(size,)]) else None


def dense(row: Row, shapes: Sequence[Shape], names: Sequence[str]) -> Told | None:
    """A kernel (features, units) and a bias."""
    if not shapes or len(shapes[0]) != 2:
        return None
    features, units = shapes[0]
    bias = with_bias(shapes, 1, units)
    return None if bias is None else Told({"units": units, "use_bias": bias}, features, units)


def embedding(row: Row, shapes: Sequence[Shape], names: Sequence[str]) -> Told | None:
    """A row for each id."""
    if len(shapes) != 1 or len(shapes[0]) != 2:
        return None
    rows, features = shapes[0]
    return Told({"input_dim": rows, "output_dim": features}, None, features)


def recurrent(row: Row, shapes: Sequence[Shape], names: Sequence[str]) -> Told | None:
    """Kernel, recurrent kernel, bias, all gates side by side; in Keras 1 perhaps three arrays a gate."""
    gates = row.gates or 1
    if gates > 1 and len(shapes) == 3 * gates:
        return by_gate(shapes, gates)
    if len(shapes) not in (2, 3) or any(len(shape) != 2 for shape in shapes[:2]):
        return None
    (features, width), (units, again), *rest = shapes
    if width != again or width != gates * units:
        return None
    biases = {(): {}, (width,): {"reset_after": False}}
    if gates == 3:
        biases[2, width] = {"reset_after": True}
    told = biases.get(rest[0] if rest else ())
    if told is None:
        return None
    config = {"units": units, "use_bias": bool(rest)}
    if gates != 3:
        return Told(config, features, units)
    return Told({**config, **told}, features, units, {} if rest else {"reset_after": None})


def by_gate(shapes: Sequence[Shape], gates: int) -> Told | None:
    """Three arrays a gate."""
    if len(shapes[0]) != 2:
        return None
    features, units = shapes[0]
    if list(shapes) != [(features, units), (units, units), (units,)] * gates:
        return None
    return Told({"units": units, "use_bias": True}, features, units, split=True)


def cudnn(row: Row, shapes: Sequence[Shape], names: Sequence[str]) -> Told | None:
    """cuDNN keeps two biases, one after the other."""
    gates = row_of(row.becomes).gates
    if len(shapes) != 3 or any(len(shape) != 2 for shape in shapes[:2]):
        return None
    (features, width), (units, again), bias = shapes
    return Told({"units": units}, features, units) if width == again == gates * units and bias == (2 * width,) else None


def convolution(row: Row, shapes: Sequence[Shape], names: Sequence[str]) -> Told | None:
    """A kernel (size..., channels, filters)."""
    if not shapes or len(shapes[0]) != row.axes + 2:
        return None
    *size, channels, filters = shapes[0]
    bias = with_bias(shapes, 1, filters)
    return None if bias is None else Told({"filters": filters, "kernel_size": size, "use_bias": bias}, channels, filters)


def early_convolution(row: Row, shapes: Sequence[Shape], names: Sequence[str]) -> Told | None:
    """Of Keras 1: along time (size, 1, channels, filters), once (filters, channels, size, 1); over images with channels first too."""
    if not shapes or len(shapes[0]) != 4 or (row.axes == 2 and len(shapes) == 1):
        return None
    a, b, c, d = shapes[0]
    last, first = with_bias(shapes, 1, d), with_bias(shapes, 1, a)
    if row.axes == 1:
        if b == 1 and last is not None:
            return Told({"filters": d, "kernel_size": [a], "use_bias": last}, c, d)
        return Told({"filters": a, "kernel_size": [c], "use_bias": first}, b, a) if d == 1 and first is not None else None
    if last is not None:
        return Told({"filters": d, "kernel_size": [a, b], "use_bias": True, "data_format": "channels_last"}, c, d,
                    {"data_format": "channels_last"} if first is not None else {})  # fmt: skip
    if first is None:
        return None
    return Told({"filters": a, "kernel_size": [c, d], "use_bias": True, "data_format": "channels_first"}, b, a)


def transposed(row: Row, shapes: Sequence[Shape], names: Sequence[str]) -> Told | None:
    """A kernel (size..., filters, channels)."""
    if not shapes or len(shapes[0]) != row.axes + 2:
        return None
    *size, filters, channels = shapes[0]
    bias = with_bias(shapes, 1, filters)
    return None if bias is None else Told({"filters": filters, "kernel_size": size, "use_bias": bias}, channels, filters)


def separable(row: Row, shapes: Sequence[Shape], names: Sequence[str]) -> Told | None:
    """A kernel for each channel, and one from those to the filters."""
    if len(shapes) < 2 or any(len(shape) != row.axes + 2 for shape in shapes[:2]):
        return None
    *size, channels, multiplier = shapes[0]
    *ones, between, filters = shapes[1]
    bias = with_bias(shapes, 2, filters)
    if bias is None or between != channels * multiplier or ones != [1] * row.axes:
        return None
    return Told({"filters": filters, "kernel_size": size, "depth_multiplier": multiplier, "use_bias": bias}, channels, filters)


def depthwise(row: Row, shapes: Sequence[Shape], names: Sequence[str]) -> Told | None:
    """A kernel for each channel."""
    if not shapes or len(shapes[0]) != row.axes + 2:
        return None
    *size, channels, multiplier = shapes[0]
    bias = with_bias(shapes, 1, channels * multiplier)
    told = {"kernel_size": size, "depth_multiplier": multiplier, "use_bias": bias}
    return None if bias is None else Told(told, channels, channels * multiplier)


def conv_recurrent(row: Row, shapes: Sequence[Shape], names: Sequence[str]) -> Told | None:
    """LSTM of images: windows over the input, and over the state."""
    split = len(shapes) == 3 * row.gates
    gates = 1 if split else row.gates
    if len(shapes) < 2 or any(len(shape) != row.axes + 2 for shape in shapes[:2]):
        return None
    *size, channels, width = shapes[0]
    *again, filters, wide = shapes[1]
    if width != wide or width != gates * filters or len(again) != len(size):
        return None
    bias = with_bias(shapes[:3], 2, width)
    if bias is None or (len(shapes) > 3 and (not split or list(shapes) != list(shapes[:3]) * row.gates)):
        return None
    return Told({"filters": filters, "kernel_size": size, "use_bias": bias}, channels, filters, split=split)


def normalization(row: Row, shapes: Sequence[Shape], names: Sequence[str]) -> Told | None:
    """Scale and offset, perhaps; moving statistics, always, if there are any."""
    moving = 2 if row.mask_argument else 0  # of BatchNormalization, which alone asks for the mask
    affine = len(shapes) - moving
    if not 0 <= affine <= 2 or not shapes or any(shape != shapes[0] for shape in shapes):
        return None
    features = shapes[0][0] if len(shapes[0]) == 1 else None
    unsure: dict[str, Any] = {} if len(shapes[0]) == 1 else {"axis": "?"}
    config = {"scale": affine == 2, "center": affine == 2}
    if affine == 1:
        config = {"scale": "gamma" in names, "center": "beta" in names}
        if not any(config.values()):
            config, unsure = {"scale": False, "center": True}, {**unsure, "scale": False, "center": True}
    return Told(config, features, None, unsure)


def root_mean_square(row: Row, shapes: Sequence[Shape], names: Sequence[str]) -> Told | None:
    """A scale."""
    return Told({}, shapes[0][0]) if len(shapes) == 1 and len(shapes[0]) == 1 else None


def statistics(row: Row, shapes: Sequence[Shape], names: Sequence[str]) -> Told | None:
    """Mean, variance and their count."""
    if len(shapes) != 3 or shapes[0] != shapes[1] or len(shapes[0]) != 1 or shapes[2] not in ((), (1,)):
        return None
    return Told({}, shapes[0][0])


def slopes(row: Row, shapes: Sequence[Shape], names: Sequence[str]) -> Told | None:
    """A slope for each value of a row; one along shared axes."""
    if len(shapes) != 1 or not shapes[0]:
        return None
    shared = [axis for axis, size in enumerate(shapes[0], 1) if size == 1]
    features = shapes[0][-1] if len(shapes[0]) not in shared else None
    told = {"shared_axes": shared or None}
    return Told(told, features, None, told if shared else {})


def locally(row: Row, shapes: Sequence[Shape], names: Sequence[str]) -> Told | None:
    """Another kernel for each place along time: (places, size * channels, filters), and as many biases."""
    if row.axes != 1 or not shapes or len(shapes[0]) != 3:
        return None
    places, _, filters = shapes[0]
    rest = list(shapes[1:])
    if rest not in ([], [(places, filters)]):
        return None
    return Told({"filters": filters, "use_bias": bool(rest)}, None, filters, {"kernel_size": "?"})
