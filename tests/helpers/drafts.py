"""Drafts of files of weights alone, judged by the models that they came from.

Every recorded model is stripped of its config, its draft is made, and what the draft marks as a guess is set to what the model's config
has. Then the draft must compute what Keras computed: anything else would be wrong without a mark. As a script it goes through the whole
corpus and prints what came out::

    python tests/helpers/drafts.py [--only REGEX] [--verbose]
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import re
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import golden
import h5py

import fastlstm
from fastlstm.formats.inferring.drafting import Inferred, inferred
from fastlstm.formats.inferring.inventory import inventory
from fastlstm.formats.inferring.writing import MODEL
from fastlstm.formats.reading import hdf5
from fastlstm.formats.reading.marks import KEY
from fastlstm.formats.source import Source
from fastlstm.limits import Budget

AT_ONCE, CONFIRMED, NO_CHAIN, REFUSED = "right at once", "right once confirmed", "no chain, and marked so", "not drafted"
UNREADABLE, WRONG = "refused as the model itself is", "WRONG THOUGH CONFIRMED"
OUTCOMES = (AT_ONCE, CONFIRMED, NO_CHAIN, REFUSED, UNREADABLE, WRONG)


class Judged(NamedTuple):
    """What has come of one file."""

    outcome: str
    detail: str = ""
    wrong: tuple[str, ...] = ()  # the marked arguments whose assumed value was not the true one


def stripped(case: golden.Case) -> tuple[bytes, dict[str, Any]]:
    """The weights of a recorded model alone, as Keras would have saved them, and its config."""
    if case.kind == ".keras":
        with zipfile.ZipFile(case.path) as archive:
            config = json.loads(archive.read("config.json"))
            config["keras_version"] = json.loads(archive.read("metadata.json"))["keras_version"]
            return archive.read("model.weights.h5"), config
    if golden.KINDS.get(case.kind) and case.architecture is not None:
        return case.path.read_bytes(), in_form(json.loads(case.architecture.read_text()))
    with h5py.File(case.path, "r") as model:
        config = json.loads(model.attrs["model_config"])
        config.setdefault("keras_version", str(model.attrs.get("keras_version", "")))
    return weights_of(case.path), config


def weights_of(path: Path) -> bytes:
    """What ``save_weights`` writes of the model in a ``.h5`` file."""
    out = io.BytesIO()
    with h5py.File(path, "r") as model, h5py.File(out, "w") as weights:
        group = model.get("model_weights", model)
        for name in group:
            group.copy(name, weights)
        for key, value in group.attrs.items():
            if key not in ("model_config", "training_config"):
                weights.attrs[key] = value
    return out.getvalue()


def confirmed(draft: str) -> str:
    """A draft of which every line was found right: those lines deleted, as an editor would."""
    return "\n".join(line for line in draft.splitlines() if '"assumed": ' not in line)


def in_form(config: dict[str, Any]) -> dict[str, Any]:
    """A config of Keras 0, whose layers are flat and named by their classes, in the form that came after it."""
    if "config" in config:
        return config
    layers = [
        {"class_name": one["name"], "config": {**one, "name": f"layer_{place}"}} for place, one in enumerate(config.get("layers", ()))
    ]
    return {"class_name": config["name"], "config": layers}


def infer(data: bytes, name: str = "weights.h5") -> Inferred:
    """Infer the model of a file's bytes."""
    with Budget(name, len(data)) as budget, hdf5.opened(Source(name, data=data), budget) as root:
        return inferred(inventory([root], budget))


