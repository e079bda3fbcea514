"""Every engine on every workload: first it must give what Keras gives, then it is timed.

``python -m benchmarks`` runs it with each engine in a process of its own; as ``pytest benchmarks/suite.py`` all share one.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from engines import ENGINES, UnavailableError
from pytest_benchmark.fixture import BenchmarkFixture
from workloads import Workload


def test_workload(
    workload: Workload, batch: int, engine: str, prepared: Path, pytestconfig: pytest.Config, benchmark: BenchmarkFixture
) -> None:
    threads = pytestconfig.getoption("--engine-threads")
    adapter = ENGINES[engine]
    try:
        loaded = adapter(prepared / f"{workload.name}.h5", threads)
    except (UnavailableError, ImportError) as reason:
        pytest.skip(str(reason))
    inputs = workload.inputs(batch)
    given = [workload.ragged(x) for x in inputs] if workload.ragged and adapter.takes_ragged else inputs
    with np.load(prepared / f"{workload.name}.npz") as answers:
        for number, x in enumerate(given):
            if f"batch{batch}_{number}" in answers:
                np.testing.assert_allclose(loaded.predict(x), answers[f"batch{batch}_{number}"], rtol=1e-4, atol=1e-5)
    following = itertools.cycle(given).__next__
    predict = loaded.predict
    benchmark.group = f"{workload.name} batch {batch}"
    benchmark.extra_info.update(
        workload=workload.name, batch=batch, engine=engine, label=adapter.label, threads=threads, versions=adapter.versions()
    )
    benchmark(lambda: predict(following()))
