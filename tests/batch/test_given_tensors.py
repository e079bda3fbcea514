"""Tensors of torch and arrays of JAX as the input of ``predict``: the same numbers as of arrays, to the bit. And torch's DataLoader."""

from __future__ import annotations

from typing import Any

import h5_files
import numpy as np
import pytest

import fastlstm

X = np.random.default_rng(0).normal(size=(6, 5, 3)).astype(np.float32)
Y = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def torch() -> Any:
    return pytest.importorskip("torch", reason="torch is not installed")


@pytest.fixture(scope="module")
def jax() -> Any:
    return pytest.importorskip("jax", reason="JAX is not installed")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> fastlstm.Model:
    stack = [h5_files.recurrent("LSTM", 4, 3, np.random.default_rng(0))]
    return fastlstm.load(h5_files.save(tmp_path_factory.mktemp("model") / "model.h5", stack, (None, 3)))


@pytest.fixture(scope="module")
def ids(tmp_path_factory: pytest.TempPathFactory) -> fastlstm.Model:
    rng = np.random.default_rng(0)
    stack = [h5_files.embedding(20, 4, rng, True), h5_files.recurrent("LSTM", 4, 4, rng)]
    return fastlstm.load(h5_files.save(tmp_path_factory.mktemp("ids") / "model.h5", stack, (None,)))


def test_tensors_of_torch(model: fastlstm.Model, torch: Any) -> None:
    x = torch.from_numpy(X)
    y = model.predict(X)
    learnt = torch.nn.Parameter(x.clone())
    for given in (
        x, x.double(), x.clone().requires_grad_(), x.clone().requires_grad_() * 1, learnt, x.transpose(0, 1).contiguous().transpose(0, 1),
        [x], (x,), list(x), {model.inputs[0].name: x}, iter([(x[:2],), (x[2:], None)]), [row.requires_grad_() for row in x.clone()],
        x.flip(0).flip(0), -torch._neg_view(x),
    ):  # fmt: skip
        assert model.predict(given).tobytes() == y.tobytes()
    assert model(x).tobytes() == model.predict_on_batch(learnt).tobytes() == y.tobytes()
    stream = model.stream(6)
    assert stream.step(learnt[:, 0]).tobytes() == model.predict(X[:, :1]).tobytes()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "int8", "uint8", "int64", "bool"])
def test_dtypes_of_torch(model: fastlstm.Model, torch: Any, dtype: str) -> None:
    x = (torch.from_numpy(X) * 2).to(getattr(torch, dtype))
    assert model.predict(x).tobytes() == model.predict(x.float().numpy()).tobytes()


def test_ids_of_torch(ids: fastlstm.Model, torch: Any) -> None:
    x = torch.arange(12).reshape(3, 4)
    assert ids.predict(x).tobytes() == ids.predict(x.numpy()).tobytes()
    rows = [x[0], x[1, :2], x[2, :3]]
    assert ids.predict(rows).tobytes() == ids.predict([row.numpy() for row in rows]).tobytes()


@pytest.mark.parametrize("layout", ["strided", "jagged"])
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_nested_tensors(model: fastlstm.Model, torch: Any, layout: str) -> None:
    rows = [X[0], X[1, :2], X[2, :4]]
    x = torch.nested.nested_tensor([torch.from_numpy(row.copy()) for row in rows], layout=getattr(torch, layout))
    for given in (x, [x], iter([(x,)])):
        assert model.predict(given).tobytes() == model.predict(rows).tobytes()


def test_data_loaders(model: fastlstm.Model, torch: Any) -> None:
    data = torch.utils.data
    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    expected = model.predict(X)
    assert model.predict(data.DataLoader(data.TensorDataset(x), batch_size=4)).tobytes() == expected.tobytes()
    assert model.predict(data.DataLoader(data.TensorDataset(x, y), batch_size=4)).tobytes() == expected.tobytes()
    assert model.predict(data.DataLoader(x, batch_size=4)).tobytes() == expected.tobytes()
    assert model.predict(data.DataLoader(data.TensorDataset(x, y), batch_size=4), steps=1).tobytes() == expected[:4].tobytes()
    named = data.DataLoader([{model.inputs[0].name: row} for row in x], batch_size=4)
    assert model.predict(named).tobytes() == expected.tobytes()
    rows = [X[n, : 1 + n % 3] for n in range(6)]
    ragged = data.DataLoader([torch.from_numpy(row.copy()) for row in rows], batch_size=4, collate_fn=lambda batch: (batch,))
    assert model.predict(ragged).tobytes() == model.predict(rows).tobytes()
    asked: dict[str, Any] = {"loss": "mse", "metrics": ["mae"]}
    found = model.evaluate(data.DataLoader(data.TensorDataset(x, y), batch_size=4), **asked)
    assert found == pytest.approx(model.evaluate(X, Y, batch_size=4, **asked), rel=1e-12)


def test_arrays_of_jax(model: fastlstm.Model, ids: fastlstm.Model, jax: Any) -> None:
    x = jax.numpy.asarray(X)
    y = model.predict(X)
    for given in (x, [x], list(x), {model.inputs[0].name: x}, iter([(x[:2],), (x[2:],)])):
        assert model.predict(given).tobytes() == y.tobytes()
    numbers = jax.numpy.arange(12).reshape(3, 4)
    assert ids.predict(numbers).tobytes() == ids.predict(np.arange(12).reshape(3, 4)).tobytes()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float8_e4m3fn", "float8_e5m2", "int4"])
def test_dtypes_of_jax(model: fastlstm.Model, jax: Any, dtype: str) -> None:
    x = jax.numpy.asarray(X * 2).astype(dtype)
    expected = model.predict(np.asarray(x.astype("float32")))
    assert model.predict(x).tobytes() == model.predict(np.asarray(x)).tobytes() == expected.tobytes()


def test_functions_that_jax_traces(model: fastlstm.Model, jax: Any) -> None:
    with pytest.raises(fastlstm.InputError, match="expected numbers, found .*Tracer, a tensor of a graph, which holds none"):
        jax.jit(lambda x: model.predict(x))(X)
    shape = jax.ShapeDtypeStruct((6, 4), np.float32)
    y = jax.jit(lambda x: jax.pure_callback(model.predict, shape, x) * 2)(X)
    np.testing.assert_allclose(y, 2 * model.predict(X), rtol=1e-6)


def test_meta_tensors(model: fastlstm.Model, torch: Any) -> None:
    with pytest.raises(fastlstm.InputError, match="expected numbers, found Tensor, a tensor of a graph, which holds none"):
        model.predict(torch.zeros(6, 5, 3, device="meta"))
