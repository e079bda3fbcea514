"""YAML from untrusted files, as ``model.to_yaml()`` wrote it up to tf.keras 2.2: of bounded size, depth and expansion, without objects.

YAML names parts of a text and repeats them by those names, so a text of a kilobyte can stand for gigabytes; and its tags can ask for any
object of Python. So the text is surveyed before anything is made of it, and what it says becomes JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from ...errors import FormatError, InputError
from ...limits import JSON_DEPTH, SPREAD, Budget
from .jsontext import DIGITS, parse_json

#: Characters of a text; a model of a thousand layers takes one million.
LARGEST = 8 << 20
#: Up to here it does no harm if a text stands for more than it has.
EXPANSION_FREE = 1 << 20
#: Bytes of memory that PyYAML takes for each value in a text.
NODE = 1500
#: What PyYAML raises, besides its own errors, on texts that are no numbers, no flags or too deep.
ODD = (LookupError, ValueError, TypeError, ArithmeticError, RecursionError)
CLASS_NAME = re.compile(r"^class_name[ \t]*:", re.MULTILINE)
YAML, PYTHON = "tag:yaml.org,2002:", "tag:yaml.org,2002:python/"
#: How the loader makes what a tag stands for, by the names of its methods.
PLAIN = {YAML + kind: f"construct_yaml_{kind}" for kind in ("null", "bool", "int", "float", "str", "seq", "map")}
#: What Python wrote with a tag of its own, and JSON holds all the same. Dates are names that look like dates.
MEANT = {
    PYTHON + "tuple": "seq", PYTHON + "list": "seq", PYTHON + "dict": "map", PYTHON + "unicode": "str", PYTHON + "str": "str",
    PYTHON + "none": "null", PYTHON + "bool": "bool", PYTHON + "int": "int", PYTHON + "long": "int", PYTHON + "float": "float",
    YAML + "timestamp": "str", YAML + "value": "str",
}  # fmt: skip
#: Objects that hold their only argument: tf.keras 2.2 wrote shapes so.
HOLDERS = tuple(f"{PYTHON}object/apply:tensorflow.python.framework.tensor_shape.{name}" for name in ("TensorShape", "Dimension"))
KNOWN = frozenset({None, "!", *PLAIN, *MEANT, *HOLDERS})


def is_yaml(text: str) -> bool:
    """Whether a text is a model as YAML, by its looks."""
    return "\n" in text and CLASS_NAME.search(text) is not None


def library() -> Any:
    """PyYAML.

    Raises
    ------
    InputError
        If it is not installed.
    """
    try:
        import yaml
    except ImportError as error:
        raise InputError('architecture: YAML is read with PyYAML, which is not installed; pip install "fastlstm[yaml]"') from error
    return yaml


def parse_yaml(text: str, budget: Budget, place: str) -> Any:
    """What a text holds, as JSON would.

    Raises
    ------
    FormatError
        If it is not YAML, too large or too deep, stands for too much, or asks for objects.
    InputError
        If PyYAML is not installed.
    """
    yaml, where = library(), f"{budget.source}: {place}"
    if len(text) > LARGEST:
        raise FormatError(f"{where}: {len(text)} characters of YAML, more than {LARGEST}")
    loader = loader_of(yaml)
    found = Survey(where, max(EXPANSION_FREE, SPREAD * len(text)))
    try:
        found.walk(yaml, yaml.parse(text, Loader=loader))
        budget.lend(place, NODE * found.nodes + found.total)
        value = json.dumps(yaml.load(text, Loader=loader))
    except (yaml.YAMLError, *ODD) as error:
        raise FormatError(f"{where}: not YAML that stands for JSON ({' '.join(str(error).split())[:300]})") from error
    return parse_json(value, budget, place)


def loader_of(yaml: Any) -> Any:
    """PyYAML's safe loader, the one in C if it is there, for no more than what JSON holds."""
    base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    known: dict[str, Callable[..., Any]] = {tag: getattr(base, method) for tag, method in PLAIN.items()}
    known.update({tag: known[YAML + kind] for tag, kind in MEANT.items()})
    known.update(dict.fromkeys(HOLDERS, held))
    return type("Loader", (base,), {"yaml_constructors": known})


def held(loader: Any, node: Any) -> Any:
    """The only argument of an object that holds it."""
    arguments = loader.construct_sequence(node, deep=True)
    if len(arguments) != 1:
        raise ValueError(f"a shape of {len(arguments)} arguments")
    return arguments[0]


@dataclass
class Survey:
    """A walk through a text's events, which makes nothing of them."""

    where: str
    most: int  # characters that it may stand for
    nodes: int = 0
    total: int = 0
    named: dict[str, int] = field(default_factory=dict)  # the characters that each named part stands for
    open: list[tuple[str | None, int]] = field(default_factory=list)  # the collections around, their names and what there was before each

    def walk(self, yaml: Any, events: Iterable[Any]) -> None:
        """Refuse a text that stands for too much, is too deep, or asks for objects."""
        documents = 0
        for event in events:
            if isinstance(event, yaml.events.CollectionStartEvent):
                self.begin(event)
            elif isinstance(event, yaml.events.CollectionEndEvent):
                self.end(*self.open.pop())
            elif isinstance(event, yaml.events.ScalarEvent):
                self.scalar(event)
            elif isinstance(event, yaml.events.AliasEvent):
                self.alias(event.anchor)
            documents += isinstance(event, yaml.events.DocumentStartEvent)
        if documents != 1:
            raise FormatError(f"{self.where}: expected one YAML document, found {documents}")

    def begin(self, event: Any) -> None:
        """A list or object begins."""
        self.tag(event.tag)
        self.named.pop(event.anchor, None)  # whoever repeats it inside itself repeats it for ever
        self.open.append((event.anchor, self.total))
        self.add(1)
        if len(self.open) > JSON_DEPTH:
            raise FormatError(f"{self.where}: YAML nested more than {JSON_DEPTH} deep")

    def end(self, name: str | None, before: int) -> None:
        """It ends."""
        if name is not None:
            self.named[name] = self.total - before

    def scalar(self, event: Any) -> None:
        """A text, number or the like."""
        self.tag(event.tag)
        text = event.value
        if len(text) > DIGITS and (event.tag is not None or event.implicit[0]) and text[0] in "+-.0123456789":
            raise FormatError(f"{self.where}: a number of {len(text)} digits")
        self.add(len(text) + 1)
        self.end(event.anchor, self.total - len(text) - 1)

    def alias(self, name: str) -> None:
        """A named part again."""
        if name not in self.named:
            raise FormatError(f"{self.where}: *{name[:200]} repeats what is not there, or itself")
        self.add(self.named[name])

    def add(self, characters: int) -> None:
        """Account for what the text stands for."""
        self.nodes += 1
        self.total += characters
        if self.total > self.most:
            raise FormatError(f"{self.where}: by its aliases the text stands for more than {self.most} characters; no model's does")

    def tag(self, tag: str | None) -> None:
        """Refuse what stands for an object."""
        if tag not in KNOWN:
            raise FormatError(
                f"{self.where}: the tag {tag[:200] if tag else tag} asks for an object that JSON does not hold, and none is ever made; "
                "save what model.to_json() gives instead"
            )
