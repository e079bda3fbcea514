"""Every engine on every workload: first it must give what Keras gives, then it is timed.

``python -m benchmarks`` runs it with each engine in a process of its own; as ``pytest benchmarks/suite.py`` all share one.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from .engine import Engine, UnavailableError
from .engines import ENGINES
from .prepare import CHECKED
from .report import OURS, Refusal
from .workload import Workload


class Ready(NamedTuple):
    """An engine with its model loaded, found right, and warm."""

    predict: Callable[[Any], Any]
    following: Callable[[], Any]  # the next inputs


#: What has been measured, for the rounds to come.
_ready: dict[tuple[str, int, str], Ready] = {}


def test_workload(
    workload: Workload, batch: int, engine: str, prepared: Path, pytestconfig: pytest.Config, benchmark: BenchmarkFixture
) -> None:
    threads, adapter, key = pytestconfig.getoption("--engine-threads"), ENGINES[engine], (workload.name, batch, engine)
    if pytestconfig.getoption("--rounds") == 1:
        _ready.clear()
    if key not in _ready:
        try:
            _ready[key] = made_ready(workload, batch, adapter, threads, prepared)
        except Exception as error:  # noqa: BLE001  engines refuse in their own ways; the reason is shown in the report
            refuse(Refusal(workload.name, batch, engine, adapter.label, reason(error)), error, pytestconfig.getoption("--refused"))
    predict, following = _ready[key]
    benchmark.group = f"{workload.name} batch {batch}"
    benchmark.extra_info.update(
        workload=workload.name,
        batch=batch,
        engine=engine,
        label=adapter.label,
        float32=adapter.float32,
        threads=threads,
        versions=adapter.versions(),
    )
    warm_up(predict, following, 0.02)
    benchmark(lambda: predict(following()))


def made_ready(workload: Workload, batch: int, adapter: type[Engine], threads: int, prepared: Path) -> Ready:
    """Load, and compare with Keras's own answers."""
    loaded = adapter(prepared / f"{workload.name}.h5", batch, threads)
    inputs = workload.inputs(batch)
    given = [workload.ragged(x) for x in inputs] if workload.ragged and adapter.takes_ragged else inputs
    with np.load(prepared / f"{workload.name}.npz") as answers:
        for number, x in enumerate(given[:CHECKED]):
            expected = answers[f"batch{batch}_{number}"]
            np.testing.assert_allclose(loaded.predict(x), expected, rtol=adapter.tolerance, atol=adapter.tolerance / 10)
    ready = Ready(loaded.predict, itertools.cycle(given).__next__)
    warm_up(*ready)
    return ready


def reason(error: Exception) -> str:
    """Why an engine is not measured, in a line."""
    if isinstance(error, AssertionError):
        return "its numbers are not those of Keras"
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")[:200]
    return said if isinstance(error, (UnavailableError, ImportError)) else f"it fails: {type(error).__name__}: {said}"


def refuse(refusal: Refusal, error: Exception, kept: Path | None) -> NoReturn:
    """Tell the report, and skip; what fastlstm cannot do, and wrong numbers of anybody, are failures."""
    if kept is not None:
        with kept.open("a") as stream:
            stream.write(json.dumps(refusal._asdict()) + "\n")
    if isinstance(error, AssertionError) or refusal.engine == OURS:
        raise error
    pytest.skip(refusal.reason)


def warm_up(predict: Callable[[Any], Any], following: Callable[[], Any], seconds: float = 0.1) -> None:
    """Some calls that nobody times: what an engine compiles or allocates at first is not what is asked here."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        predict(following())
