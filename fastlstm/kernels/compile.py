"""Compile the kernels to object files, one for each CPU level of a platform: ``python fastlstm/kernels/compile.py --help``.

Any machine compiles for any platform. Each level has a process of its own, because vectors have its width from the imports on. Run as a
script, or loaded by ``setup.py``, this module does not import the package that it lies in, which needs what is being compiled here.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
import sys
import types
from concurrent.futures import ThreadPoolExecutor
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
    """A hash of the sources that the kernels are made of."""
    digest = hashlib.sha256()
    for path in sources():
        digest.update(path.read_bytes().replace(b"\r\n", b"\n"))  # as a checkout on Windows may have it
    return digest.hexdigest()[:16]


def compilers() -> str:
    """What compiles them, with versions; empty where it is not installed."""
    try:
        return " ".join(f"{name}-{importlib.metadata.version(name)}" for name in ("numba", "llvmlite"))
    except importlib.metadata.PackageNotFoundError:
        return ""


def key() -> str:
    """A hash of whatever an object file depends on, except the level and the platform."""
    return hashlib.sha256(f"{source_hash()} {compilers()}".encode()).hexdigest()[:16]


def platforms() -> Any:
    """The module ``levels.py``, without its package."""
    spec = importlib.util.spec_from_file_location("fastlstm_levels", HERE / "levels.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def compile_level(level: str, output: Path, triple: str | None = None) -> None:
    """Compile for a level in a process of its own; beside the object goes OUT.json, which describes it.

    Parameters
    ----------
    level
        One of the platform's, or "jit": this very CPU.
    output
        The object file.
    triple
        The platform; by default this machine's.
    """
    part = output.with_name(f".{output.stem}.{os.getpid()}.part.o")
    command = [sys.executable, str(HERE / "compile.py"), "--emit", level, str(part)]
    subprocess.run([*command, "--triple", triple or platforms().host_triple()], check=True)
    part.with_suffix(".json").replace(output.with_suffix(".json"))
    part.replace(output)


def described(path: Path) -> dict[str, Any]:
    """What stands beside an object file: its lanes, the kernels' fields, and what it was compiled from and with."""
    return dict(json.loads(path.with_suffix(".json").read_text()))


def kept(level: str, folder: Path) -> Path | None:
    """An object file of a level in a folder, if one was compiled from these sources, and with the compiler that is installed here."""
    for path in sorted(folder.glob(f"{level}_*.o")):
        found = described(path) if path.with_suffix(".json").exists() else {}
        if found.get("sources") == source_hash() and compilers() in ("", found["compilers"]):
            return path
    return None


def objects(folder: Path, triple: str) -> dict[str, Path]:
    """The object file of each level of a platform: as they lie in the folder, the missing ones compiled now.

    Raises
    ------
    RuntimeError
        If some have to be compiled, and Numba is not installed.
    """
    place = folder / triple
    levels = [level.name for level in platforms().levels(triple)]
    found = {level: kept(level, place) or place / f"{level}_{key()}.o" for level in levels}
    missing = [level for level, path in found.items() if not path.exists()]
    if missing and not compilers():
        raise RuntimeError(
            f"the kernels' object files for {triple} have to be compiled, and Numba, which compiles them, is not installed; install it, or "
            f"on another machine run 'python fastlstm/kernels/compile.py --triple {triple}' in the same sources and copy its folder {place}"
        )
    place.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        list(pool.map(lambda level: compile_level(level, found[level], triple), missing))
    return found


def _emit(level: Any, triple: str, output: Path) -> None:
    for name in MODULES:
        importlib.import_module(f"fastlstm.kernels.{name}")
    kernels = importlib.import_module("fastlstm.kernels.registry").KERNELS
    missing = set(importlib.import_module("fastlstm.program.contracts").CONTRACTS) - set(kernels)
    assert not missing, f"contracts without a kernel: {sorted(missing)}"
    exported = importlib.import_module("fastlstm.kernels.flags").exported
    functions = {name: exported(item.record())(item.function) for name, item in kernels.items()}
    texts, names = importlib.import_module("fastlstm.kernels.gathering").code(functions)
    texts += [importlib.import_module(f"fastlstm.kernels.{name}").tiles() for name in ("tile", "data_tile", "window_tile", "amx_tile")]
    output.write_bytes(_object(level, triple, texts, {name: symbol(kernel, level.name) for kernel, name in names.items()}))
    fields = {name: item.contract.described for name, item in kernels.items()}
    about = {"lanes": level.lanes, "kernels": fields, "sources": source_hash(), "compilers": compilers()}
    output.with_suffix(".json").write_text(json.dumps(about))


def _object(level: Any, triple: str, texts: list[str], kernels: dict[str, str]) -> bytes:
    """One object file of all code: of it only the kernels can be seen from outside, which get their names."""
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(triple).create_target_machine(
        cpu=level.cpu, features=level.features, opt=3, reloc="pic", codemodel="small"
    )
    machine_data = str(machine.target_data)
    linked, *others = [llvm.parse_assembly(text) for text in texts]
    for module in others:
        linked.link_in(module)
    # A loop that stores zeros must not become a call of memset: kernels call nothing outside.
    linked = llvm.parse_assembly(re.sub(r"^(define .*)\{$", r'\1"no-builtins" {', str(linked), flags=re.MULTILINE))
    linked.triple, linked.data_layout = triple, machine_data
    for value in [*linked.functions, *linked.global_variables]:
        if value.name in kernels:
            value.name = kernels[value.name]
        elif not value.is_declaration:
            value.linkage = "internal"
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_unrolling = False  # the tiles have the parallelism they need, and no registers to spare
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(linked, builder)
    linked.verify()
    return bytes(machine.emit_object(linked))


def emit(name: str, triple: str, output: Path) -> None:
    """Compile for the level of that name in this process, which must not have loaded Numba before."""
    os.environ.update(FASTLSTM_TARGET=name, FASTLSTM_TRIPLE=triple)
    package = types.ModuleType("fastlstm")
    package.__path__ = [str(HERE.parent)]
    sys.modules["fastlstm"] = package
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != HERE]
    gc.disable()  # nothing here is let go before the end
    _emit(importlib.import_module("fastlstm.kernels.target").LEVEL, triple, output)


def main(arguments: list[str] | None = None) -> None:
    """What the command line asks for."""
    known = platforms()
    parser = argparse.ArgumentParser(description="Compile the kernels' object files, which setup.py links. Needs Numba.")
    parser.add_argument("--triple", action="append", help=f"platform, may be given several times: {', '.join(known.TRIPLES)}, or another")
    parser.add_argument("--all", action="store_true", help="every platform that wheels are built for")
    parser.add_argument("--folder", type=Path, default=HERE.parents[1] / "build" / "kernels", help="where they go (%(default)s)")
    parser.add_argument("--emit", nargs=2, metavar=("LEVEL", "OUT.o"), help="one level alone, to this file")
    given = parser.parse_args(arguments)
    triples = given.triple or (known.TRIPLES if given.all else [known.host_triple()])
    if given.emit:
        emit(given.emit[0], triples[0], Path(given.emit[1]))
        return
    for triple in triples:
        for path in objects(given.folder, triple).values():
            print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
