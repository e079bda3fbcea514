"""Numba's LLVM code of every function, gathered instead of compiled.

Left to itself Numba makes machine code of each function together with everything that it calls, with which Python could call it. The
kernels' object file needs none of that: every function's code once, optimised when all of it is linked (``compile.py``).
"""

from __future__ import annotations

from typing import Any

import llvmlite.ir
from numba.core import cgutils
from numba.core.codegen import CodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import FunctionPass, register_pass
from numba.core.typed_passes import NoPythonSupportedFeatureValidation


class _NothingRuns:
    """Stands for the machine that would run the code."""

    def set_env(self, name: str, environment: Any) -> None:
        """No code asks for its environment: it raises nothing."""


class _Code(CodeLibrary):  # type: ignore[misc]
    """The LLVM code of one function, and what it calls."""

    def __init__(self, name: str):
        super().__init__(_NothingRuns(), name)
        self.texts: list[str] = []
        self.called: list[CodeLibrary] = []

    def create_ir_module(self, name: str) -> llvmlite.ir.Module:
        return llvmlite.ir.Module(cgutils.normalize_ir_text(name))

    def add_ir_module(self, ir_module: llvmlite.ir.Module) -> None:
        self.texts.append(cgutils.normalize_ir_text(str(ir_module)))

    def add_linking_library(self, library: CodeLibrary) -> None:
        self.called.append(library)

    def finalize(self) -> None:
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """There is no machine code; Numba asks all the same."""
        return 0

    def get_function(self, name: str) -> Any:
        raise NotImplementedError(name)

    def get_llvm_str(self) -> str:
        return "\n".join(self.texts)

    def get_asm_str(self) -> str:
        raise NotImplementedError(self.name)


@register_pass(mutates_CFG=False, analysis_only=False)
class _KeepCode(FunctionPass):  # type: ignore[misc]
    """Has what follows put its code into a :class:`_Code`."""

    _name = "keep_code"

    def __init__(self) -> None:
        super().__init__()

    def run_pass(self, state: Any) -> bool:
        state.library = _Code(state.func_id.func_qualname)
        return True


class Gathering(CompilerBase):  # type: ignore[misc]
    """Numba's own way up to LLVM's code."""

    def define_pipelines(self) -> list[Any]:
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.add_pass_after(_KeepCode, NoPythonSupportedFeatureValidation)
        passes.finalize()
        return [passes]


def _reached(library: CodeLibrary, seen: dict[CodeLibrary, None]) -> None:
    if library not in seen:
        seen[library] = None
        for called in getattr(library, "called", ()):
            _reached(called, seen)


def code(functions: dict[str, Any]) -> tuple[list[str], dict[str, str]]:
    """The LLVM code of compiled functions, by name, and of whatever they call: every piece once.

    Returns
    -------
    texts : list of str
        LLVM modules.
    names : dict
        What C calls each function by in them.
    """
    libraries: dict[CodeLibrary, None] = {}
    names = {}
    for name, function in functions.items():
        (made,) = function.overloads.values()
        _reached(made.library, libraries)
        names[name] = made.fndesc.llvm_cfunc_wrapper_name
    return [text for library in libraries for text in _texts(library)], names


def _texts(library: CodeLibrary) -> list[str]:
    return library.texts if isinstance(library, _Code) else [library.get_llvm_str()]
