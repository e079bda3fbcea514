"""Pipelines in files: their size, how long they take to load, and one row from raw input to the answer.

    python -m benchmarks.pipelines            as a table, and --json

The text classifier of docs/tutorials/text-classifier.md, and the forecast of sunspots that ships with the package.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import fastlstm
import fastlstm.demo
from fastlstm.preprocessing import Tokenizer

EXAMPLES = Path(__file__).parents[1] / "tests" / "corpus" / "examples"
REPEATS, WARM = 300, 20
LOADS = 20


class Figures(NamedTuple):
    """Of one pipeline; times are medians."""

    name: str
    bytes: int
    load_ms: float
    row_us: float  # from raw input to the answer
    network_us: float  # the network's part of it
    rows: int  # of the batch
    batch_row_us: float  # a row of the batch


def pipelines() -> Iterator[tuple[str, fastlstm.Pipeline, Any, list[Any]]]:
    """Name, pipeline, one raw input, and many."""
    words = json.loads((EXAMPLES / "words.json").read_text(encoding="utf-8"))
    tokenizer = Tokenizer(oov_token="<OOV>")
    tokenizer.word_index = {"<OOV>": 1} | {word: number for number, word in enumerate(words, start=2)}
    model = fastlstm.load(EXAMPLES / "reviews.keras")
    text = "The film was great, and the plot was not very clever!"
    yield "reviews: a text", fastlstm.Pipeline(model, tokenizer=tokenizer, labels=["does not", "likes it"]), text, [text] * 256
    model = fastlstm.load(fastlstm.demo.MODEL)
    pipeline = fastlstm.Pipeline(model, scaler=["sqrt", {"max_abs": 10}], window=fastlstm.demo.WINDOW, inverse=True)
    series = fastlstm.demo.read_series().sunspots
    many = [series[start : start + fastlstm.demo.WINDOW] for start in range(256)]
    yield f"sunspots: {fastlstm.demo.WINDOW} months", pipeline, series[-fastlstm.demo.WINDOW :], many


def median(function: Callable[[], Any], repeats: int) -> float:
    """Seconds of a call."""
    times = []
    for number in range(WARM + repeats):
        start = time.perf_counter()
        function()
        if number >= WARM:
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def measured(folder: Path) -> Iterator[Figures]:
    """Figures of each pipeline, from its file."""
    for name, made, one, many in pipelines():
        path = folder / "pipeline.fastlstm"
        made.save(path)
        found = fastlstm.Pipeline.load(path)
        prepared = found.prepare(one)
        yield Figures(
            name, path.stat().st_size, median(lambda: fastlstm.Pipeline.load(path), LOADS) * 1e3,  # noqa: B023
            median(lambda: found.predict(one), REPEATS) * 1e6, median(lambda: found.model.predict(prepared), REPEATS) * 1e6,  # noqa: B023
            len(many), median(lambda: found.predict(many), LOADS) * 1e6 / len(many),  # noqa: B023
        )  # fmt: skip


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="as JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = list(measured(Path(folder)))
    if arguments.json:
        print(json.dumps([figures._asdict() for figures in found], indent=2))
        return
    print(f"{'pipeline':22}{'file':>10}{'load':>10}{'one row':>10}{'(network)':>11}{'of 256':>10}")
    for one in found:
        print(
            f"{one.name:22}{one.bytes / 1e3:>7.0f} kB{one.load_ms:>7.2f} ms{one.row_us:>7.0f} us{one.network_us:>8.0f} us"
            f"{one.batch_row_us:>7.1f} us"
        )


if __name__ == "__main__":
    main()
