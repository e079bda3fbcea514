"""Files of weights alone: what their names and shapes tell, what is marked, and that no guess computes anything unnoticed."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import drafts
import h5py
import keras3_files
import numpy as np
import pytest
from weights_alone import RNG, Shapes, dense, loop, small_model, tree, weights_of, written

import fastlstm
from fastlstm.catalogue import ROWS, Role
from fastlstm.cli.main import main
from fastlstm.formats.inferring import signatures
from fastlstm.formats.inferring.signatures import CLASSES, NEEDED
from fastlstm.formats.reading.dialect import dialect
from fastlstm.formats.reading.marks import KEY
from fastlstm.layers import REGISTRY
from fastlstm.layers.base import INERT


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
