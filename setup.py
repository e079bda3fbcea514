"""Builds the kernels' object files, one for each CPU level, and the Cython runtime, one module of which links them."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).resolve().parent
#: What __builtin_cpu_supports must say for each level; it also asks the operating system.
NEEDED = {
    "v2": ("popcnt", "sse3", "ssse3", "sse4.1", "sse4.2"),
    "v3": ("popcnt", "sse4.2", "avx", "avx2", "fma", "bmi", "bmi2"),
    "v4": ("avx2", "fma", "bmi2", "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"),
    "baseline": (),
}
#: The module of the runtime that is linked with the kernels.
LINKED = "fastlstm.runtime.levels"
#: How all of them are compiled: indices are known to be within bounds and not negative, divisors not to be 0.
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "embedsignature": True,
    "auto_pickle": False,
}


def module_from(path: Path):
    """A module loaded without its package, which cannot be imported before it is built."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def kernel_objects(folder: Path) -> dict[str, Path]:
    """The object file of every level of this architecture; those of unchanged sources are kept."""
    compiler = module_from(HERE / "fastlstm" / "kernels" / "compile.py")
    levels = [level for level in NEEDED if (level == "baseline") != (platform.machine().lower() in ("x86_64", "amd64"))]
    key = compiler.source_hash()
    objects = {level: folder / f"kernels_{level}_{key}.o" for level in levels}
    missing = [level for level in levels if not objects[level].exists()]
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        list(pool.map(lambda level: compiler.compile_level(level, objects[level]), missing))
    return objects


def table(objects: dict[str, Path]) -> str:
    """The C header with what runtime/levels.pyx needs to know of the kernels."""
    compiler = module_from(HERE / "fastlstm" / "kernels" / "compile.py")
    described = {level: json.loads(path.with_suffix(".json").read_text()) for level, path in objects.items()}
    kernels = next(iter(described.values()))["kernels"]
    symbols = [[compiler.symbol(name, level) for name in kernels] for level in objects]
    supported = [" && ".join(f'__builtin_cpu_supports("{feature}")' for feature in NEEDED[level]) or "1" for level in objects]

    def strings(values) -> str:
        return ", ".join(f'"{value}"' for value in values)

    return "\n".join([
        "#include <stdint.h>",
        f"#define FASTLSTM_LEVELS {len(objects)}",
        f"#define FASTLSTM_KERNELS {len(kernels)}",
        "typedef void (*fastlstm_kernel)(int64_t *);",
        f"static const char *fastlstm_level_names[] = {{{strings(objects)}}};",
        f"static const int fastlstm_level_lanes[] = {{{', '.join(str(level['lanes']) for level in described.values())}}};",
        f"static const char *fastlstm_kernel_names[] = {{{strings(kernels)}}};",
        f"static const char *fastlstm_kernel_fields[] = {{{strings(' '.join(fields) for fields in kernels.values())}}};",
        *(f"extern void {symbol}(int64_t *);" for row in symbols for symbol in row),
        f"static fastlstm_kernel fastlstm_kernel_table[] = {{{', '.join(symbol for row in symbols for symbol in row)}}};",
        "static int fastlstm_cpu_has(int level) {",
        *(f"    if (level == {n}) return {condition};" for n, condition in enumerate(supported)),
        "    return 0;",
        "}",
        "",
    ])  # fmt: skip


class BuildExt(build_ext):
    """Compiles the kernels before the module that is linked with them."""

    def build_extension(self, extension: Extension) -> None:
        if extension.name == LINKED:
            self.link_kernels(extension)
        super().build_extension(extension)

    def link_kernels(self, extension: Extension) -> None:
        """Have a module linked with the kernels' object files, and compiled with the table of them."""
        folder = HERE / "build" / "kernels"  # stays between builds, unlike build_temp
        objects = kernel_objects(folder)
        header = folder / "kernel_table.h"
        text = table(objects)
        if not header.exists() or header.read_text() != text:
            header.write_text(text)
        extension.include_dirs.append(str(folder))
        extension.extra_objects += [str(path) for path in objects.values()]
        extension.depends += [str(header), *extension.extra_objects]


def link_flags() -> list[str]:
    """Leave out symbols and unused code."""
    return ["-Wl,-s", "-Wl,--gc-sections"] if sys.platform.startswith("linux") else []


def module(name: str) -> Extension:
    """A module of the runtime."""
    return Extension(
        f"fastlstm.runtime.{name}",
        [f"fastlstm/runtime/{name}.pyx"],
        include_dirs=[numpy.get_include()],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
        extra_compile_args=["-O2", "-g0", "-fvisibility=hidden"] if os.name != "nt" else [],
        extra_link_args=link_flags(),
        depends=["fastlstm/runtime/call.h"],
    )


setup(
    ext_modules=cythonize(
        [module(path.stem) for path in sorted((HERE / "fastlstm" / "runtime").glob("*.pyx"))], compiler_directives=DIRECTIVES
    ),
    cmdclass={"build_ext": BuildExt},
)
