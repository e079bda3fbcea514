"""Which levels of x86-64 a CPU has: the runtime's own answer (``runtime/cpu.h``) is that of GCC, on this CPU and on emulated ones."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from fastlstm import runtime

HEADER = Path(runtime.__file__).with_name("cpu.h")
#: CPUs that qemu plays, and the levels that they have: without SSSE3, before AVX2, before and with FMA and the like.
EMULATED = {"core2duo": "", "Nehalem": "v2", "SandyBridge": "v2", "Haswell": "v2 v3", "EPYC": "v2 v3"}
PROGRAM = """
#include <stdint.h>
#include <stdio.h>
#include "cpu.h"
int main(void) {
    int own[] = {fastlstm_cpu_has_v2(), fastlstm_cpu_has_v3(), fastlstm_cpu_has_v4()};
    int gcc[] = {__builtin_cpu_supports("x86-64-v2"), __builtin_cpu_supports("x86-64-v3"), __builtin_cpu_supports("x86-64-v4")};
    printf("amx %d\\n", fastlstm_cpu_has_amx());
    for (int n = 0; n < 3; n++) printf("%s%d %d\\n", "v", n + 2, own[n] ? 1 : 0), fprintf(stderr, "v%d %d\\n", n + 2, gcc[n] ? 1 : 0);
    return 0;
}
"""

pytestmark = pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="levels of x86-64")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("gcc") is None or not HEADER.exists():
        pytest.skip("needs gcc, and the sources of the runtime")
    folder = tmp_path_factory.mktemp("cpu")
    source, made = folder / "levels.c", folder / "levels"
    source.write_text(PROGRAM)
    flags = ("-O2", "-std=c11", "-Wall", "-Wextra", "-Werror", "-static", f"-I{HEADER.parent}")
    done = subprocess.run(["gcc", *flags, "-o", str(made), str(source)], capture_output=True, text=True, check=False)
    if "x86-64-v2" in done.stderr:
        pytest.skip("a GCC that knows no levels")
    assert done.returncode == 0, done.stderr
    return made


def answers(*command: str) -> tuple[str, str]:
    """The levels that a CPU has, by the runtime and by GCC."""
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    own, gcc = (" ".join(line.split()[0] for line in text.splitlines() if line.endswith(" 1")) for text in (done.stdout, done.stderr))
    return own, gcc


def test_this_cpu(program: Path) -> None:
    own, gcc = answers(str(program))
    assert own.removeprefix("amx ") == gcc == " ".join(runtime.available_levels())
    assert own.startswith("amx") or runtime.amx_refused() == "this CPU has no AMX"


@pytest.mark.parametrize("cpu", EMULATED)
def test_other_cpus(program: Path, cpu: str) -> None:
    emulator = shutil.which("qemu-x86_64") or shutil.which("qemu-x86_64-static")
    if emulator is None:
        pytest.skip("qemu-user is not installed")
    own, gcc = answers(emulator, "-cpu", cpu, str(program))
    gcc = " ".join(part for part in gcc.split() if part in ("v2", "v3", "v4"))
    assert own == gcc == EMULATED[cpu]
