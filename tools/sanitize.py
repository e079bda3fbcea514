"""Run the compiled runtime under the address and undefined-behaviour sanitizers, and its kernels under valgrind.

``python tools/sanitize.py [sanitizers] [valgrind]``: needs ``pip install -e '.[test]'``, which brings what builds the package too, and
gcc, or valgrind. The sanitizers see the part that is Cython (built anew, in a temporary folder) while tests drive it; the kernels are
object files that they do not see into, so valgrind runs each of them, at the levels that it knows. Ends with 1 where anything was found.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
#: What drives the runtime: entry points, streams, teams, threads, kernels, the arena.
TESTS = (
    "test_kernels",
    "test_recurrent_kernels",
    "test_arenas",
    "test_teams",
    "test_streams",
    "test_stream_memory",
    "test_layers",
    "test_predict_inputs",
)
FLAGS = "-fsanitize=address,undefined -fno-omit-frame-pointer -g"
LIBRARIES = ("libasan.so", "libubsan.so")
REPORT = re.compile(r"ERROR: AddressSanitizer|runtime error:")
#: valgrind has no AVX-512.
LEVELS = ("v3", "v2")
OWN = "fastlstm/runtime"


def sanitizers() -> int:
    """How many reports tests of a sanitized build give."""
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder, "lib")
        flags = {"CFLAGS": FLAGS, "LDFLAGS": FLAGS}
        command = [sys.executable, "setup.py", "-q", "build", "--build-base", f"{folder}/build", "--build-lib", str(built)]
        subprocess.run(command, cwd=HERE, env={**os.environ, **flags}, check=True)
        preloaded = [subprocess.check_output(["gcc", f"-print-file-name={name}"], text=True).strip() for name in LIBRARIES]
        environment = {
            **os.environ,
            "LD_PRELOAD": " ".join(preloaded),
            "PYTHONMALLOC": "malloc",
            "PYTHONPATH": str(built),
            "ASAN_OPTIONS": f"detect_leaks=0:allocator_may_return_null=1:log_path={folder}/asan",
            "UBSAN_OPTIONS": f"print_stacktrace=1:log_path={folder}/ubsan",
        }
        tests = [f"{HERE}/tests/unit/{name}.py" for name in TESTS]
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not keras and not slow", "-k", "not jit", *tests]
        failed = subprocess.run(command, cwd=built, env=environment, check=False).returncode
        reports = [path.read_text(errors="replace") for path in Path(folder).glob("*san.*")]
    found = [report for report in reports if REPORT.search(report)]
    print("\n".join(found))
    print(f"sanitizers: {len(found)} reports{'' if not failed else ', and tests failed'}")
    return len(found) + failed


def valgrind() -> int:
    """How many errors valgrind sees in the runtime or a kernel while small models use every kernel."""
    total = 0
    for level in LEVELS:
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder, "log")
            command = ["valgrind", "--error-limit=no", "--num-callers=30", f"--log-file={log}"]
            command += [sys.executable, str(HERE / "tests" / "helpers" / "kernel_models.py")]
            environment = {**os.environ, "PYTHONMALLOC": "malloc", "FASTLSTM_KERNELS": level}
            subprocess.run(command, env=environment, check=True)
            blocks = re.split(r"==\d+== \n", log.read_text())
        # What CPython and NumPy do with memory of their own is theirs.
        errors = [block for block in blocks if OWN in block and re.search(r"(Invalid|uninitialised|overlap|Jump)", block)]
        print("\n".join(errors[:20]))
        print(f"valgrind, {level}: {len(errors)} errors")
        total += len(errors)
    return total


def main() -> int:
    parts = {"sanitizers": sanitizers, "valgrind": valgrind}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*parts, []], help="both by default")
    arguments = parser.parse_args()
    return int(sum(parts[name]() for name in arguments.parts or parts) > 0)


if __name__ == "__main__":
    sys.exit(main())
