"""Train the demonstration's network with real Keras on the monthly sunspot record that statsmodels ships.

    pip install '.[test]' statsmodels
    python tools/train_sunspots.py

Writes ``fastlstm/data/``: the series, the ``.h5`` that Keras saved, and what Keras itself forecasts for the months held back.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import numpy as np
import statsmodels.datasets.sunspots
import tensorflow as tf

from fastlstm import demo
from fastlstm.replacing import writing

UNITS = 32
BATCH_SIZE = 64
LEARNING_RATE = 3e-3


def record() -> str:
    """The series as CSV, from statsmodels' copy of the table of the National Geophysical Data Center (public domain)."""
    table = Path(statsmodels.datasets.sunspots.__file__).parent / "src" / "sunspots_monthly.dat"
    lines = ["month,sunspots"]
    for line in table.read_text(encoding="ascii").splitlines():
        year, *numbers = line.split() or [""]
        if year.isdigit():
            lines += [f"{year}-{month:02d},{number}" for month, number in enumerate(numbers, start=1)]
    return "\n".join(lines) + "\n"


def train(x: np.ndarray, y: np.ndarray, epochs: int) -> keras.Model:
    """Two stacked LSTMs that take any number of months and forecast the next ``HORIZON``."""
    model = keras.Sequential(
        [
            keras.Input((None, 1), name="months"),
            keras.layers.LSTM(UNITS, return_sequences=True),
            keras.layers.LSTM(UNITS),
            keras.layers.Dense(demo.HORIZON),
        ],
        name="sunspots",
    )
    steps = epochs * -(-len(x) // BATCH_SIZE)
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)), "mse")
    model.fit(x, y, batch_size=BATCH_SIZE, epochs=epochs, verbose=2)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()

    demo.DATA.mkdir(exist_ok=True)
    with writing(demo.SERIES) as stream:
        stream.write(record().encode())
    series = demo.read_series()
    training, held_back = demo.windows(series)
    print(
        f"{len(series.months)} months {series.months[0]} to {series.months[-1]}: {len(training.x)} forecasts to learn from, "
        f"{len(held_back.x)} held back"
    )

    keras.utils.set_random_seed(arguments.seed)
    tf.config.experimental.enable_op_determinism()
    start = time.perf_counter()
    model = train(training.x, training.y, arguments.epochs)
    print(f"trained in {time.perf_counter() - start:.0f} s with Keras {keras.__version__}, TensorFlow {tf.__version__}")
    for name, part in (("training", training), ("held back", held_back)):
        print(f"mean squared error, scaled, {name}: {model.evaluate(part.x, part.y, verbose=0):.6f}")

    model.save(demo.MODEL, include_optimizer=False)
    scaled = model.predict(held_back.x, verbose=0)
    np.save(demo.RECORDED, scaled)
    for score in demo.scores(demo.unscale(scaled), series, held_back.first):
        print(
            f"{score.months_ahead:2d} months ahead: MAE {score.mae:.2f} (naive {score.naive_mae:.2f}), "
            f"RMSE {score.rmse:.2f} (naive {score.naive_rmse:.2f})"
        )
    print(f"{demo.MODEL.name}: {demo.MODEL.stat().st_size} bytes, {model.count_params()} parameters")


if __name__ == "__main__":
    main()
