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
