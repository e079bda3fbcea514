"""Options of the benchmark suite: which engines, which workloads, how many threads."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from engines import ENGINES
from prepare import is_prepared
from workloads import WORKLOADS

HERE = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("workloads")
    group.addoption("--engines", default=",".join(ENGINES), help=f"comma separated, of {', '.join(ENGINES)}")
    group.addoption("--workloads", default="", metavar="REGEX", help="workloads whose name/batch matches")
    group.addoption("--engine-threads", type=int, default=1, metavar="N")
    group.addoption("--prepared", type=Path, default=HERE / ".prepared", help="folder for the engines' files")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    chosen = re.compile(metafunc.config.getoption("--workloads"))
    engines = metafunc.config.getoption("--engines").split(",")
    measured = [
        pytest.param(workload, batch, engine, id=f"{workload.name}-{batch}-{engine}")
        for workload in WORKLOADS
        for batch in workload.batches
        for engine in engines
        if chosen.search(f"{workload.name}/{batch}")
    ]
    metafunc.parametrize(("workload", "batch", "engine"), measured)


@pytest.fixture(scope="session")
def prepared(pytestconfig: pytest.Config) -> Path:
    """The folder with models, conversions and Keras's answers; made in another process where it lacks any."""
    folder = pytestconfig.getoption("--prepared").resolve()
    chosen = pytestconfig.getoption("--workloads").split("/")[0]
    if not all(is_prepared(workload, folder) for workload in WORKLOADS if re.search(chosen, workload.name)):
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        subprocess.run([sys.executable, HERE / "prepare.py", folder, "--workloads", chosen], check=True, env=environment)
    return folder
