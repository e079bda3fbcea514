"""The most that a core of this machine can do: multiply-adds from registers, and bytes from each cache. Needs ``fastlstm[jit]``."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

#: Working sets well within L1 and L2, and one that only L3 holds; bytes.
SETS = {"L1": 16 << 10, "L2": 512 << 10, "L3": 12 << 20}


class Peaks(NamedTuple):
    """Of one core."""

    multiply_adds: float  # a second
    bandwidth: dict[str, float]  # bytes a second read from each cache
    lanes: int


def peaks(seconds: float = 0.2) -> Peaks:
    """Measure, best of several rounds."""
    from fastlstm.kernels.target import host

    level = host()
    chains = 24 if level.registers >= 32 else 12
    functions = compiled(level.lanes, chains, level.cpu, level.features)
    values = np.full(3 * level.lanes, 0.5, np.float32)
    loops = 200_000
    multiply_adds = loops * chains * level.lanes / fastest(lambda: functions["fma"](values.ctypes.data, loops), seconds)
    bandwidth = {}
    for name, size in SETS.items():
        block = np.zeros(size // 4 + 16, np.float32)
        address = -(-block.ctypes.data // 64) * 64
        unrolled = 8 * level.lanes * 4
        rounds = max(1, (64 << 20) // size)
        took = fastest(lambda at=address, n=size // unrolled, r=rounds: functions["read"](at, n, r), seconds)
        bandwidth[name] = rounds * (size // unrolled * unrolled) / took
    return Peaks(multiply_adds, bandwidth, level.lanes)


def fastest(call: Callable[[], Any], seconds: float) -> float:
    """Least time of a call."""
    best, end = np.inf, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return float(best)


def compiled(lanes: int, chains: int, cpu: str, features: str) -> dict[str, Callable[..., Any]]:
    """``fma(values, loops)``: independent chains of multiply-adds in registers; ``read(block, vectors8, rounds)``: loads only."""
    import llvmlite.binding as llvm
    from llvmlite import ir

    module = ir.Module("peaks")
    _multiply_adds(module, lanes, chains)
    _reads(module, lanes)
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(cpu=cpu, features=features, opt=2)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(str(module)), machine)
    engine.finalize_object()
    types = {"fma": ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 2), "read": ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 3)}
    functions: dict[str, Callable[..., Any]] = {name: kind(engine.get_function_address(name)) for name, kind in types.items()}
    functions["owner"] = lambda: engine  # keeps the code in memory
    return functions


def _multiply_adds(module: Any, lanes: int, chains: int) -> None:
    """Write the function ``fma``."""
    from llvmlite import ir

    vector, i64, void = ir.VectorType(ir.FloatType(), lanes), ir.IntType(64), ir.VoidType()
    fma = ir.Function(module, ir.FunctionType(vector, [vector] * 3), f"llvm.fmuladd.v{lanes}f32")  # two instructions where there is no one

    function = ir.Function(module, ir.FunctionType(void, [i64, i64]), "fma")
    b = ir.IRBuilder(function.append_basic_block())
    pointer = b.inttoptr(function.args[0], vector.as_pointer())
    factor, term, start = (b.load(b.gep(pointer, [i64(n)]), align=4) for n in range(3))
    before, loop, after = b.block, function.append_basic_block(), function.append_basic_block()
    b.branch(loop)
    b.position_at_end(loop)
    count = b.phi(i64)
    sums = [b.phi(vector) for _ in range(chains)]
    # Factors alternate, so that no chain can be found to equal another.
    updated = [b.call(fma, [value, factor if n % 2 else term, start]) for n, value in enumerate(sums)]
    _loop(b, count, function.args[1], before, loop, after)
    for n, (value, new) in enumerate(zip(sums, updated, strict=True)):
        first = ir.Constant(vector, [ir.Constant(ir.FloatType(), float(n))] * lanes)
        value.add_incoming(first, before)
        value.add_incoming(new, loop)
    _store_sum(b, after, updated, pointer)


def _reads(module: Any, lanes: int) -> None:
    """Write the function ``read``."""
    from llvmlite import ir

    vector, i64, void = ir.VectorType(ir.FloatType(), lanes), ir.IntType(64), ir.VoidType()
    function = ir.Function(module, ir.FunctionType(void, [i64, i64, i64]), "read")
    b = ir.IRBuilder(function.append_basic_block())
    before, outer, loop = b.block, function.append_basic_block(), function.append_basic_block()
    following, after = function.append_basic_block(), function.append_basic_block()
    zero = ir.Constant(vector, [ir.Constant(ir.FloatType(), 0.0)] * lanes)
    b.branch(outer)
    b.position_at_end(outer)
    rounds = b.phi(i64)
    kept = [b.phi(vector) for _ in range(8)]
    b.branch(loop)
    b.position_at_end(loop)
    count = b.phi(i64)
    sums = [b.phi(vector) for _ in range(8)]
    base = b.add(function.args[0], b.mul(count, i64(8 * lanes * 4)))
    pointer = b.inttoptr(base, vector.as_pointer())
    updated = [b.fadd(value, b.load(b.gep(pointer, [i64(n)]), align=4)) for n, value in enumerate(sums)]
    _loop(b, count, function.args[1], outer, loop, following)
    b.position_at_end(following)
    _loop(b, rounds, function.args[2], before, following, after, target=outer)
    for value, outermost, new in zip(sums, kept, updated, strict=True):
        outermost.add_incoming(zero, before)
        outermost.add_incoming(new, following)
        value.add_incoming(outermost, outer)
        value.add_incoming(new, loop)
    b.position_at_end(after)
    _store_sum(b, after, updated, b.inttoptr(function.args[0], vector.as_pointer()))


def _loop(b: Any, count: Any, end: Any, before: Any, block: Any, after: Any, target: Any = None) -> None:
    """Count to ``end`` and go back."""
    more = b.add(count, count.type(1))
    count.add_incoming(count.type(0), before)
    count.add_incoming(more, block)
    b.cbranch(b.icmp_signed("<", more, end), target or block, after)


def _store_sum(b: Any, block: Any, values: list[Any], pointer: Any) -> None:
    """Use what was computed, so that it is computed."""
    b.position_at_end(block)
    total = values[0]
    for value in values[1:]:
        total = b.fadd(total, value)
    b.store(total, pointer, align=4)
    b.ret_void()
