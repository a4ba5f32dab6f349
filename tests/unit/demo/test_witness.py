from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from starlette.types import Message, Receive, Scope, Send

from streamgauge.demo.naive import NaiveMeter, naive_totals
from streamgauge.demo.witness import Witness, prepare_page, read_page


async def no_receive() -> Message:
    raise AssertionError


async def drop(message: Message) -> None:
    pass


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"12345", "more_body": True})
    await send({"type": "websocket.send", "text": "\u00e9"})
    await send({"type": "websocket.send", "bytes": b"123"})


async def failing(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.body", "body": b"12345", "more_body": True})
    raise ConnectionError


def scope_of(path: str) -> Scope:
    return {"type": "http", "path": path}


def test_the_witness_adds_up_payload_over_processes(tmp_path: Path) -> None:
    page = tmp_path / "page"
    prepare_page(page)
    for _ in range(2):
        asyncio.run(Witness(application, page)(scope_of("/t-ben/film"), no_receive, drop))
    assert read_page(page) == {
        **dict.fromkeys(("ana", "cleo", "dan", "eva", "finn", "gwen"), 0),
        "ben": 20,
    }


def test_who_shows_no_token_is_not_noted(tmp_path: Path) -> None:
    page = tmp_path / "page"
    prepare_page(page)
    for path in ("/ledger", "/", ""):
        asyncio.run(Witness(application, page)(scope_of(path), no_receive, drop))
    assert set(read_page(page).values()) == {0}


def test_naive_code_bills_at_the_end_of_a_response(tmp_path: Path) -> None:
    bill = tmp_path / "bill"
    assert naive_totals(bill) == {}
    asyncio.run(NaiveMeter(application, bill)(scope_of("/t-ben/film"), no_receive, drop))
    with pytest.raises(ConnectionError):
        asyncio.run(NaiveMeter(failing, bill)(scope_of("/t-ben/film"), no_receive, drop))
    assert naive_totals(bill) == {"ben": 15}
