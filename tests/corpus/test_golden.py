"""Every model of the golden corpus gives what its own Keras gave, or is refused: never anything else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import golden
import pytest

from fastlstm.layers import REGISTRY

SCRIPT = Path(golden.__file__)
#: Early Keras 2 lost the arguments of cells: where they were no defaults, nobody can tell what the model computed.
LOST = "saved its cells without their arguments"
#: Or what an operation would need is known only when data come.
LATER = "a slice whose bounds are computed in the graph"


def test_case(golden_case: golden.Case, golden_results: list[golden.Result]) -> None:
    result = golden.run(golden_case)
    golden_results.append(result)
    assert result.outcome != golden.WRONG, result.detail
    if result.outcome == golden.REFUSED and LOST not in result.detail and LATER not in result.detail:
        classes = set(golden_case.record["layers"]) - {"Functional", "Model", "Sequential"}
        assert not classes <= set(REGISTRY), f"each of its layers is supported, yet it is refused: {result.detail}"


def levels() -> list[str]:
    """Values that FASTLSTM_KERNELS may have on this machine."""
    from fastlstm import runtime

    try:
        import numba  # noqa: F401  only whether it is there
    except ImportError:
        return list(runtime.available_levels())
    return sorted({*runtime.available_levels(), "jit"})


@pytest.mark.slow
@pytest.mark.parametrize("level", levels())
def test_every_level(level: str) -> None:
    """One generation of each construction on each level of the CPU: they must agree with Keras alike."""
    ran = subprocess.run(
        [sys.executable, str(SCRIPT), "--lean", "--json"],
        env={**os.environ, "FASTLSTM_KERNELS": level},
        capture_output=True,
        text=True,
        timeout=1800,
    )
    results = [golden.Result(**json.loads(line)) for line in ran.stdout.splitlines()]
    assert results, ran.stderr
    wrong = [f"{result.generation}/{result.case}: {result.detail}" for result in results if result.outcome == golden.WRONG]
    assert not wrong