def entries(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The layers of a model's config, less those that let data in; of nested models in their place."""
    found: list[dict[str, Any]] = []
    inner = config["config"]
    for layer in inner if isinstance(inner, list) else inner["layers"]:
        if isinstance(layer.get("config"), (list, dict)) and ("layers" in layer["config"] or isinstance(layer["config"], list)):
            found += entries(layer)
        elif layer.get("class_name") != "InputLayer":
            found.append(layer)
    return found


def is_chain(config: Mapping[str, Any]) -> bool:
    """Whether each layer of a model is read by the next alone."""
    inner = config["config"]
    layers = inner if isinstance(inner, list) else inner["layers"]
    if any(not is_chain(layer) for layer in layers if isinstance(layer.get("config"), dict) and "layers" in layer["config"]):
        return False
    if isinstance(inner, list) or "input_layers" not in inner:
        return True
    if any(
        "keras.src.ops" in str(layer.get("module")) or "trainable" not in str(layer)
        for layer in layers
        if layer["class_name"] != "InputLayer"
    ):
        return False  # there are operations between its layers
    nodes = json.dumps([layer["inbound_nodes"] for layer in layers])
    read = re.findall(r'"keras_history": \["([^"]+)"', nodes) or re.findall(r'\["([^"]+)", \d+, \d+', nodes)
    outputs = json.dumps(inner["output_layers"])
    single = len(re.findall(r'"[^"]+", \d+, \d+', outputs)) == 1
    straight = all(name == layer["name"] for name, layer in zip(read, layers, strict=False))
    return straight and single and len(read) == len(layers) - 1 and '"mask": {' not in nodes


def named(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The entry of a layer of a model."""
    inner = config["config"]
    layers = inner if isinstance(inner, list) else inner["layers"]
    return next(one for one in layers if one.get("name", one["config"]["name"] if isinstance(one["config"], dict) else "") == name)


def looked_up(entry: Any, path: str) -> Any:
    """An argument of a layer, or of one in it: ``layer.activation``. KeyError where the config does not have it."""
    for step in path.split(".")[:-1]:
        entry = entry[int(step)] if isinstance(entry, list) else entry["config"][step]
    last = path.rsplit(".", 1)[-1]
    if last == "negative_slope" and last not in entry["config"]:
        last = "alpha"  # as all but Keras 3 call it
    return entry[last] if last == "class_name" else entry["config"][last]


def put(entry: Any, path: str, value: Any) -> None:
    """Set what ``looked_up`` finds."""
    for step in path.split(".")[:-1]:
        entry = entry[int(step)] if isinstance(entry, list) else entry["config"][step]
    last = path.rsplit(".", 1)[-1]
    (entry if last == "class_name" else entry["config"])[last] = value


def confirm(draft: Mapping[str, Any], truth: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The draft with every marked value as the true config has it, and the marked arguments that were otherwise."""
    done = {key: copy.deepcopy(value) for key, value in draft.items() if key != KEY}
    ours, theirs = entries(done), entries(truth)
    wrong: list[str] = []
    for mark in draft[KEY]:
        if isinstance(mark, Mapping) and "layers" in mark["assumed"]:  # a model in the model, a part of which the file hides
            whole = copy.deepcopy(named(truth, mark["layer"]))
            if isinstance(whole["config"], list):
                whole["config"] = {"name": mark["layer"], "layers": whole["config"]}
            named(done, mark["layer"]).update(whole)
            wrong.append("layers of a model in the model")
    ours = entries(done)
    for mark in (one for one in draft[KEY] if isinstance(one, Mapping)):
        for argument, value in mark["assumed"].items():
            if mark["layer"] == MODEL and argument == "keras_version":
                done["keras_version"] = truth.get("keras_version") or value
                continue
            numbers = [number for number, entry in enumerate(ours) if entry["config"].get("name") == mark["layer"]]
            if not numbers or argument.startswith("batch"):
                continue
            try:
                true = looked_up(theirs[numbers[0]], argument)
            except (KeyError, IndexError, TypeError):
                continue
            if true != value and [true] != value:
                wrong.append(f"{argument}={value!r} was {true!r}")
            if argument.endswith("class_name"):
                whole = copy.deepcopy(theirs[numbers[0]])
                shape = {key: value for key, value in ours[numbers[0]]["config"].items() if key == "batch_input_shape"}
                ours[numbers[0]].update(class_name=whole["class_name"], config={**shape, **whole["config"], "name": mark["layer"]})
            else:
                put(ours[numbers[0]], argument, true)
    return with_shape(done, truth), wrong


def with_shape(done: dict[str, Any], truth: Mapping[str, Any]) -> dict[str, Any]:
    """The input shape of the true model, where its config states one."""
    found = re.search(r'"batch_(?:input_)?shape": (\[[^\]]*\])', re.sub(r'"input_shape": \[', '"batch_shape": [null, ', json.dumps(truth)))
    stated = re.search(r'"batch_(?:input_)?shape": (\[[^\]]*\]|"\?")', json.dumps(done))
    if found is None or stated is None or (entries(truth)[0]["class_name"] == "Embedding" and "input_shape" in json.dumps(truth)):
        return done  # Keras 0 noted the vocabulary of an Embedding for its input shape
    text = json.dumps(done)
    return json.loads(text[: stated.start(1)] + found[1] + text[stated.end(1) :])


def judged(case: golden.Case) -> Judged:
    """Draft a case and judge it."""
    data, truth = stripped(case)
    try:
        found = infer(data, str(case))
    except fastlstm.FormatError as error:
        return Judged(REFUSED, str(error))
    if found.draft is None:
        return Judged(REFUSED, found.chain.problems[0][2])
    done, wrong = confirm(found.draft, truth)
    if not is_chain(truth):
        marked = any(mark.get("assumed", {}).get("class_name") for mark in found.draft[KEY][:-1] if mark["layer"] == MODEL)
        return Judged(NO_CHAIN if marked else WRONG, "no chain")
    try:
        fastlstm.load(case.path, architecture=case.architecture)
    except fastlstm.UnsupportedError as error:
        return Judged(UNREADABLE, str(error))
    try:
        model = fastlstm.load(data, architecture=done)
        complaint, _ = golden.compare(case, model)
    except Exception as error:  # noqa: BLE001  whatever it raises is this draft's failure
        return Judged(WRONG, f"{type(error).__name__}: {error}", tuple(wrong))
    if complaint:
        return Judged(WRONG, complaint, tuple(wrong))
    return Judged(CONFIRMED if wrong else AT_ONCE, "", tuple(wrong))


def every_case(*folders: Path, only: str = "") -> Iterator[golden.Case]:
    """The recorded models that lie unpacked in some folders, but for those that operations alone were recorded with."""
    for case in golden.cases(*folders):
        if re.search(only, str(case)) and not case.generation.startswith("operations-"):
            yield case


def main() -> int:
    """Go through the corpus."""
    parser = argparse.ArgumentParser(description="Draft the architecture of every recorded model from its weights alone.")
    parser.add_argument("--only", default="", metavar="REGEX", help="cases whose GENERATION/CASE.ending matches")
    parser.add_argument("--verbose", action="store_true", help="a line for each case")
    arguments = parser.parse_args()
    counts: dict[str, Counter[str]] = {}
    reasons: Counter[str] = Counter()
    marked: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        roots = [golden.OWN, *filter(None, [golden.corpus()])]
        for archives in roots:
            golden.unpack(archives, Path(folder))
        for case in every_case(*roots, Path(folder), only=arguments.only):
            result = judged(case)
            counts.setdefault(case.generation, Counter())[result.outcome] += 1
            marked.update(one.split("=")[0].rsplit(".", 1)[-1] for one in result.wrong)
            if result.outcome == REFUSED:
                reasons[re.sub(r"'[^']*'|\d+|\([\d, ]*\)", "_", result.detail)[:110]] += 1
            if arguments.verbose or result.outcome == WRONG:
                print(f"{result.outcome}: {case}: {result.detail[:300]} {'; '.join(result.wrong)[:200]}")
    for generation, row in [*sorted(counts.items()), ("all", sum(counts.values(), Counter()))]:
        print(f"{generation:<28}" + "  ".join(f"{outcome} {row[outcome]}" for outcome in OUTCOMES))
    print("not drafted:", *(f"\n  {count:4} {reason}" for reason, count in reasons.most_common(40)))
    print("assumed otherwise, and marked:", ", ".join(f"{name} {count}" for name, count in marked.most_common()))
    return 1 if any(row[WRONG] for row in counts.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
