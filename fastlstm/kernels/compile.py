"""Compile every kernel for one CPU level to an object file: ``python compile.py LEVEL OUT.o`` (LEVEL "jit": this very CPU).

One process a level, because Numba vectorises for the CPU that it is told to be when it starts. Run as a script, it does not
import the package that it lies in, which needs what is being compiled here.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
#: In the order of their contracts, which is that of the runtime's table.
MODULES = (
    "arithmetic", "attention", "convolution", "lstm", "gru", "simple_rnn", "conv_lstm", "curves", "dense", "elementwise", "normalising",
    "pooling", "product", "rearranging", "reductions", "resampling",
)  # fmt: skip
#: Modules outside of this folder that the kernels are made of.
BESIDE = (
    "activations.py", "program/__init__.py", "program/contract.py", "program/contracts/*.py", "program/layout.py", "program/windows.py",
)  # fmt: skip


def symbol(name: str, level: str) -> str:
    """The exported name of a kernel."""
    return f"fastlstm_{name}_{level}"


def sources() -> list[Path]:
    """Every file of the package that the kernels are made of."""
    return sorted([*HERE.glob("*.py"), *(path for name in BESIDE for path in HERE.parent.glob(name))])


def source_hash() -> str:
    """A hash of whatever the kernels are made of, except the CPU."""
    import llvmlite
    import numba

    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__}".encode())
    for path in sources():
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def compile_level(level: str, output: Path) -> None:
    """Compile for a level in a process of its own; beside the object goes OUT.json, the kernels' fields."""
    part = output.with_name(f"{output.stem}.{os.getpid()}.part.o")
    subprocess.run([sys.executable, str(HERE / "compile.py"), level, str(part)], check=True)
    part.with_suffix(".json").replace(output.with_suffix(".json"))
    part.replace(output)


def _emit(level: Any, output: Path) -> None:
    for name in MODULES:
        importlib.import_module(f"fastlstm.kernels.{name}")
    exported = importlib.import_module("fastlstm.kernels.flags").exported
    kernels = importlib.import_module("fastlstm.kernels.registry").KERNELS
    missing = set(importlib.import_module("fastlstm.program.contracts").CONTRACTS) - set(kernels)
    assert not missing, f"contracts without a kernel: {sorted(missing)}"
    texts = [importlib.import_module(f"fastlstm.kernels.{name}").tiles() for name in ("tile", "data_tile", "window_tile")]
    for name, item in kernels.items():
        text = exported(item.record())(item.function).inspect_llvm()
        found = re.search(r'define[^\n]*@("?cfunc\.[^\s("]*"?)\(', text)
        assert found, f"no C function in the code of kernel {name}"
        texts.append(text.replace(f"@{found[1]}(", f"@{symbol(name, level.name)}("))
    output.write_bytes(_object(level, texts, {symbol(name, level.name) for name in kernels}))
    fields = {name: item.contract.described for name, item in kernels.items()}
    output.with_suffix(".json").write_text(json.dumps({"lanes": level.lanes, "kernels": fields}))


def _object(level: Any, texts: list[str], exported: set[str]) -> bytes:
    """One object file of all kernels' code: what they share is there once, and only the kernels can be seen from outside."""
    import llvmlite.binding as llvm

    modules = []
    for text in texts:
        # A loop that stores zeros must not become a call of memset: kernels call nothing outside.
        module = llvm.parse_assembly(re.sub(r"^(define .*)\{$", r'\1"no-builtins" {', text, flags=re.MULTILINE))
        modules.append(module)
    linked = modules[0]
    for module in modules[1:]:
        linked.link_in(module)
    for value in [*linked.functions, *linked.global_variables]:
        if not value.is_declaration and value.name not in exported:
            value.linkage = "internal"
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=level.cpu, features=level.features, opt=3, reloc="pic", codemodel="small"
    )
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_unrolling = False  # the tiles have the parallelism they need, and no registers to spare
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(linked, builder)
    linked.verify()
    return bytes(machine.emit_object(linked))


def main(name: str, output: str) -> None:
    """Compile for the level of that name."""
    os.environ["FASTLSTM_TARGET"] = name
    package = types.ModuleType("fastlstm")
    package.__path__ = [str(HERE.parent)]
    sys.modules["fastlstm"] = package
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != HERE]
    level = importlib.import_module("fastlstm.kernels.target").LEVEL
    os.environ.update(NUMBA_CPU_NAME=level.cpu, NUMBA_CPU_FEATURES=level.features, NUMBA_OPT="0")
    # Optimised once, when everything is linked, instead of every function with all that it calls again and again.
    _emit(level, Path(output))


if __name__ == "__main__":
    main(*sys.argv[1:])
