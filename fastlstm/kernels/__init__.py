"""The arithmetic, written in Numba and compiled ahead of time by ``compile.py``. A built install never imports this package.

From the ground up: ``target`` (the CPU level) and ``flags`` (how Numba compiles), ``intrinsics``, ``vector`` and ``memory`` (what Numba
lacks), ``callbacks`` (into the runtime), ``elementary`` and ``activation`` (functions of a vector), ``tile`` (a matrix product in
registers), ``layout`` and ``sweep`` (over all weights), ``blocks`` and ``sequence`` (what cells share); then the kernels: ``lstm``,
``gru``, ``simple_rnn``, ``dense``, ``elementwise`` and ``pooling``, and those of operations on tensors, ``rearranging``,
``arithmetic``, ``reductions`` and ``product`` (with a ``data_tile`` of its own). ``registry`` lists them, ``jit`` compiles them for
this very CPU.
"""
