"""Does the fastlstm that is installed work? Needs nothing but the package: ``python -I tools/check_installed.py``.

Reads the demo's model, predicts, converts it (which checks the kernels against the layers' meaning in float64 and records cases), runs the
recorded cases at every CPU level that this machine has, and takes the model step by step.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import fastlstm
from fastlstm import demo, runtime

#: What a user who only runs models need not have.
HEAVY = ("tensorflow", "keras", "numba", "Cython", "matplotlib")


def steps_agree() -> bool:
    """Does a Stream give what predict gives?"""
    model = fastlstm.load(demo.MODEL)
    x = np.random.default_rng(0).standard_normal((1, *(size or demo.WINDOW for size in model.input_shape[1:]))).astype(np.float32)
    expected, last = model.predict(x), None
    stream = model.stream()
    for t in range(x.shape[1]):
        last = stream.step(x[:, t])
    return last is not None and bool(np.array_equal(np.reshape(last, -1), np.reshape(expected, -1)[-np.size(last) :]))


def main() -> int:
    """How many checks failed."""
    print(f"fastlstm {fastlstm.__version__}, {platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}")
    print(f"levels {', '.join(runtime.available_levels())}; without {', '.join(n for n in HEAVY if not importlib.util.find_spec(n))}")
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        converted = str(Path(folder, "model.fastlstm"))
        command = [sys.executable, *(["-I"] if sys.flags.isolated else []), "-m", "fastlstm"]
        checks = [("demo", [*command, "demo"], {}), ("convert", [*command, "convert", str(demo.MODEL), converted], {})]
        checks += [
            (f"verify, {level}", [*command, "verify", converted], {"FASTLSTM_KERNELS": level}) for level in runtime.available_levels()
        ]
        for name, arguments, variables in checks:
            done = subprocess.run(arguments, env={**os.environ, **variables}, capture_output=True, text=True, check=False)
            failed += done.returncode != 0
            print(f"{name}: {'passed' if done.returncode == 0 else done.stdout + done.stderr}")
    agree = steps_agree()
    print(f"steps: {'passed' if agree else 'differ from predict'}")
    return failed + (not agree)


if __name__ == "__main__":
    sys.exit(main())
