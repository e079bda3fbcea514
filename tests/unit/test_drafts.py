"""Files of weights alone: what their names and shapes tell, what is marked, and that no guess computes anything unnoticed."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import drafts
import h5_files
import h5py
import keras3_files
import numpy as np
import pytest

import fastlstm
from fastlstm.catalogue import ROWS, Role
from fastlstm.cli.main import main
from fastlstm.formats.inferring import signatures
from fastlstm.formats.inferring.signatures import CLASSES, NEEDED
from fastlstm.formats.reading.dialect import dialect
from fastlstm.formats.reading.marks import KEY
from fastlstm.layers import REGISTRY
from fastlstm.layers.base import INERT

RNG = np.random.default_rng(7)
#: Weights by the names that Keras gives them: {layer: {array: shape}}.
Shapes = dict[str, dict[str, tuple[int, ...]]]


def written(shapes: Shapes, version: str = "2.3.1", backend: str = "tensorflow", dtype: str = "float32") -> bytes:
    """A file of weights in the layout of Keras 1 to 3."""
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        if version:
            file.attrs["keras_version"], file.attrs["backend"] = version, backend
        file.attrs["layer_names"] = [name.encode() for name in shapes]
        for name, arrays in shapes.items():
            group = file.create_group(name)
            group.attrs["weight_names"] = [array.encode() for array in arrays] if arrays else np.zeros((0,))
            for array, shape in arrays.items():
                group[array] = RNG.normal(size=shape).astype(dtype)
    return out.getvalue()


def dense(name: str, features: int, units: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}/kernel:0": (features, units), f"{name}/bias:0": (units,)}


def loop(name: str, features: int, units: int, gates: int = 4, bias: tuple[int, ...] | None = None) -> dict[str, tuple[int, ...]]:
    width = gates * units
    return {
        f"{name}/kernel:0": (features, width),
        f"{name}/recurrent_kernel:0": (units, width),
        f"{name}/bias:0": (width,) if bias is None else bias,
    }


def told(data: bytes) -> dict[str, tuple[str, int | None, dict[str, Any]]]:
    """Class, features and arguments of each layer, by its name."""
    found = fastlstm.draft_architecture(data)
    return {one.name: (one.class_name, one.reads, {**one.told}) for one in found.layers}


def assumed(data: bytes) -> dict[str, dict[str, Any]]:
    """What the draft's marks say, by layer."""
    found: dict[str, dict[str, Any]] = {}
    for name, values, _ in fastlstm.draft_architecture(data).assumed:
        found.setdefault(name, {}).update(values)
    return found


# -- from a file to numbers -------------------------------------------------------------------------------------------------------


def small_model(path: Path) -> Path:
    """A classifier of ids whose arguments are not all Keras's defaults."""
    forward = h5_files.recurrent("LSTM", 3, 4, RNG, return_sequences=True)
    return h5_files.save(
        path,
        [
            h5_files.embedding(11, 4, RNG, mask_zero=True),
            h5_files.bidirectional(forward, h5_files.recurrent("LSTM", 3, 4, RNG).weights),
            h5_files.dropout(),
            h5_files.recurrent("GRU", 5, 6, RNG, activation="relu"),
            h5_files.dense(2, 5, RNG, "softmax"),
        ],
        (None,),
    )  # fmt: skip


#: The names of its arrays, in order.
NAMES = [
    ["embeddings"], [f"{way}_lstm/{one}" for way in ("forward", "backward") for one in ("kernel", "recurrent_kernel", "bias")], [],
    ["kernel", "recurrent_kernel", "bias"], ["kernel", "bias"],
]  # fmt: skip


def weights_of(path: Path) -> bytes:
    """Its weights alone, under the names that Keras gives them."""
    data = io.BytesIO(drafts.weights_of(path))
    with h5py.File(data, "r+") as file:
        for layer_name, names in zip(file.attrs["layer_names"], NAMES, strict=True):
            group = file[layer_name]
            arrays = [group[name][...] for name in group.attrs["weight_names"]]
            kept = [f"{layer_name.decode()}/{name}:0" for name in names]
            for name, array in zip(kept, arrays, strict=True):
                group[name] = array
            group.attrs["weight_names"] = [name.encode() for name in kept] or np.zeros((0,))
    return data.getvalue()


