"""What ``predict`` advises about tensors of torch, JAX and SciPy, followed to the letter."""

from __future__ import annotations

from typing import Any

import h5_files
import numpy as np
import pytest
from advice import follows

import fastlstm

X = np.random.default_rng(0).normal(size=(6, 5, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def torch() -> Any:
    return pytest.importorskip("torch", reason="torch is not installed")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, fastlstm.Model]:
    path, rng = tmp_path_factory.mktemp("models"), np.random.default_rng(0)
    lstm, dense = [h5_files.recurrent("LSTM", 4, 3, rng)], [h5_files.dense(2, 5, rng)]
    return {
        "lstm": fastlstm.load(h5_files.save(path / "lstm.h5", lstm, (None, 3))),
        "dense": fastlstm.load(h5_files.save(path / "dense.h5", dense, (5,))),
    }


def followed(model: fastlstm.Model, x: Any, **scope: Any) -> np.ndarray:
    """Predictions of what the message says is to be passed in place of x."""
    with pytest.raises(fastlstm.InputError) as caught:
        model.predict(x)
    _, found, code = str(caught.value).partition("; pass ")
    assert found, caught.value
    scope["x"] = x
    exec(f"found = {code}", scope)
    return model.predict(scope["found"])


@follows("pass torch.nn.utils.rnn.unpack_sequence(x)")
def test_packed_sequences(models: dict[str, fastlstm.Model], torch: Any) -> None:
    rows = [torch.from_numpy(X[0, :2].copy()), torch.from_numpy(X[1]), torch.from_numpy(X[2, :3].copy())]
    x = torch.nn.utils.rnn.pack_sequence(rows, enforce_sorted=False)
    np.testing.assert_array_equal(followed(models["lstm"], x, torch=torch), models["lstm"].predict([row.numpy() for row in rows]))


@follows("pass torch.utils.data.DataLoader(x, batch_size=32)")
def test_datasets_of_rows(models: dict[str, fastlstm.Model], torch: Any) -> None:
    class Rows(torch.utils.data.IterableDataset):
        def __iter__(self) -> Any:
            return iter(torch.from_numpy(X))

    for x in (torch.utils.data.TensorDataset(torch.from_numpy(X)), Rows()):
        np.testing.assert_array_equal(followed(models["lstm"], x, torch=torch), models["lstm"].predict(X))


@follows("pass x.cpu()")
def test_tensors_of_a_gpu(models: dict[str, fastlstm.Model], torch: Any) -> None:
    if torch.cuda.is_available():
        x = torch.from_numpy(X).cuda()
    else:  # what says that it is one

        class Far(torch.Tensor):
            device = torch.device("cuda:0")

            def cpu(self) -> Any:
                return self.as_subclass(torch.Tensor)

        x = torch.from_numpy(X).as_subclass(Far)
    np.testing.assert_array_equal(followed(models["lstm"], x), models["lstm"].predict(X))


@follows("pass x.dequantize()")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_quantised_tensors(models: dict[str, fastlstm.Model], torch: Any) -> None:
    x = torch.quantize_per_tensor(torch.from_numpy(X), 0.1, 0, torch.qint8)
    np.testing.assert_array_equal(followed(models["lstm"], x), models["lstm"].predict(x.dequantize().numpy()))


@follows("pass x.to_dense()")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_sparse_tensors_of_torch(models: dict[str, fastlstm.Model], torch: Any) -> None:
    for x in (torch.eye(5).to_sparse(), torch.eye(5).to_sparse_csr()):
        np.testing.assert_array_equal(followed(models["dense"], x), models["dense"].predict(np.eye(5)))


@follows("pass x.todense()")
def test_sparse_arrays_of_jax(models: dict[str, fastlstm.Model]) -> None:
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    sparse = pytest.importorskip("jax.experimental.sparse")
    x = sparse.BCOO.fromdense(jax.numpy.eye(5))
    np.testing.assert_array_equal(followed(models["dense"], x), models["dense"].predict(np.eye(5)))


@follows("pass x.toarray()")
def test_sparse_matrices_of_scipy(models: dict[str, fastlstm.Model]) -> None:
    sparse = pytest.importorskip("scipy.sparse", reason="SciPy is not installed")
    for x in (sparse.csr_matrix(np.eye(5)), sparse.coo_array(np.eye(5))):
        np.testing.assert_array_equal(followed(models["dense"], x), models["dense"].predict(np.eye(5)))
