"""The command line on files of pipelines and of texts."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from around_models import TEXTS, fitted_tokenizer, of_series, of_texts

from fastlstm import Pipeline
from fastlstm.cli.main import main
from fastlstm.preprocessing import Tokenizer

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return fitted_tokenizer()


# -- the command line -------------------------------------------------------------------------------------------------------------


def test_commands(tmp_path: Path, tokenizer: Tokenizer, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline = Pipeline(of_texts(tmp_path), tokenizer=tokenizer, labels=["bad, really", "good"])
    pipeline.save(tmp_path / "p.fastlstm")
    path, expected = str(tmp_path / "p.fastlstm"), pipeline.predict(TEXTS)
    (tmp_path / "in.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    with (tmp_path / "in.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "Text"], *([str(n), text] for n, text in enumerate(TEXTS))])
    with (tmp_path / "one.csv").open("w", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([text] for text in TEXTS)
    np.save(tmp_path / "in.npy", np.array(TEXTS))
    np.save(tmp_path / "bytes.npy", np.array([text.encode() for text in TEXTS]))
    for name in ("in.txt", "in.csv", "one.csv", "in.npy", "bytes.npy"):
        assert main(["predict", path, str(tmp_path / name), "-o", str(tmp_path / "out.csv")]) == 0
        with (tmp_path / "out.csv").open(newline="") as file:
            heading, *rows = csv.reader(file)
        assert heading == ["label", "bad, really", "good"]
        assert [row[0] for row in rows] == expected.labels.tolist()
        np.testing.assert_array_equal(np.array([row[1:] for row in rows], np.float32), expected.probabilities)
    assert main(["predict", path, str(tmp_path / "in.txt"), "-o", str(tmp_path / "out.npz")]) == 0
    with np.load(tmp_path / "out.npz") as arrays:
        np.testing.assert_array_equal(arrays["labels"], expected.labels)
    capsys.readouterr()
    assert main(["predict", path, str(tmp_path / "in.txt"), "--json"]) == 0
    outputs = json.loads(capsys.readouterr().out)["outputs"]
    assert [output["name"] for output in outputs] == ["labels", "probabilities"]
    assert outputs[0]["values"] == expected.labels.tolist()
    assert main(["describe", path]) == 0
    assert "after   probabilities to 2 labels: bad, really, good" in capsys.readouterr().out
    assert main(["verify", path]) == 0


def test_commands_on_series(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline = Pipeline(of_series(tmp_path, 2, 1), scaler={"mean": [1, 2]}, inverse=0)
    pipeline.save(tmp_path / "p.fastlstm")
    series = RNG.normal(size=(12, 2))
    np.savetxt(tmp_path / "s.csv", series, delimiter=",", fmt="%.17g", header="a,b")
    np.save(tmp_path / "s.npy", series)
    np.savetxt(
        tmp_path / "w.csv",
        np.lib.stride_tricks.sliding_window_view(series, 7, 0).transpose(0, 2, 1).reshape(6, 14),
        fmt="%.17g",
        delimiter=",",
    )
    for arguments in (["s.csv", "--series"], ["s.npy"], ["w.csv"]):
        given = [str(tmp_path / "p.fastlstm"), str(tmp_path / arguments[0]), *arguments[1:], "-o", str(tmp_path / "out.npy")]
        assert main(["predict", *given]) == 0
        np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), pipeline.predict(series))
    assert capsys.readouterr().err == ""


def test_refusals_of_commands(tmp_path: Path, tokenizer: Tokenizer, capsys: pytest.CaptureFixture[str]) -> None:
    Pipeline(of_texts(tmp_path), tokenizer=tokenizer, labels=["bad", "good"]).save(tmp_path / "p.fastlstm")
    path = str(tmp_path / "p.fastlstm")
    np.save(tmp_path / "objects.npy", np.array(TEXTS, object))
    (tmp_path / "two.csv").write_text("a,b\nc,d\n")
    (tmp_path / "short.csv").write_text("id,text\n1\n")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "latin.txt").write_bytes(b"a\n\xe9")
    (tmp_path / "in.txt").write_text("a")
    for arguments, said in (
        (["objects.npy"], "numpy.array(texts, dtype=str)"), (["two.csv"], "a column called 'text'"), (["short.csv"], "row 1"),
        (["empty.txt"], "an empty file"), (["latin.txt"], "line 2"), (["in.doc"], ".txt, .csv, .npy or .npz"),
        (["missing.txt"], "cannot be read"),
        (["in.txt", "-o", str(tmp_path / "o.npy")], "labels and probabilities"), (["in.txt", "--outputs", "lstm"], "holds a pipeline"),
    ):  # fmt: skip
        assert main(["predict", path, str(tmp_path / arguments[0]), *arguments[1:]]) == 1
        assert said in capsys.readouterr().err


def test_standard_input(tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline = Pipeline(of_texts(tmp_path), tokenizer=tokenizer, labels=["bad", "good"])
    pipeline.save(tmp_path / "p.fastlstm")
    (tmp_path / "in.txt").write_bytes(b"the film\r\nthe\xe2\x80\xa8plot")
    with (tmp_path / "in.txt").open() as file:
        monkeypatch.setattr("sys.stdin", file)
        assert main(["predict", str(tmp_path / "p.fastlstm"), "-"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == ["label", *pipeline.predict(["the film", "the\u2028plot"]).labels]


@pytest.mark.parametrize("loss", ["sparse_categorical_crossentropy", "categorical_crossentropy"])
def test_evaluate_by_labels(loss: str, tmp_path: Path, tokenizer: Tokenizer, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline = Pipeline(of_texts(tmp_path, 3, "softmax"), tokenizer=tokenizer, labels=["bad", "good", "so so"])
    pipeline.save(tmp_path / "p.fastlstm")
    (tmp_path / "in.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    numbers = np.array([1, 0, 2, 1])
    labels = [pipeline.labels[number] for number in numbers]
    (tmp_path / "y.txt").write_text("\n".join(labels) + "\n")
    (tmp_path / "numbers.csv").write_text("\n".join(map(str, numbers)) + "\n")
    (tmp_path / "y.csv").write_text("id,label\n" + "".join(f"7,{label}\n" for label in labels))
    np.save(tmp_path / "y.npy", np.array(labels))
    np.save(tmp_path / "bytes.npy", np.array([label.encode() for label in labels]))
    found = -np.log(pipeline.predict(TEXTS).probabilities[np.arange(4), numbers])
    said = ["evaluate", str(tmp_path / "p.fastlstm"), str(tmp_path / "in.txt")]
    for name in ("y.txt", "numbers.csv", "y.csv", "y.npy", "bytes.npy"):
        picture = str(tmp_path / "matrix.svg")
        assert main([*said, str(tmp_path / name), "--loss", loss, "--metrics", "accuracy", "--json", "--plot", picture]) == 0
        results = json.loads(capsys.readouterr().out)["results"]
        assert results["loss"] == pytest.approx(found.mean(), rel=1e-5)
        assert results["accuracy"] == (pipeline.predict(TEXTS).labels == labels).mean()
    assert (tmp_path / "matrix.svg").read_text().count("<rect") >= 9
    (tmp_path / "odd.txt").write_text("good\nbad\nugly\nbad\n")
    assert main([*said, str(tmp_path / "odd.txt"), "--loss", loss]) == 1
    assert "expected labels (bad, good, so so), found 'ugly'" in capsys.readouterr().err
    (tmp_path / "one_hot.csv").write_text("\n".join(",".join(map(str, row)) for row in np.eye(3, dtype=int)[numbers]))
    np.save(tmp_path / "one_hot.npy", np.eye(3)[numbers])
    for name in ("one_hot.csv", "one_hot.npy"):
        assert main([*said, str(tmp_path / name), "--loss", loss]) == (1 if loss.startswith("sparse") else 0)


def test_evaluate_by_labels_that_are_numbers(tmp_path: Path, tokenizer: Tokenizer, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline = Pipeline(of_texts(tmp_path, 3, "softmax"), tokenizer=tokenizer, labels=[1, 3, 5])
    pipeline.save(tmp_path / "p.fastlstm")
    (tmp_path / "in.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    found = -np.log(pipeline.predict(TEXTS).probabilities[np.arange(4), [2, 0, 1, 1]]).mean()
    for name, text in (("labels.csv", "5\n1\n3\n3\n"), ("classes.csv", "2\n0\n1\n1\n"), ("labels.txt", "5\n1\n3\n3\n")):
        (tmp_path / name).write_text(text)
        given = [str(tmp_path / each) for each in ("p.fastlstm", "in.txt", name)]
        assert main(["evaluate", *given, "--loss", "sparse_categorical_crossentropy", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["results"]["loss"] == pytest.approx(found, rel=1e-5)


def test_evaluate_in_units_of_the_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline = Pipeline(of_series(tmp_path), scaler={"mean": 50, "scale": 20}, window=7, inverse=True)
    pipeline.save(tmp_path / "p.fastlstm")
    series = RNG.normal(50, 20, 30)
    np.save(tmp_path / "x.npy", series)
    np.save(tmp_path / "y.npy", series[6:])
    given = [str(tmp_path / each) for each in ("p.fastlstm", "x.npy", "y.npy")]
    assert main(["evaluate", *given, "--loss", "mse", "--metrics", "mae", "--json", "--plot", str(tmp_path / "out.svg")]) == 0
    results, error = json.loads(capsys.readouterr().out)["results"], pipeline.predict(series)[:, 0] - series[6:]
    assert (results["loss"], results["mae"]) == (pytest.approx(np.mean(error**2), rel=1e-5), pytest.approx(np.abs(error).mean(), rel=1e-5))
    plain = Pipeline(pipeline.model, scaler={"mean": 50, "scale": 20}, window=7)
    plain.save(tmp_path / "p.fastlstm")
    assert main(["evaluate", *given, "--loss", "mse", "--json"]) == 0
    expected = pipeline.model.evaluate(plain.prepare(series), series[6:], loss="mse")
    assert json.loads(capsys.readouterr().out)["results"]["loss"] == expected


def test_evaluate_series_of_different_lengths(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = of_series(tmp_path, steps=None, return_sequences=True)
    pipeline = Pipeline(model, scaler={"mean": 1, "scale": 2}, inverse=True)
    pipeline.save(tmp_path / "p.fastlstm")
    (tmp_path / "x.csv").write_text("1,2,3\n4,5\n")
    given = [str(tmp_path / each) for each in ("p.fastlstm", "x.csv", "x.csv")]
    assert main(["evaluate", *given, "--loss", "mse", "--metrics", "mae", "--json"]) == 0
    rows = [np.array([1.0, 2, 3]), np.array([4.0, 5])]
    errors = np.concatenate([np.abs(y[:, 0] - x) for x, y in zip(rows, pipeline.predict(rows), strict=True)])
    assert json.loads(capsys.readouterr().out)["results"]["mae"] == pytest.approx(errors.mean(), rel=1e-5)
