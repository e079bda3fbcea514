"""Options of the benchmark suite: which engines, which workloads, how many threads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .engines import ENGINES
from .prepare import is_prepared
from .workloads import WORKLOADS

HERE = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("workloads")
    group.addoption("--engines", default=",".join(ENGINES), help=f"comma separated, of {', '.join(ENGINES)}")
    group.addoption("--workloads", default="", metavar="REGEX", help="workloads whose name/batch matches")
    group.addoption("--engine-threads", type=int, default=1, metavar="N")
    group.addoption("--rounds", type=int, default=1, metavar="N", help="measure everything so many times")
    group.addoption("--turns", default="", metavar="FROM,TO", help="file descriptors: read a byte before each test, write one after it")
    group.addoption("--refused", type=Path, metavar="FILE", help="write there what an engine cannot run, and why: a line of JSON each")
    group.addoption("--prepared", type=Path, default=HERE / ".prepared", help="folder for the engines' files")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    pattern = metafunc.config.getoption("--workloads")
    engines = metafunc.config.getoption("--engines").split(",")
    measured = [
        pytest.param(workload, batch, engine, id=f"{workload.name}-{batch}-{engine}-{number}")
        for number in range(metafunc.config.getoption("--rounds"))
        for workload in WORKLOADS
        for batch in workload.chosen(pattern)
        for engine in engines
    ]
    metafunc.parametrize(("workload", "batch", "engine"), measured)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Engines that run at the same time measure in turn."""
    turns = item.config.getoption("--turns")
    if not turns:
        return (yield)
    turn, over = map(int, turns.split(","))
    os.read(turn, 1)
    try:
        return (yield)
    finally:
        os.write(over, b".")


@pytest.fixture(scope="session")
def prepared(pytestconfig: pytest.Config) -> Path:
    """The folder with models, conversions and Keras's answers; made in another process where it lacks any."""
    folder = pytestconfig.getoption("--prepared").resolve()
    pattern = pytestconfig.getoption("--workloads")
    if not all(is_prepared(workload, folder) for workload in WORKLOADS if workload.chosen(pattern)):
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        subprocess.run(
            [sys.executable, "-m", "benchmarks.prepare", folder, "--workloads", pattern], cwd=HERE.parent, check=True, env=environment
        )
    return folder
