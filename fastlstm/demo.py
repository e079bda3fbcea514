"""The demonstration: a network that Keras trained on 237 years of sunspots forecasts the 23 years it never saw.

``tools/train_sunspots.py`` made the files in ``data/`` and shares the definitions here, so that what is forecast is
what was trained.
"""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .errors import FastLSTMError
from .loading import load
from .replacing import checked, writing

DATA = Path(__file__).parent / "data"
MODEL = DATA / "sunspots.h5"  # saved by Keras, untouched
SERIES = DATA / "sunspots.csv"  # month,sunspots
RECORDED = DATA / "sunspots_keras.npy"  # what Keras itself forecast for the held-back windows, as the network gives it
FILES = (MODEL, SERIES, RECORDED)

WINDOW = 132  # months that the network sees: a solar cycle
HORIZON = 12  # months that it forecasts
FIRST_HELD_BACK = "1986-01"

ONE_ALONE_REPEATS = 50


class Series(NamedTuple):
    """Monthly mean sunspot numbers."""

    months: tuple[str, ...]  # "1749-01"
    sunspots: np.ndarray  # float64 (months,)


class Windows(NamedTuple):
    """Inputs of the network and the outputs that it should give, one row for each forecast."""

    x: np.ndarray  # float32 (forecasts, WINDOW, 1), scaled
    y: np.ndarray  # float32 (forecasts, HORIZON), scaled
    first: np.ndarray  # int64 (forecasts,): index of the first month forecast


