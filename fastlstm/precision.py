"""``load(precision="bfloat16")`` and ``"bfloat16x3"``: which form of weights that comes to on this machine."""

from __future__ import annotations

from typing import NamedTuple

from . import logs, runtime
from .program.layout import AMX, FULL, HALVES, SPLIT


class Choice(NamedTuple):
    """What a precision comes to."""

    form: int  # of weights, where they can have it
    used: str  # what those layers then compute in, as ``Model.precision_used`` says it
    why: str = ""  # ... where that is not what was asked for


#: What is asked for, and the form of weights by which AMX gives it; elsewhere another form, and what that is called.
FORMS = {"bfloat16": (AMX, HALVES, "bfloat16 weights"), "bfloat16x3": (SPLIT, FULL, "float32")}


#: What results may be off by, as a part of the largest of an output, beside what float32 may: see docs/precision.md.
BOUNDS = {"bfloat16": 1e-1, "bfloat16 weights": 1e-1, "bfloat16x3": 1e-3}


def chosen(asked: str) -> Choice:
    """What one of ``FORMS`` comes to here, asking the system for AMX."""
    by_amx, otherwise, called = FORMS[asked]
    why = runtime.amx_refused()
    if not why:
        return Choice(by_amx, asked)
    logs.say(logs.INFO, "precision %s: %s; computing in %s", asked, why, called)
    return Choice(otherwise, called, why)