def test_a_draft_gives_the_numbers_of_the_model_once_it_is_corrected_and_confirmed(tmp_path: Path) -> None:
    path = small_model(tmp_path / "m.h5")
    weights = tmp_path / "weights.h5"
    weights.write_bytes(weights_of(path))
    draft = fastlstm.draft_architecture(weights).to_json()
    (tmp_path / "model.json").write_text(draft)
    with pytest.raises(fastlstm.FormatError, match=r"lines of it are still to be confirmed:(.|\n)*'gru_4': activation='tanh'"):
        fastlstm.load(weights, architecture=tmp_path / "model.json")
    text = drafts.confirmed(draft)
    text = text.replace('"mask_zero": false', '"mask_zero": true')
    head, tail = text.split('"gru_4"')
    tail = tail.replace('"activation": "tanh"', '"activation": "relu"', 1).replace('"activation": "linear"', '"activation": "softmax"')
    (tmp_path / "model.json").write_text(f'{head}"gru_4"{tail}')
    ids = RNG.integers(0, 11, (6, 9))
    model = fastlstm.load(weights, architecture=tmp_path / "model.json")
    np.testing.assert_array_equal(model.predict(ids), fastlstm.load(path).predict(ids))


def test_what_is_told_and_what_is_assumed(tmp_path: Path) -> None:
    data = weights_of(small_model(tmp_path / "m.h5"))
    found, marks = told(data), assumed(data)
    assert [one[0] for one in found.values()] == ["Embedding", "Bidirectional", "Dropout", "GRU", "Dense"]
    assert found["embedding_1"] == ("Embedding", None, {"input_dim": 11, "output_dim": 4})
    assert found["gru_4"] == ("GRU", 6, {"units": 5, "use_bias": True, "reset_after": False})
    name, reads, arguments = found["bidirectional_2"]
    assert (name, reads, arguments["layer"], arguments["layer.units"], arguments["merge_mode"]) == ("Bidirectional", 4, "LSTM", 3, "concat")
    assert arguments["layer.return_sequences"] is True  # as a GRU reads it
    assert marks["embedding_1"] == {"batch_input_shape": [None, None], "mask_zero": False}
    assert marks["gru_4"] == {
        "activation": "tanh", "recurrent_activation": "sigmoid", "go_backwards": False, "stateful": False, "return_sequences": False,
    }  # fmt: skip
    assert marks["dense_5"] == {"activation": "linear"}
    assert "dropout_3" not in marks


@pytest.mark.parametrize("left", [1, 2, 4])
def test_a_draft_is_not_loaded_while_any_line_is_left(tmp_path: Path, left: int) -> None:
    data = weights_of(small_model(tmp_path / "m.h5"))
    draft = json.loads(fastlstm.draft_architecture(data).to_json())
    draft[KEY] = draft[KEY][-1 - left :]
    with pytest.raises(fastlstm.FormatError, match="1 line of it is" if left == 1 else f"{left} lines of it are"):
        fastlstm.load(data, architecture=draft)
    for marks in ([], draft[KEY][-1:]):
        assert fastlstm.load(data, architecture={**draft, KEY: marks}).count_params() == 428
    with pytest.raises(fastlstm.FormatError, match=f"{KEY}: expected the list of what the draft assumes, found 7"):
        fastlstm.load(data, architecture={**draft, KEY: 7})
    for odd in (3, None, {}, {"assumed": 1}, [[]]):
        with pytest.raises(fastlstm.FormatError, match="still to be confirmed"):
            fastlstm.load(data, architecture={**draft, KEY: [odd]})
        with pytest.raises(fastlstm.FormatError, match="still to be confirmed"):
            fastlstm.load(data, architecture={**draft, KEY: [odd]}, isolated=True)


def needing() -> list[str]:
    return [name for name, one in CLASSES.items() if NEEDED in one.untold.values()]


@pytest.mark.parametrize("kind", needing())
def test_what_has_no_default_is_never_overlooked(kind: str) -> None:
    """Deleting the line without filling in a value does not make a model of it."""
    name = kind.lower()
    data = written({"lstm_1": loop("lstm_1", 3, 4), f"{named_as(kind)}_1": {}, "dense_1": dense("dense_1", 4, 2)}, "2.15.0")
    found = fastlstm.draft_architecture(data)
    assert [one.class_name for one in found.layers] == ["LSTM", kind, "Dense"], name
    text = drafts.confirmed(found.to_json())
    assert f'"{NEEDED}"' in text
    with pytest.raises(fastlstm.FastLSTMError):
        fastlstm.load(data, architecture=text).predict(np.zeros((1, 5, 3), np.float32))


