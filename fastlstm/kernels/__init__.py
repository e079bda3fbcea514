"""The arithmetic, written in Numba and compiled ahead of time by ``compile.py``. A built install never imports this package."""
