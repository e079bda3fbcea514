"""How much the command line says: --json, --quiet, --verbose, colours, bars; and what the logger says."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5_files
import numpy as np
import pytest

import fastlstm
from fastlstm import logs, watching
from fastlstm.cli import outcome, progress, terminal
from fastlstm.cli.main import main, parser

FEATURES = 3


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def rows_path(tmp_path: Path) -> Path:
    path = tmp_path / "x.npy"
    np.save(path, np.random.default_rng(0).normal(size=(2, 5, FEATURES)))
    return path


def told(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> Any:
    """The JSON object that a command prints, and nothing else anywhere."""
    assert main([*map(str, arguments), "--json"]) == code
    out, err = capsys.readouterr()
    assert not err
    return json.loads(out)


def test_predict_as_json(h5: Path, rows_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = fastlstm.load(h5).predict(np.load(rows_path))
    found = told(capsys, "predict", h5, rows_path)
    assert found["rows"] == 2
    (output,) = found["outputs"]
    assert (output["name"], output["shape"]) == ("dense_2", [2, 2])
    np.testing.assert_array_equal(np.array(output["values"], np.float32), expected)
    found = told(capsys, "predict", h5, rows_path, "-o", tmp_path / "y.npy")
    assert found["file"] == str(tmp_path / "y.npy")
    assert "values" not in found["outputs"][0]
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), expected)


def test_sequences_of_their_own_lengths_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layers = [h5_files.recurrent("LSTM", 4, FEATURES, np.random.default_rng(0), return_sequences=True)]
    path = h5_files.save(tmp_path / "m.h5", layers, (None, FEATURES))
    (tmp_path / "x.csv").write_text("1,2,3\n1,2,3,4,5,6\n")
    (output,) = told(capsys, "predict", path, tmp_path / "x.csv")["outputs"]
    assert output["shape"] == [2, None]
    assert [np.shape(row) for row in output["values"]] == [(1, 4), (2, 4)]


def test_convert_and_verify_as_json(h5: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, "convert", h5, tmp_path / "m.fastlstm")
    assert found["bytes"] == (tmp_path / "m.fastlstm").stat().st_size
    assert all(case["equal"] for case in found["cases"])
    found = told(capsys, "verify", tmp_path / "m.fastlstm")
    assert found["verified"] is True
    assert {case["against"] for case in found["cases"]} == {"recorded"}


def test_a_verification_that_fails_as_json(h5: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.fastlstm"
    fastlstm.convert(h5, path)
    data = bytearray(path.read_bytes())
    data[-9] ^= 0x40  # in the last array
    path.write_bytes(data)
    found = told(capsys, "verify", path, code=1)
    assert found["verified"] is False
    assert main(["verify", str(path), "-q"]) == 1
    assert "NOT equal" in capsys.readouterr().out


@pytest.mark.slow
def test_demo_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, "demo")
    assert found["forecasts"] == 271
    assert [score["months_ahead"] for score in found["scores"]] == [1, 6, 12]
    assert found["largest_difference_from_keras"] < 1e-5


def test_errors_as_json(h5: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = told(capsys, "describe", tmp_path / "none.h5", code=1)["error"]
    assert error["kind"] == "FormatError"
    assert "none.h5: cannot be opened" in error["message"]
    odd = h5_files.Layer({"class_name": "Oddity", "config": {"name": "odd", "trainable": True}}, [])
    path = h5_files.save(tmp_path / "odd.h5", [h5_files.recurrent("LSTM", 4, 3, np.random.default_rng(0)), odd], (5, 3))
    error = told(capsys, "verify", path, code=1)["error"]
    assert error["kind"] == "UnsupportedError"
    assert [problem["layer"] for problem in error["problems"]] == ["odd"]
    assert "--custom FILE.py" in error["message"]


def test_numbers_that_json_lacks() -> None:
    found = outcome.plain({"a": np.float32([np.nan, np.inf, -np.inf, 0.1]), "b": (np.int64(3), np.bool_(True), None, float("nan"))})
    assert found == {"a": ["NaN", "Infinity", "-Infinity", 0.1], "b": [3, True, None, "NaN"]}
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("seed", range(3))
def test_float32_comes_back_to_the_bit(seed: int) -> None:
    bits = np.random.default_rng(seed).integers(0, 1 << 32, 500, dtype=np.uint32).view(np.float32)
    finite = bits[np.isfinite(bits)]
    again = np.array(json.loads(json.dumps(outcome.plain(finite))), np.float32)
    np.testing.assert_array_equal(again.view(np.uint32), finite.view(np.uint32))


def test_quiet(h5: Path, rows_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["convert", h5, tmp_path / "m.fastlstm"], ["verify", h5]):
        for words in ([*arguments, "-q"], ["--quiet", *arguments]):
            assert main([*map(str, words)]) == 0
            assert capsys.readouterr() == ("", "")
    for arguments in (["predict", h5, rows_path], ["describe", h5]):  # what was asked for is no report
        assert main([*map(str, arguments), "-q"]) == 0
        assert capsys.readouterr().out
    assert main(["describe", str(tmp_path / "none.h5"), "-q"]) == 1
    assert "cannot be opened" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["predict", "convert", "verify", "describe", "bench"])
def test_verbose(h5: Path, rows_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    more = {"predict": [str(rows_path)], "convert": [str(tmp_path / "m.fastlstm")], "bench": ["--vs", "", "--rows", "1"]}.get(command, [])
    assert main([command, str(h5), *more, "-v"]) == 0
    err = capsys.readouterr().err
    assert re.search(r"^info: .*m\.h5: Keras 2\.3\.1 .* 138 parameters; loaded in [\d.]+ ms$", err, re.MULTILINE)
    assert re.search(r"^info: .*kernels of level \S+, threads: 1, layers: 2 native, 1 no work$", err, re.MULTILINE)
    assert "debug:" not in err
    assert main([command, str(h5), *more, "-vv"]) == 0
    assert re.search(r"^debug: .*layer 'lstm_1' \(LSTM\): native, output shape \(None, 4\)$", capsys.readouterr().err, re.MULTILINE)
    assert main([command, str(h5), *more]) == 0  # the next call in this process says no more than it should
    assert not capsys.readouterr().err


def test_quiet_and_verbose_are_a_contradiction(h5: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="^2$"):
        main(["describe", str(h5), "-q", "-v"])
    assert "not allowed with" in capsys.readouterr().err


def test_the_logger(h5: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="fastlstm"):
        fastlstm.load(h5).predict(np.zeros((3, 5, FEATURES)))
    assert {record.name for record in caplog.records} == {"fastlstm"}
    levels = [record.levelname for record in caplog.records]
    assert levels.count("INFO") == 2
    assert "planned for inputs of shapes ((5, 3),)" in caplog.text
    assert any(isinstance(handler, logging.NullHandler) for handler in logging.getLogger(logs.NAME).handlers)


def test_logging_is_not_imported_for_nobody(tmp_path: Path) -> None:
    """It is not silent, either, where it was imported, and no message comes to people who set nothing up."""
    code = (
        "import sys; sys.modules['concurrent.futures'] = None; from fastlstm import logs; assert 'logging' not in sys.modules; "
        "logs.say(logs.INFO, 'nothing'); import logging; logs.say(40, 'still nothing'); logging.basicConfig(level=10); "
        "logs.say(logs.INFO, 'now %d', 3)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(fastlstm.__file__).parents[1])}
    command = [sys.executable, "-c", code.replace("from fastlstm import logs", LOADED)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, env=environment)
    assert done.stderr == "INFO:fastlstm:now 3\n"


#: The module alone, without the package around it.
LOADED = (
    "import importlib.util as u; from pathlib import Path; import os; "
    "spec = u.spec_from_file_location('logs', Path(os.environ['PYTHONPATH']) / 'fastlstm' / 'logs.py'); "
    "logs = u.module_from_spec(spec); spec.loader.exec_module(logs)"
)


# -- colours and bars -----------------------------------------------------------------------------------------------------


def test_colours_on_terminals_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "platform", "linux")
    assert terminal.coloured("x", "red", Terminal()) == "\x1b[31mx\x1b[0m"
    assert terminal.coloured("x", "red", io.StringIO()) == "x"
    monkeypatch.setenv("NO_COLOR", "1")
    assert terminal.coloured("x", "red", Terminal()) == "x"
    monkeypatch.setenv("NO_COLOR", "")  # which means nothing, as no-color.org has it
    assert terminal.coloured("x", "red", Terminal()) != "x"
    monkeypatch.setenv("TERM", "dumb")
    assert terminal.coloured("x", "red", Terminal()) == "x"


def test_describe_in_colours(h5: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    odd = h5_files.Layer({"class_name": "Oddity", "config": {"name": "odd", "trainable": True}}, [])
    path = h5_files.save(h5.parent / "odd.h5", [h5_files.recurrent("LSTM", 4, 3, np.random.default_rng(0)), odd], (5, 3))
    shown = []
    for no_color in ("", "1"):
        monkeypatch.setenv("NO_COLOR", no_color)
        monkeypatch.setattr(sys, "stdout", Terminal())
        assert main(["describe", str(path)]) == 1
        shown.append(sys.stdout.getvalue())  # type: ignore[attr-defined]
    assert "\x1b[31munsupported\x1b[0m" in shown[0]
    assert "\x1b" not in shown[1]
    assert re.sub("\x1b\\[[0-9]+m", "", shown[0]) == shown[1]


def test_a_bar_of_long_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LONG_SECONDS", 0.0)
    monkeypatch.setattr(progress, "TICK_SECONDS", 0.005)
    stream = Terminal()
    with progress.shown("reading m.h5", stream):
        wait_for(lambda: "reading m.h5, 0 s" in stream.getvalue())
        watching.tell("checking the case 'plain'", 1, 4)
        wait_for(lambda: " 25% [#######.......................] checking the case 'plain', 0 s" in stream.getvalue())
    assert stream.getvalue().endswith(progress.ERASE)
    for other in (io.StringIO(), None):
        with progress.shown("reading", other):
            watching.tell("nobody sees it", 1, 4)
        assert other is None or not other.getvalue()


def wait_for(seen: Any) -> None:
    end = time.monotonic() + 20
    while not seen():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_brief_work_has_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    with progress.shown("reading m.h5", stream):
        pass
    assert not stream.getvalue()


def test_a_bar_goes_away_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LONG_SECONDS", 0.0)
    stream = Terminal()

    def work() -> None:
        with progress.shown("reading", stream):
            wait_for(stream.getvalue)
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011  it is the one above
        work()
    assert stream.getvalue().endswith(progress.ERASE)


def test_who_verifies_hears_how_far_it_is(h5: Path, tmp_path: Path) -> None:
    heard: list[tuple[str, int, int]] = []
    with watching.watched(lambda *how: heard.append(how)):
        fastlstm.convert(h5, tmp_path / "m.fastlstm")
    assert [what for what, *_ in heard][:1] == ["making the case 'plain'"]
    assert "checking the case 'plain'" in {what for what, *_ in heard}
    assert all(0 <= done < of for _, done, of in heard)
    watching.tell("nobody", 0, 1)
    assert len(heard) == len([one for one in heard if one[0] != "nobody"])


# -- shells ---------------------------------------------------------------------------------------------------------------

BASH = """
source {script}
COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMP_LINE="{words}"; COMP_POINT=${{#COMP_LINE}}
function=$(complete -p fastlstm | grep -o -- "-F [^ ]*" | cut -c4-)
$function fastlstm
printf "%s\\n" "${{COMPREPLY[@]}}"
"""
COMPLETIONS = {"bash": BASH, "fish": 'source {script}; complete -C "{words}"'}
ZSH = """
zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z 'PS1=; fpath=({folder} $fpath); autoload -Uz compinit; compinit -u -d {folder}/dump; echo rea''dy'
zpty -r -m z line '*ready*'
zpty -w -n z $'fastlstm predict --ser\\t'
zpty -r -m z line '*--series*'
print -r -- $line
"""


def script_of(shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    pytest.importorskip("shtab", reason="completion needs the extra cli")
    assert main(["completion", shell]) == 0
    path = tmp_path / f"fastlstm.{shell}"
    path.write_text(capsys.readouterr().out)
    return path


@pytest.mark.parametrize("shell", ["bash", "fish"])
@pytest.mark.parametrize(
    ("words", "expected"),
    [("fastlstm de", {"describe", "demo"}), ("fastlstm predict --ser", {"--series"}), ("fastlstm bench --on", {"--onnx"})],
)
def test_completion_in_a_shell(shell: str, words: str, expected: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = script_of(shell, tmp_path, capsys)
    try:
        command = [shell, *(["--norc", "--noprofile"] if shell == "bash" else ["--no-config"]), "-c"]
        done = subprocess.run(
            [*command, COMPLETIONS[shell].format(script=script, words=words)], capture_output=True, text=True, check=False, timeout=60
        )
    except FileNotFoundError:
        pytest.skip(f"{shell} is not installed")
    assert not done.stderr
    assert {line.split("\t")[0] for line in done.stdout.splitlines()} == expected


def test_completion_in_zsh(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """zsh completes in a terminal alone; this one is a pseudo-terminal, and TAB is pressed in it."""
    script_of("zsh", tmp_path, capsys).rename(tmp_path / "_fastlstm")
    try:
        done = subprocess.run(["zsh", "-f", "-c", ZSH.format(folder=tmp_path)], capture_output=True, text=True, check=False, timeout=60)
    except FileNotFoundError:
        pytest.skip("zsh is not installed")
    assert "fastlstm predict --series" in done.stdout


def test_completion_without_shtab(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 1
    assert "completion needs shtab, which is not installed: pip install 'fastlstm[cli]'" in capsys.readouterr().err


def test_every_command_has_its_options() -> None:
    (commands,) = (action.choices for action in parser()._actions if action.dest == "==SUPPRESS==" and action.choices)
    for name, command in commands.items():  # type: ignore[union-attr]
        found = {option for action in command._actions for option in action.option_strings}
        wanted = {"--json", "--quiet", "--verbose", "-q", "-v"}
        if name == "serve":  # goes on until it is ended, and has a log instead of an answer
            wanted -= {"--json"}
        assert name == "completion" or wanted <= found, name
