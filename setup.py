"""Builds the Cython runtime, one module of which is linked with the kernels' object files: one for each CPU level.

Object files that were compiled before, here or on another machine, are taken from ``build/kernels``; the others are compiled now. What
the environment says:

FASTLSTM_TRIPLE
    The platform to build for, as LLVM names it (``fastlstm/kernels/levels.py``); by default the one that runs this. CC and LDSHARED
    have to name a compiler for it.
FASTLSTM_ABI3
    1: build against Python's stable ABI, one wheel for Python 3.12 and everything later.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).resolve().parent
RUNTIME = "fastlstm/runtime"
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
STABLE = os.environ.get("FASTLSTM_ABI3") == "1"
#: Before it, calls of functions in the stable ABI have to make a tuple and a dict.
STABLE_SINCE = ("cp312", "0x030C0000")
if STABLE:
    # Python calls functions of its own kind faster than Cython's, which find no fast way in this ABI.
    DIRECTIVES |= {"binding": False, "embedsignature.format": "clinic"}


def module_from(path: Path):
    """A module loaded without its package, which cannot be imported before it is built."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


compiler = module_from(HERE / "fastlstm" / "kernels" / "compile.py")
TRIPLE = os.environ.get("FASTLSTM_TRIPLE") or compiler.platforms().host_triple()


def table(objects: dict[str, Path]) -> str:
    """The C header with what runtime/levels.pyx needs to know of the kernels."""
    described = {level: compiler.described(path) for level, path in objects.items()}
    kernels = next(iter(described.values()))["kernels"]
    symbols = [[compiler.symbol(name, level) for name in kernels] for level in objects]

    def strings(values) -> str:
        return ", ".join(f'"{value}"' for value in values)

    return "\n".join([
        "#include <stdint.h>",
        '#include "cpu.h"',
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
        *(f"    if (level == {n}) return fastlstm_cpu_has_{level}();" for n, level in enumerate(objects)),
        "    return 0;",
        "}",
        "",
    ])  # fmt: skip


class BuildExt(build_ext):
    """Compiles the kernels before the module that is linked with them."""

    def build_extension(self, extension: Extension) -> None:
        if self.compiler.compiler_type != "msvc":  # whose own settings are the right ones
            extension.extra_compile_args += ["-O2", "-g0", "-fvisibility=hidden"]
            extension.extra_link_args += link_flags()
        if extension.name == LINKED:
            self.link_kernels(extension)
        super().build_extension(extension)

    def link_kernels(self, extension: Extension) -> None:
        """Have a module linked with the kernels' object files, and compiled with the table of them."""
        folder = HERE / "build" / "kernels"  # stays between builds, unlike build_temp
        objects = compiler.objects(folder, TRIPLE)
        header = folder / TRIPLE / "kernel_table.h"
        text = table(objects)
        if not header.exists() or header.read_text() != text:
            header.write_text(text)
        extension.include_dirs.append(str(header.parent))
        extension.extra_objects += [str(path) for path in objects.values()]
        extension.depends += [str(header), *extension.extra_objects]


def link_flags() -> list[str]:
    """Leave out symbols and unused code."""
    if "linux" in TRIPLE:
        return ["-Wl,-s", "-Wl,--gc-sections"]
    return ["-Wl,-x", "-Wl,-dead_strip"] if "apple" in TRIPLE else []


def module(name: str) -> Extension:
    """A module of the runtime."""
    macros = [("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")]
    return Extension(
        f"fastlstm.runtime.{name}",
        [f"{RUNTIME}/{name}.pyx"],
        include_dirs=[numpy.get_include(), RUNTIME],
        define_macros=[*macros, ("Py_LIMITED_API", STABLE_SINCE[1])] if STABLE else macros,
        py_limited_api=STABLE,
        depends=[f"{RUNTIME}/{header.name}" for header in sorted((HERE / RUNTIME).glob("*.h"))],
    )


setup(
    ext_modules=cythonize([module(path.stem) for path in sorted((HERE / RUNTIME).glob("*.pyx"))], compiler_directives=DIRECTIVES),
    cmdclass={"build_ext": BuildExt},
    options={"bdist_wheel": {"py_limited_api": STABLE_SINCE[0]}} if STABLE else {},
)
