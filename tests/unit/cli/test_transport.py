from __future__ import annotations

import socket
from decimal import Decimal
from typing import Any

import pytest

from streamgauge.cli.client import Client
from streamgauge.cli.failures import AnswerError
from streamgauge.cli.transport import over_tcp
from streamgauge.core.errors import InvalidInputError, UnavailableError


def client(recorder: Any) -> Client:
    headers = {"authorization": "Bearer k"}
    return Client(over_tcp(recorder.url), address=recorder.url, headers=headers)


def test_segments_and_queries_are_encoded(recorder: Any) -> None:
    recorder.answer("/events/a%2Fb%20%3Fc?x=1&by=a&by=b", {"n": 1.10})
    answer = client(recorder).get("events", "a/b ?c", x=1, by=("a", "b"), left_out=None)
    assert answer == {"n": Decimal("1.1")}
    method, _, headers, body = recorder.requests[0]
    assert (method, body) == ("GET", b"")
    assert headers["authorization"] == "Bearer k"


def test_every_item_of_every_page_is_read_once(recorder: Any) -> None:
    for number, items in enumerate(([{"id": 0}, {"id": 1}], [{"id": 2}])):
        recorder.answer(f"/meters?page_size=2&page_number={number}", {"items": items})
    assert [each["id"] for each in client(recorder).items("meters", page_size=2)] == [0, 1, 2]


def test_a_full_last_page_is_followed_by_an_empty_one(recorder: Any) -> None:
    recorder.answer("/meters?page_size=1&page_number=0", {"items": [{"id": 0}]})
    recorder.answer("/meters?page_size=1&page_number=1", {"items": []})
    assert len(list(client(recorder).items("meters", page_size=1))) == 1


def test_a_refusal_keeps_the_servers_words(recorder: Any) -> None:
    recorder.answer("/meters", {"code": "CONFLICT", "message": "name is taken"}, status=409)
    with pytest.raises(AnswerError, match="name is taken") as caught:
        client(recorder).post("meters", body={})
    assert (caught.value.status, caught.value.word) == (409, "CONFLICT")


def test_a_refusal_without_our_words_names_its_status(recorder: Any) -> None:
    recorder.answer("/meters", b"<html>", status=502)
    with pytest.raises(AnswerError, match="answered with status 502"):
        client(recorder).get("meters")


def test_an_answer_that_is_no_json_is_refused(recorder: Any) -> None:
    recorder.answer("/meters", b"<html>")
    with pytest.raises(UnavailableError, match="something else than JSON"):
        client(recorder).get("meters")


def test_an_empty_answer_is_none(recorder: Any) -> None:
    recorder.answer("/meters/m", b"", status=204)
    assert client(recorder).ask("DELETE", "meters", "m") is None


def test_a_redirect_is_not_followed(recorder: Any) -> None:
    recorder.answer("/meters", b"", status=307)
    with pytest.raises(AnswerError, match="status 307"):
        client(recorder).get("meters")
    assert len(recorder.requests) == 1


def test_nobody_listening_is_said_plainly() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    exchange = over_tcp(f"http://127.0.0.1:{port}")
    with pytest.raises(UnavailableError, match="nobody listens there"):
        exchange("GET", "/", None, {})


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:8000", "ftp://x", "http://", "http://x/api", "http://x:99999", "http://[x"],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidInputError, match="--url is"):
        over_tcp(url)


def test_a_password_in_an_address_is_refused_and_not_shown() -> None:
    with pytest.raises(InvalidInputError) as caught:
        over_tcp("http://me:secret@x")
    assert "secret" not in str(caught.value)
