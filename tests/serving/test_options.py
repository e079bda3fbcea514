"""Options of a service: what does not fit is refused by name, with what is expected and what was found."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

import fastlstm
from fastlstm.serving import Options
from fastlstm.serving.options import options_of


def test_what_fits_is_kept() -> None:
    found = options_of(
        {"versions": None, "batch_rows": 8, "batch_wait_us": 100, "cors_origins": ["https://example.org", "*"], "token": "a.b-c~1/+="}
    )
    assert (found.versions, found.batch_rows, found.cors_origins) == (None, 8, ("https://example.org", "*"))
    assert found.cores >= 1 and options_of({"compute_threads": 3}).cores == 3
    assert pickle.loads(pickle.dumps(found)) == found
    assert "a.b-c~1" not in repr(found)  # tokens are not for logs


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"vesions": 1}, "vesions: expected options among versions, poll_seconds, threads, "),
    ({"versions": 0}, "versions: expected a positive number or None, found 0"),
    ({"threads": True}, "threads: expected a positive number, found True"),
    ({"max_rows": "9"}, "max_rows: expected a positive number, found '9'"),
    ({"timeout_seconds": 0}, "timeout_seconds: expected a number of seconds above zero, found 0"),
    ({"timeout_seconds": float("nan")}, "timeout_seconds: expected a number of seconds above zero, found nan"),
    ({"poll_seconds": -1}, "poll_seconds: expected a number of seconds above zero, or None, found -1"),
    ({"batch_wait_us": -1, "batch_rows": 2}, "batch_wait_us: expected a number of microseconds from 0 on, found -1"),
    ({"batch_wait_us": 5}, "batch_wait_us: expected batch_rows too, as requests wait for others, found 5 alone"),
    ({"page": 1}, "page: expected True or False, found 1"),
    ({"token": ""}, "token: expected letters, digits and -._~+/, with = at its end alone, or None, found an empty text"),
    ({"token": "two words"}, "or None, found str with others"),
    ({"cors_origins": "https://a.org"}, "cors_origins: expected a list of origins such as 'https://example.org', found 'https://a.org'"),
    ({"cors_origins": ("https://a.org/",)}, "cors_origins: expected origins such as 'https://example.org', without a path, or '*', found"),
    ({"hosts": ("a.org:80",)}, "hosts: expected names such as 'models.example.org', without a port, found 'a.org:80'"),
    ({"loading": []}, "loading: expected a dict of options of fastlstm.load, found []"),
    ({"loading": {"threads": 2}}, "loading: expected options among architecture, by_name, precision, "),
    ({"own_port": 70_000}, "own_port: expected a port from 1 up to 65535, found 70000"),
    ({"sequence_ports": (0,)}, "sequence_ports: expected a port from 1, found 0"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "message"), REFUSED, ids=[f"{next(iter(given))}{n}" for n, (given, _) in enumerate(REFUSED)])
def test_what_does_not_fit_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(fastlstm.InputError) as caught:
        options_of(given)
    assert message in str(caught.value)


def test_a_token_is_told_nobody() -> None:
    with pytest.raises(fastlstm.InputError) as caught:
        Options(token="secret word")
    assert "secret" not in str(caught.value)