def named_as(kind: str) -> str:
    return {"RepeatVector": "repeat_vector"}.get(kind, kind.lower())


# -- classes and arguments --------------------------------------------------------------------------------------------------------


CASES: dict[str, tuple[Shapes, str, str, dict[str, Any]]] = {
    "lstm": ({"encoder": loop("encoder", 3, 4)}, "encoder", "LSTM", {"units": 4, "use_bias": True}),
    "gru of Keras 3": ({"gru": loop("gru", 3, 4, 3, (2, 12))}, "gru", "GRU", {"units": 4, "use_bias": True, "reset_after": True}),
    "simple": ({"simple_rnn": loop("simple_rnn", 3, 4, 1)}, "simple_rnn", "SimpleRNN", {"units": 4, "use_bias": True}),
    "cudnn": ({"cu_dnnlstm_1": loop("cu_dnnlstm_1", 3, 4, 4, (32,))}, "cu_dnnlstm_1", "CuDNNLSTM", {"units": 4}),
    "cudnn under another name": ({"a": loop("a", 3, 4, 3, (24,))}, "a", "CuDNNGRU", {"units": 4}),
    "dense": ({"out": {"out/kernel:0": (3, 2)}}, "out", "Dense", {"units": 2, "use_bias": False}),
    "conv": (
        {"conv1d": {"conv1d/kernel:0": (5, 3, 7), "conv1d/bias:0": (7,)}}, "conv1d", "Conv1D",
        {"filters": 7, "kernel_size": [5], "use_bias": True},
    ),
    "images": (
        {"c": {"c/kernel:0": (5, 4, 3, 7), "c/bias:0": (7,)}}, "c", "Conv2D", {"filters": 7, "kernel_size": [5, 4], "use_bias": True},
    ),
    "transposed": (
        {"conv2d_transpose": {"conv2d_transpose/kernel:0": (5, 4, 7, 3), "conv2d_transpose/bias:0": (7,)}}, "conv2d_transpose",
        "Conv2DTranspose", {"filters": 7, "kernel_size": [5, 4], "use_bias": True},
    ),
    "separable": (
        {"s": {"s/depthwise_kernel:0": (5, 3, 2), "s/pointwise_kernel:0": (1, 6, 7), "s/bias:0": (7,)}}, "s", "SeparableConv1D",
        {"filters": 7, "kernel_size": [5], "depth_multiplier": 2, "use_bias": True},
    ),
    "depthwise": (
        {"d": {"d/depthwise_kernel:0": (5, 4, 3, 2), "d/bias:0": (6,)}}, "d", "DepthwiseConv2D",
        {"kernel_size": [5, 4], "depth_multiplier": 2, "use_bias": True},
    ),
    "conv lstm": (
        {"conv_lst_m2d_1": loop("conv_lst_m2d_1", 3, 4) | {
            "conv_lst_m2d_1/kernel:0": (3, 2, 5, 16), "conv_lst_m2d_1/recurrent_kernel:0": (3, 2, 4, 16)}}, "conv_lst_m2d_1", "ConvLSTM2D",
        {"filters": 4, "kernel_size": [3, 2], "use_bias": True},
    ),
    "batch": (
        {"b": {f"b/{name}:0": (3,) for name in ("gamma", "beta", "moving_mean", "moving_variance")}}, "b", "BatchNormalization",
        {"scale": True, "center": True},
    ),
    "batch without scale": (
        {"b": {f"b/{name}:0": (3,) for name in ("beta", "moving_mean", "moving_variance")}}, "b", "BatchNormalization",
        {"scale": False, "center": True},
    ),
    "layer": (
        {"layer_normalization": {f"layer_normalization/{name}:0": (3,) for name in ("gamma", "beta")}}, "layer_normalization",
        "LayerNormalization", {"scale": True, "center": True},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_layer_is_told(case: str) -> None:
    shapes, name, kind, arguments = CASES[case]
    found = told(written(shapes, "2.15.0"))[name]
    assert found[0] == kind
    assert {key: found[2].get(key) for key in arguments} == arguments


def test_a_name_of_another_class_does_not_mislead() -> None:
    found = told(written({"lstm_1": dense("lstm_1", 3, 4), "dense_1": loop("dense_1", 4, 5)}))
    assert [one[0] for one in found.values()] == ["Dense", "LSTM"]


def test_keras_1_keeps_gates_apart() -> None:
    gates = {f"lstm_1_{kind}_{gate}:0": shape for gate in "icfo" for kind, shape in (("W", (3, 4)), ("U", (4, 4)), ("b", (4,)))}
    data = written({"lstm_1": gates, "dense_1": {"dense_1_W:0": (4, 2), "dense_1_b:0": (2,)}}, "")
    draft = json.loads(fastlstm.draft_architecture(data).to_json())
    lstm, out = draft["config"]
    assert lstm["config"] | {"output_dim": 4, "inner_activation": "hard_sigmoid", "consume_less": "cpu"} == lstm["config"]
    assert out["config"]["output_dim"] == 2
    assert assumed(data)["lstm_1"]["inner_activation"] == "hard_sigmoid"
    assert fastlstm.load(data, architecture={**draft, KEY: []}).predict(np.zeros((2, 5, 3), np.float32)).shape == (2, 2)


def test_the_layout_of_keras_0_has_no_names() -> None:
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        file.attrs["nb_layers"] = 3
        for number, shapes in enumerate([[(9, 3)], [(3, 4), (4, 4), (4,)] * 3, [(4, 2), (2,)]]):
            group = file.create_group(f"layer_{number}")
            group.attrs["nb_params"] = len(shapes)
            for place, shape in enumerate(shapes):
                group[f"param_{place}"] = RNG.normal(size=shape).astype(np.float32)
    found = fastlstm.draft_architecture(out.getvalue())
    assert [one.class_name for one in found.layers] == ["Embedding", "GRU", "Dense"]
    assert all("class_name" in one.assumed for one in found.layers)
    model = fastlstm.load(out.getvalue(), architecture=drafts.confirmed(found.to_json()))
    assert model.predict(np.ones((2, 5), np.int32)).shape == (2, 2)


def test_a_layer_that_nothing_tells_is_assumed_to_do_nothing_or_to_flatten() -> None:
    data = written({"lstm": loop("lstm", 3, 4), "mine": {}, "dense": dense("dense", 4, 2)})
    assert assumed(data)["mine"]["class_name"] == "Activation"
    data = written({"lstm": loop("lstm", 3, 4), "mine": {}, "dense": dense("dense", 24, 2)})
    marks = assumed(data)
    assert (marks["mine"]["class_name"], marks["lstm"]["return_sequences"], marks["lstm"]["batch_input_shape"]) == (
        "Flatten", True, [None, 6, 3],
    )  # fmt: skip


def test_directions_are_added_where_the_next_layer_reads_the_units_of_one() -> None:
    both = {f"bidirectional/{way}_lstm/{name.split('/')[1]}": shape for way in ("forward", "backward")
            for name, shape in loop("x", 3, 4).items()}  # fmt: skip
    assert assumed(written({"bidirectional": both, "dense": dense("dense", 4, 2)}))["bidirectional"]["merge_mode"] == NEEDED
    assert told(written({"bidirectional": both, "dense": dense("dense", 8, 2)}))["bidirectional"][2]["merge_mode"] == "concat"


def test_stacked_cells_and_time_distributed() -> None:
    cells = {"rnn_1/kernel:0": (3, 16), "rnn_1/recurrent_kernel:0": (4, 16), "rnn_1/bias:0": (16,),
             "rnn_1/kernel_1:0": (4, 15), "rnn_1/recurrent_kernel_1:0": (5, 15), "rnn_1/bias_1:0": (15,)}  # fmt: skip
    data = written({"rnn_1": cells, "time_distributed_1": dense("time_distributed_1", 5, 2)})
    found = told(data)
    assert (found["rnn_1"][2]["cells.0"], found["rnn_1"][2]["cells.1"]) == ("LSTMCell", "GRUCell")
    assert found["rnn_1"][2]["return_sequences"] is True  # TimeDistributed reads timesteps
    model = fastlstm.load(data, architecture=drafts.confirmed(fastlstm.draft_architecture(data).to_json()))
    assert model.predict(np.zeros((2, 6, 3), np.float32)).shape == (2, 6, 2)


def test_float64_is_told() -> None:
    data = written({"lstm": loop("lstm", 3, 4)}, dtype="float64")
    assert json.loads(fastlstm.draft_architecture(data).to_json())["config"]["layers"][0]["config"]["dtype"] == "float64"


# -- trees ------------------------------------------------------------------------------------------------------------------------


def tree() -> dict[str, list[np.ndarray]]:
    def arrays(*shapes: tuple[int, ...]) -> list[np.ndarray]:
        return [RNG.normal(size=shape).astype(np.float32) for shape in shapes]

    return {
        "layers/lstm/cell/vars": arrays((3, 16), (4, 16), (16,)), "layers/lstm_1/cell/vars": arrays((4, 20), (5, 20), (20,)),
        "layers/dense/vars": arrays((5, 2), (2,)),
    }  # fmt: skip


def test_a_tree_is_told_in_the_order_in_which_it_was_written() -> None:
    out = io.BytesIO()
    keras3_files.tree(out, tree())
    found = fastlstm.draft_architecture(out.getvalue())
    assert [one.name for one in found.layers] == ["lstm", "lstm_1", "dense"]
    marks = {key: value for _, values, _ in found.assumed[:2] for key, value in values.items()}
    assert marks == {"keras_version": "3.3.3", "order": ["lstm", "lstm_1", "dense"]}
    model = fastlstm.load(out.getvalue(), architecture=drafts.confirmed(found.to_json()))
    assert model.predict(np.zeros((2, 7, 3), np.float32)).shape == (2, 2)


def test_weights_in_parts_are_told(tmp_path: Path) -> None:
    parts = [{place: {str(number): one for number, one in enumerate(arrays)}} for place, arrays in tree().items()]
    index = keras3_files.in_parts(tmp_path / "m.weights.json", *parts)
    found = fastlstm.draft_architecture(index)
    assert [one.class_name for one in found.layers] == ["LSTM", "LSTM", "Dense"]
    assert fastlstm.load(index, architecture=drafts.confirmed(found.to_json())).count_params() == 340
    assert main(["inspect", str(index)]) == 0


# -- no chains --------------------------------------------------------------------------------------------------------------------


NO_CHAINS: dict[str, tuple[Shapes, str]] = {
    "two inputs": ({"input_1": {}, "input_2": {}, "lstm": loop("lstm", 3, 4)}, "the model has 2 inputs"),
    "a merge": ({"lstm": loop("lstm", 3, 4), "concatenate": {}}, "a Concatenate reads several tensors"),
    "two embeddings": (
        {"a": {"a/embeddings:0": (9, 3)}, "b": {"b/embeddings:0": (9, 3)}}, "it reads ids, and 'a' stands before it",
    ),
    "features": ({"lstm": loop("lstm", 3, 4), "dense": dense("dense", 9, 2)}, "reads 9 features, but 'lstm' before it gives 4"),
    "an operation": ({"tf.math.add": {}, "dense": dense("dense", 9, 2)}, "an operation between layers"),
    "unknown arrays": ({"mine": {"mine/theta:0": (3, 4, 5)}}, r"no layer told here has: mine/theta \(3, 4, 5\)"),
    "nothing": ({"flatten": {}}, "no layer in it keeps arrays"),
}  # fmt: skip


@pytest.mark.parametrize("case", NO_CHAINS)
def test_what_is_no_chain_is_not_drafted(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shapes, what = NO_CHAINS[case]
    (tmp_path / "w.h5").write_bytes(written(shapes))
    found = fastlstm.draft_architecture(tmp_path / "w.h5")
    with pytest.raises(fastlstm.UnsupportedError, match=what):
        found.to_json()
    assert len(found.layers) == len(shapes)
    assert main(["inspect", str(tmp_path / "w.h5"), "--draft", str(tmp_path / "m.json")]) == 1
    assert "no draft of the model can be made:" in capsys.readouterr().out
    assert not (tmp_path / "m.json").exists()


# -- the command ------------------------------------------------------------------------------------------------------------------


def test_the_advice_for_a_file_without_its_model_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my weights.h5").write_bytes(written({"lstm": loop("lstm", 3, 4), "dense": dense("dense", 4, 2)}))
    for isolated in (False, True):
        with pytest.raises(fastlstm.FormatError, match="fastlstm inspect 'my weights.h5' --draft model.json"):
            fastlstm.load("my weights.h5", isolated=isolated)
    assert main(["describe", "my weights.h5"]) == 1  # as there is no model to describe
    assert "fastlstm inspect 'my weights.h5' --draft model.json" in capsys.readouterr().err
    assert main(["inspect", "my weights.h5", "--draft", "model.json"]) == 0
    out = capsys.readouterr().out
    assert "dense" in out
    assert "fastlstm describe 'my weights.h5' --architecture model.json" in out
    assert main(["describe", "my weights.h5", "--architecture", "model.json"]) == 1
    draft = Path("model.json").read_text()
    Path("model.json").write_text(drafts.confirmed(draft))
    assert main(["describe", "my weights.h5", "--architecture", "model.json"]) == 0
    capsys.readouterr()
    assert main(["inspect", "my weights.h5", "--draft", "model.json"]) == 1  # what was corrected stays
    assert "model.json is there already" in capsys.readouterr().err
    assert Path("model.json").read_text() == drafts.confirmed(draft)


def test_the_table_and_its_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "w.h5").write_bytes(written({"lstm": loop("lstm", 3, 4), "dense": dense("dense", 4, 2)}))
    assert main(["inspect", str(tmp_path / "w.h5")]) == 0
    out = capsys.readouterr().out
    assert [line.split() for line in out.splitlines() if line.startswith("lstm")] == [
        ["lstm", "LSTM", "3", "4", "128", "units=4,", "use_bias=True"],
    ]  # fmt: skip
    assert main(["inspect", str(tmp_path / "w.h5"), "--json", "--isolated"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["drafted"]
    assert found["layers"][1] == {
        "name": "dense", "class_name": "Dense", "reads": 4, "gives": 2, "parameters": 10, "told": {"units": 2, "use_bias": True},
        "assumed": {"activation": "linear"},
    }  # fmt: skip
    assert {"layer": "dense", "assumed": {"activation": "linear"}, "why": "Keras's default"} in found["assumed"]


def test_files_with_a_model_are_not_drafted(tmp_path: Path) -> None:
    path = small_model(tmp_path / "m.h5")
    fastlstm.convert(path, tmp_path / "m.fastlstm")
    zipped = keras3_files.zipped(tmp_path / "m.keras", keras3_files.chain((None, 3), keras3_files.layer("Dense", "dense", units=2)), {})
    for file in (path, tmp_path / "m.fastlstm", zipped):
        for isolated in (False, True):
            with pytest.raises(fastlstm.FormatError, match="it holds the model's architecture, so there is nothing to draft"):
                fastlstm.draft_architecture(file, isolated=isolated)
    assert main(["inspect", str(path), "--draft", str(tmp_path / "x.json"), "--architecture", "{}"]) == 1


# -- the tables -------------------------------------------------------------------------------------------------------------------


#: Arguments that no draft has: they are of models that are no chains, change no number, or exist in no file since Keras 1.
LEFT_OUT = {
    "num_constants", "unroll", "return_state", "quantization", "cell", "layer", "backward_layer", "adjustment", "mode", "renorm",
    "synchronized", "virtual_batch_size", "rms_scaling", "robust_masking", "implementation", "mean", "variance", "input_dim", "time_major",
    "zero_output_for_mask", "negative_slope", "groups", "interpolation",
}  # fmt: skip
#: Classes that are not told: what they compute is in none of their arrays.
NOT_TOLD = {
    "EinsumDense", "AdaptiveAveragePooling1D", "AdaptiveAveragePooling2D", "AdaptiveAveragePooling3D", "Resizing", "CenterCrop", "SReLU",
    "SpectralNormalization", "ParametricSoftplus", "Highway", "MaxoutDense", "AddLoss", "AddMetric", "Operation",
}  # fmt: skip


def test_every_class_is_told_or_left_out_on_purpose() -> None:
    made_of_others = {Role.MODEL, Role.STACK, Role.BIDIRECTIONAL, Role.DISTRIBUTED, Role.LOOKUP, Role.CATEGORIES}
    loops = {name for name, row in ROWS.items() if row.role is Role.RECURRENT and row.wraps}
    computed = {
        name for name, row in ROWS.items() if row.computed and row.role not in made_of_others and not signatures.branches(row)
        and row.module != "preprocessing" and not row.becomes
    }  # fmt: skip
    assert computed - set(CLASSES) - loops == NOT_TOLD


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if kind in REGISTRY and ROWS[kind].arrays is not None])
def test_every_argument_is_told_or_marked(kind: str) -> None:
    """An argument that a layer honours is told by its arrays or marked: else it would be Keras's default without a word."""
    by_arrays = {
        "units", "use_bias", "filters", "kernel_size", "depth_multiplier", "output_dim", "scale", "center", "shared_axes", "reset_after",
        "return_sequences", "shape",
    }  # fmt: skip
    old, new = (dialect(version, "tensorflow", {}, "") for version in ("2.15.0", "3.15.1"))
    for understood in (old, new):
        marked = set(signatures.untold(kind, understood)) | {
            ROWS[kind].renamed.get(key, key) for key in signatures.untold(kind, understood)
        }
        honoured = REGISTRY[kind].HONOURED - INERT - LEFT_OUT - set(ROWS[kind].renamed)
        if ROWS[kind].axes == 1 and not CLASSES[kind].untold.get("data_format"):
            honoured -= {"data_format"}  # which Keras 2 does not have there
        assert not honoured - marked - by_arrays - ({"data_format"} if kind == "Rescaling" else set())


# -- files of strangers -----------------------------------------------------------------------------------------------------------


HOSTILE: dict[str, dict[str, Any]] = {
    "a layer twice": {"layer_names": [b"lstm", b"lstm"]},
    "a layer that is not there": {"layer_names": [b"lstm", b"nobody"]},
    "numbers for names": {"layer_names": np.arange(3)},
    "no names": {"layer_names": [b""]},
    "too many": {"nb_layers": 10**9, "layer_names": None},
    "negative": {"nb_layers": -1, "layer_names": None},
    "a text": {"nb_layers": "many", "layer_names": None},
    "a name of another file": {"layer_names": [b"lstm/lstm"]},
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_lists_of_layers(case: str) -> None:
    data = io.BytesIO(written({"lstm": loop("lstm", 3, 4), "dense": dense("dense", 4, 2)}))
    with h5py.File(data, "r+") as file:
        for key, value in HOSTILE[case].items():
            if key in file.attrs:
                del file.attrs[key]
            if value is not None:
                file.attrs[key] = value
    for isolated in (False, True):
        try:
            fastlstm.draft_architecture(data.getvalue(), isolated=isolated)
        except fastlstm.FastLSTMError as error:
            assert str(error)


def test_shapes_of_any_size_cost_nothing() -> None:
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        file.attrs["layer_names"] = [b"lstm"]
        group = file.create_group("lstm")
        group.attrs["weight_names"] = [b"kernel:0", b"recurrent_kernel:0", b"bias:0"]
        for name, shape in zip(
            ("kernel:0", "recurrent_kernel:0", "bias:0"), ((1 << 30, 1 << 32), (1 << 30, 1 << 32), (1 << 32,)), strict=True
        ):
            group.create_dataset(name, shape, np.float32, chunks=tuple(min(size, 64) for size in shape))
    found = fastlstm.draft_architecture(out.getvalue())
    assert found.layers[0].told["units"] == 1 << 30
    with pytest.raises(fastlstm.FastLSTMError):
        fastlstm.load(out.getvalue(), architecture=drafts.confirmed(found.to_json()))


def test_damaged_files_are_refused() -> None:
    """Bytes changed here and there, in both layouts: an error of this library's, or an answer."""
    out = io.BytesIO()
    keras3_files.tree(out, tree())
    rng = np.random.default_rng(3)
    for good in (written({"lstm": loop("lstm", 3, 4), "d": {}, "dense": dense("dense", 4, 2)}), out.getvalue()):
        for _ in range(40):
            data = bytearray(good)
            for place in rng.integers(0, len(data), 8):
                data[place] = rng.integers(0, 256)
            try:
                fastlstm.draft_architecture(bytes(data))
            except fastlstm.FastLSTMError as error:
                assert str(error)