def read_series(path: Path = SERIES) -> Series:
    """The record as shipped: a header, then one line ``YYYY-MM,number`` a month."""
    lines = [line.split(",") for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    return Series(tuple(month for month, _ in lines), np.array([float(number) for _, number in lines]))


def scale(sunspots: np.ndarray) -> np.ndarray:
    """Sunspot numbers as the network takes them: the square root evens out their noise."""
    return (np.sqrt(sunspots) / 10).astype(np.float32)


def unscale(scaled: np.ndarray) -> np.ndarray:
    """The inverse of :func:`scale`; there are no negative sunspots."""
    return np.square(10 * np.maximum(scaled.astype(np.float64), 0))


def windows(series: Series) -> tuple[Windows, Windows]:
    """All forecasts that the record allows, split in two.

    Returns
    -------
    training : Windows
        Those whose months all lie before ``FIRST_HELD_BACK``.
    held_back : Windows
        Those whose forecast months all lie from there on.
    """
    scaled = scale(series.sunspots)
    forecasts = len(scaled) - WINDOW - HORIZON + 1
    x = np.lib.stride_tricks.sliding_window_view(scaled, WINDOW)[:forecasts, :, np.newaxis]
    y = np.lib.stride_tricks.sliding_window_view(scaled[WINDOW:], HORIZON)
    first = np.arange(WINDOW, WINDOW + forecasts)
    split = series.months.index(FIRST_HELD_BACK)
    training, held_back = first + HORIZON <= split, first >= split
    return Windows(x[training], y[training], first[training]), Windows(x[held_back], y[held_back], first[held_back])


class Score(NamedTuple):
    """Errors, in sunspots, of the forecasts made a number of months ahead; naive: nothing changes."""

    months_ahead: int
    mae: float
    naive_mae: float
    rmse: float
    naive_rmse: float


def scores(forecast: np.ndarray, series: Series, first: np.ndarray) -> tuple[Score, ...]:
    """How far forecasts (forecasts, HORIZON) lie from what happened, and how far the last number known would."""
    actual = series.sunspots[first[:, np.newaxis] + np.arange(HORIZON)]
    error = forecast - actual
    naive = series.sunspots[first - 1][:, np.newaxis] - actual

    def mae(errors: np.ndarray) -> float:
        return float(np.mean(np.abs(errors)))

    def rmse(errors: np.ndarray) -> float:
        return float(np.sqrt(np.mean(np.square(errors))))

    return tuple(
        Score(ahead, mae(error[:, ahead - 1]), mae(naive[:, ahead - 1]), rmse(error[:, ahead - 1]), rmse(naive[:, ahead - 1]))
        for ahead in (1, HORIZON // 2, HORIZON)
    )


@dataclass(frozen=True)
class Result:
    """The result of a run of the demonstration."""

    series: Series
    first: np.ndarray  # int64 (forecasts,): index of the first month of each forecast
    forecast: np.ndarray  # float64 (forecasts, HORIZON), in sunspots
    scores: tuple[Score, ...]
    generation: str
    difference: float  # largest to what Keras itself gave, on the scale that the network works in
    load_seconds: float  # the first time: imports h5py too
    load_again_seconds: float
    predict_seconds: float  # all forecasts in one call
    one_seconds: float  # one forecast alone, median


def run() -> Result:
    """Load the shipped Keras file and forecast the held-back months."""
    series = read_series()
    _, held_back = windows(series)
    start = time.perf_counter()
    model = load(MODEL)
    loaded = time.perf_counter()
    load(MODEL)
    loaded_again = time.perf_counter()
    scaled = model.predict(held_back.x)
    predicted = time.perf_counter()
    one_alone = []
    for row in range(ONE_ALONE_REPEATS):
        begin = time.perf_counter()
        model.predict(held_back.x[row : row + 1])
        one_alone.append(time.perf_counter() - begin)
    forecast = unscale(scaled)
    return Result(
        series=series,
        first=held_back.first,
        forecast=forecast,
        scores=scores(forecast, series, held_back.first),
        generation=str(model.generation),
        difference=float(np.max(np.abs(scaled - np.load(RECORDED, allow_pickle=False)))),
        load_seconds=loaded - start,
        load_again_seconds=loaded_again - loaded,
        predict_seconds=predicted - loaded_again,
        one_seconds=statistics.median(one_alone),
    )


def report(result: Result, print_fn: Callable[[str], None] = print) -> None:
    """Print the forecasts beside what happened (one month a year), the errors and the times."""
    months, sunspots = result.series
    print_fn(f"Monthly sunspot numbers, forecast by a network that learned from those before {FIRST_HELD_BACK}")
    print_fn(f"(saved by {result.generation}).")
    print_fn(f"{len(result.first)} forecasts: each reads {WINDOW} months and predicts the next {HORIZON}. One month of each year is shown.")
    print_fn("")
    print_fn("month     actual   forecast 1 month before   forecast 12 months before")
    for row in range(HORIZON - 1, len(result.first), 12):
        month = result.first[row]
        short, long = result.forecast[row, 0], result.forecast[row - HORIZON + 1, HORIZON - 1]
        print_fn(f"{months[month]}  {sunspots[month]:7.1f}   {short:23.1f}   {long:25.1f}")
    print_fn("")
    print_fn("mean error in sunspots      MAE (nothing changes)      RMSE (nothing changes)")
    for score in result.scores:
        ahead = f"{score.months_ahead} month{'s' if score.months_ahead > 1 else ''} ahead"
        print_fn(f"{ahead:<22}{score.mae:9.1f} {f'({score.naive_mae:.1f})':>17}{score.rmse:12.1f} {f'({score.naive_rmse:.1f})':>17}")
    print_fn("")
    print_fn(f"largest difference from Keras's own forecasts: {result.difference:.1e} (the network's numbers are of order 1)")
    print_fn(
        f"loaded in {result.load_seconds * 1e3:.0f} ms, h5py and all, and again in {result.load_again_seconds * 1e3:.1f} ms; "
        f"{len(result.first)} forecasts in {result.predict_seconds * 1e3:.1f} ms, one alone in {result.one_seconds * 1e3:.2f} ms"
    )


def plot(result: Result, path: str | Path) -> None:
    """Draw actual and forecast numbers into an image file.

    Raises
    ------
    FastLSTMError
        If matplotlib is not installed or does not know the file's ending, or if the file cannot be written.
    """
    target = checked(path, *FILES, name="path")
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise FastLSTMError("demo --plot needs matplotlib, which is not installed: pip install 'fastlstm[plot]'") from error
    months, sunspots = result.series
    years = np.array([int(month[:4]) + (int(month[5:]) - 0.5) / 12 for month in months])
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    axes = figure.subplots()
    shown = slice(int(result.first[0]) - WINDOW, None)
    axes.plot(years[shown], sunspots[shown], color="0.6", linewidth=1, label="actual")
    for ahead, colour in ((1, "tab:blue"), (HORIZON, "tab:red")):
        axes.plot(years[result.first + ahead - 1], result.forecast[:, ahead - 1], color=colour, linewidth=1.2,
                  label=f"forecast {ahead} month{'s' if ahead > 1 else ''} before")  # fmt: skip
    axes.axvline(years[result.first[0]], color="0.3", linestyle=":", linewidth=1)
    axes.set(xlabel="year", ylabel="monthly mean sunspot number", title=f"Sunspots since {FIRST_HELD_BACK}, never seen in training")
    axes.legend(loc="upper right", frameon=False)
    image = io.BytesIO()
    try:
        figure.savefig(image, dpi=120, format=Path(target).suffix[1:] or None)
    except (ValueError, RuntimeError, OSError) as error:  # a format that is not there, or that needs programs which are not
        raise FastLSTMError(f"{target}: cannot be drawn: {error}") from error
    with writing(target) as stream:
        stream.write(image.getbuffer())
