"""The arithmetic, written in Numba and compiled ahead of time by ``build.py``. A built install never imports this package."""
