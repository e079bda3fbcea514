"""The kernels compiled for this very CPU, when ``FASTLSTM_KERNELS=jit`` asks for it: at first use, and kept in a cache folder."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm

from . import compile as compiler


def _object() -> Path:
    """The object file for this CPU and these sources, compiled if it is not there yet."""
    cpu = llvm.get_host_cpu_name() + llvm.get_host_cpu_features().flatten()
    name = f"jit_{compiler.key()}_{hashlib.sha256(cpu.encode()).hexdigest()[:16]}.o"
    from ..caching import folder as kept_in  # here, as it is none of what kernels are made of

    kept = kept_in()
    try:
        folder = Path(kept or tempfile.mkdtemp(prefix="fastlstm"))
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="fastlstm"))
    path = folder / name
    if not path.exists():
        compiler.compile_level("jit", path)
    return path


def load() -> tuple[int, dict[str, list[str]], dict[str, int], Any]:
    """Compile, or fetch what was compiled before.

    Returns
    -------
    lanes : int
        Floats in a vector.
    kernels : dict
        Fields of each kernel, as ``compile.py`` describes them.
    addresses : dict
        Address of each kernel.
    owner : object
        Keeps the code in memory.
    """
    path = _object()
    described = json.loads(path.with_suffix(".json").read_text())
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine()
    # With the memory manager that keeps all sections together: addresses of one section in another are of 32 bits, and a process that
    # has mapped much leaves no room for one section near the other.
    owner = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine, use_lmm=True)
    owner.add_object_file(llvm.ObjectFileRef.from_path(str(path)))
    owner.finalize_object()
    addresses = {name: owner.get_function_address(compiler.symbol(name, "jit")) for name in described["kernels"]}
    return described["lanes"], described["kernels"], addresses, owner
