"""Every generation of Keras that the page of differences speaks of, by what its files say of themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from fastlstm.formats.reading.dialect import Dialect, dialect

#: Of each minor version one, and both sides of every change within one.
KERAS = """
    0.3.3 1.0.8 1.2.2 2.0.0 2.0.9 2.1.2 2.1.3 2.1.4 2.1.5 2.1.6 2.2.0 2.2.2 2.2.3 2.2.4 2.2.5 2.3.0 2.3.1
    3.0.5 3.1.1 3.2.1 3.3.3 3.4.1 3.5.0 3.6.0 3.7.0 3.8.0 3.9.2 3.10.0 3.11.3 3.12.0 3.13.2 3.14.0 3.15.1
""".split()  # noqa: SIM905 - thirty versions in quotes would be harder to read
#: TensorFlow's version, and what a file of its Keras says.
TENSORFLOW = {
    "1.3": "2.0.6-tf", "1.4": "2.0.8-tf", "1.5": "2.1.2-tf", "1.6": "2.1.3-tf", "1.7": "2.1.4-tf", "1.8": "2.1.5-tf", "1.9": "2.1.6-tf",
    "1.10": "2.1.6-tf", "1.11": "2.1.6-tf", "1.12": "2.1.6-tf", "1.13": "2.2.4-tf", "1.14": "2.2.4-tf", "1.15": "2.2.4-tf",
    "2.0": "2.2.4-tf", "2.1": "2.2.4-tf", "2.2": "2.3.0-tf", "2.3": "2.4.0", **{f"2.{n}": f"2.{n}.0" for n in range(4, 22)},
}  # fmt: skip


class Generation(NamedTuple):
    """A Keras: its family ("Keras", or "TF" for the one inside TensorFlow and tf_keras), version and backend."""

    family: str
    numbers: tuple[int, ...]
    backend: str

    def __str__(self) -> str:
        return f"{self.family} {'.'.join(map(str, self.numbers))} on {self.backend}"

    def dialect(self) -> Dialect:
        """How its files are understood."""
        text = ".".join(map(str, self.numbers))
        if self.family == "Keras":
            config = {"layers": [], "class_name": "Sequential"} if self.numbers[0] == 1 else {}
            return dialect(text, self.backend, config, "")
        rate = {"1.13": "lr", "1.14": "learning_rate"}.get(text)
        return dialect(TENSORFLOW[text], self.backend, self.config(), "", f'{{"{rate}": 0.1}}' if rate else None)

    def config(self) -> dict[str, Any]:
        """A model's config, with what a version of TensorFlow wrote and others did not."""
        first = self.numbers < (2, 0)
        initializer = {"class_name": "Zeros", "config": {"dtype": "float32"} if first else {}}
        start: dict[str, Any] = {"bias_initializer": initializer, "name": "x"}
        if self.numbers == (1, 15) or self.numbers >= (2, 1):
            start["ragged"] = False
        layers = [{"class_name": "InputLayer", "config": start}]
        return {"class_name": "Sequential", "config": layers if self.numbers < (1, 11) else {"layers": layers}}


def all_generations() -> Iterator[Generation]:
    """Every generation, on every backend that changes anything."""
    for text in KERAS:
        numbers = tuple(map(int, text.split(".")))
        for backend in ("tensorflow", "theano" if numbers < (3,) else "jax"):
            yield Generation("Keras", numbers, backend)
    for text in TENSORFLOW:
        yield Generation("TF", tuple(map(int, text.split("."))), "tensorflow")


WORDS = re.compile(r"(Keras|TF)(?: (?:(up to|from) )?([\d.]+)(?:–([\d.]+))?)?(?: on (\w+))?")


class Named(NamedTuple):
    """Generations as a row of the page names them: ``Keras up to 2.2.4``, ``TF 1.4–1.12``, ``Keras 3 on JAX``."""

    family: str
    low: tuple[int, ...]
    high: tuple[int, ...]
    backend: str | None

    @classmethod
    def read(cls, text: str) -> Named:
        """One part of a row's first cell."""
        found = WORDS.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"not understood: {text!r}")
        family, word, first, last, backend = found.groups()
        one = tuple(map(int, first.split("."))) if first else ()
        low = () if word == "up to" else one
        high = tuple(map(int, last.split("."))) if last else () if word == "from" else one
        return cls(family, low, high, backend.lower() if backend else None)

    def holds(self, generation: Generation) -> bool:
        """Whether it names a generation."""
        low, high = self.low, self.high
        return (
            generation.family == self.family
            and (not low or generation.numbers >= low)
            and (not high or generation.numbers[: len(high)] <= high)
            and self.backend in (None, generation.backend)
        )
