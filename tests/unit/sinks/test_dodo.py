from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from email.utils import formatdate
from typing import Any

import pytest

from streamgauge.core.errors import ConfigurationError, InvalidInputError
from streamgauge.sinks.base import (
    AuthError,
    BatchRefusedError,
    BatchTooLargeError,
    Outgoing,
    RetryLaterError,
)
from streamgauge.sinks.dodo import DodoSink
from streamgauge.sinks.transport import HttpTransport

KEY = "sg_test_0123456789"
NOW_S = 1_700_000_000
Event = Callable[..., Outgoing]


class StoppedClock:
    def time_ns(self) -> int:
        return NOW_S * 1_000_000_000

    def monotonic_ns(self) -> int:
        return 0


@pytest.fixture
def sink(server: Any) -> Iterator[DodoSink]:
    sink = DodoSink(
        environment="test_mode", api_key=KEY, base_url=server.address, clock=StoppedClock()
    )
    yield sink
    sink.close()


def test_a_batch_is_one_request_in_the_form_of_the_contract(
    server: Any, sink: DodoSink, event: Event
) -> None:
    server.then(200, b'{"ingested_count":2}')
    delivered = sink.deliver([event("a-0", 5), event("a-1", 6)])
    assert delivered.acknowledged == ("a-0", "a-1")
    assert delivered.refused == ()
    (request,) = server.requests
    assert request.path == "/events/ingest"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("streamgauge/")
    assert json.loads(request.body) == {
        "events": [
            {
                "event_id": event_id,
                "customer_id": "customer_1",
                "event_name": "stream_consumption",
                "timestamp": "2023-11-14T22:13:20Z",
                "metadata": {"bytes": size, "quality": "hd"},
            }
            for event_id, size in (("a-0", 5), ("a-1", 6))
        ]
    }


def test_batches_share_one_connection(server: Any, sink: DodoSink, event: Event) -> None:
    for number in range(3):
        sink.deliver([event(f"a-{number}")])
    assert len({request.client for request in server.requests}) == 1


def test_a_chunked_answer_is_an_answer(server: Any, sink: DodoSink, event: Event) -> None:
    server.then(200, b'{"ingested_count":1}', chunked=True)
    assert sink.deliver([event("a-0")]).acknowledged == ("a-0",)


@pytest.mark.parametrize("status", [404, 405, 408, 409, 425, 429, 500, 501, 502, 503, 504])
def test_a_passing_trouble_asks_for_the_same_batch_later(
    server: Any, sink: DodoSink, event: Event, status: int
) -> None:
    server.then(status, b'{"code":"X","message":"no luck"}')
    with pytest.raises(RetryLaterError, match=f"answered {status}: no luck") as caught:
        sink.deliver([event("a-0")])
    assert not isinstance(caught.value, AuthError)
    assert caught.value.retry_after_s is None
    assert sink.deliver([event("a-0")]).acknowledged == ("a-0",)
    assert server.requests[0].body == server.requests[1].body


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": formatdate(NOW_S + 30, usegmt=True)}, 30.0),
        ({"Retry-After": formatdate(NOW_S - 30, usegmt=True)}, 0.0),
        ({"Retry-After": "999999999"}, 600.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "Mon, 99999999999999999999 Jan 2026 00:00:00 GMT"}, None),
        ({"Retry-After": "Mon, 01 Jan 2026 00:00:00 +99999999999999"}, None),
        ({"X-RateLimit-Reset": "12"}, 12.0),
        ({"X-RateLimit-Reset": str(NOW_S + 5)}, 5.0),
        ({"X-RateLimit-Reset": "12", "X-RateLimit-Remaining": "3"}, None),
        ({"Retry-After": "2", "X-RateLimit-Reset": "50"}, 2.0),
    ],
)
def test_the_wait_that_a_429_names_is_read_and_bounded(
    server: Any, sink: DodoSink, event: Event, headers: dict[str, str], wait_s: float | None
) -> None:
    server.then(429, b"slow down", headers)
    with pytest.raises(RetryLaterError) as caught:
        sink.deliver([event("a-0")])
    assert caught.value.retry_after_s == wait_s


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_read_again_and_the_fresh_one_used_at_once(
    server: Any, event: Event, status: int
) -> None:
    keys = iter(["sg_test_old", "sg_test_new\n", "sg_test_unread"])
    sink = DodoSink(environment="test_mode", api_key=lambda: next(keys), base_url=server.address)
    server.then(status, b'{"code":"UNAUTHORIZED","message":"revoked"}')
    assert sink.deliver([event("a-0")]).acknowledged == ("a-0",)
    sink.deliver([event("a-1")])
    sink.close()
    assert [request.headers["authorization"] for request in server.requests] == [
        "Bearer sg_test_old",
        "Bearer sg_test_new",
        "Bearer sg_test_new",
    ]


def test_a_key_from_the_environment_is_read_again(
    server: Any, event: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DODO_PAYMENTS_API_KEY", "first")
    sink = DodoSink(environment="test_mode", base_url=server.address)
    monkeypatch.setenv("DODO_PAYMENTS_API_KEY", "second")
    server.then(401)
    sink.deliver([event("a-0")])
    sink.close()
    assert server.requests[1].headers["authorization"] == "Bearer second"


def test_a_key_refused_twice_is_an_auth_error_and_no_third_request(
    server: Any, sink: DodoSink, event: Event
) -> None:
    server.then(401, b'{"code":"UNAUTHORIZED","message":"who are you"}')
    with pytest.raises(AuthError, match="who are you"):
        sink.deliver([event("a-0")])
    assert len(server.requests) == 1


def test_a_key_function_that_fails_keeps_the_events_and_hides_its_message(
    server: Any, event: Event
) -> None:
    def broken() -> str:
        raise RuntimeError("vault says sg_test_secret is locked")

    sink = DodoSink(environment="test_mode", api_key=broken, base_url=server.address)
    with pytest.raises(AuthError, match=r"api_key\(\) raised RuntimeError") as caught:
        sink.deliver([event("a-0")])
    assert "secret" not in str(caught.value)
    assert server.requests == []


def test_a_key_function_that_gives_a_live_key_in_test_mode_sends_nothing(
    server: Any, event: Event
) -> None:
    sink = DodoSink(
        environment="test_mode", api_key=lambda: "sg_live_secret", base_url=server.address
    )
    with pytest.raises(AuthError, match="test_mode") as caught:
        sink.deliver([event("a-0")])
    assert "secret" not in str(caught.value)
    assert server.requests == []


def test_413_asks_for_a_smaller_batch(server: Any, sink: DodoSink, event: Event) -> None:
    server.then(413)
    with pytest.raises(BatchTooLargeError):
        sink.deliver([event("a-0")])


def test_a_batch_over_the_contract_is_not_sent(server: Any, sink: DodoSink, event: Event) -> None:
    with pytest.raises(BatchTooLargeError, match="1001 events"):
        sink.deliver([event(f"a-{number}") for number in range(1001)])
    assert server.requests == []


@pytest.mark.parametrize("status", [400, 422])
def test_a_refusal_with_a_list_names_the_guilty(
    server: Any, sink: DodoSink, event: Event, status: int
) -> None:
    answer = {
        "code": "INVALID_REQUEST_PARAMETERS",
        "message": "2 events are invalid",
        "errors": [
            {"index": 0, "event_id": "a-0", "field": "timestamp", "reason": "timestamp is early"},
            {"index": 0, "event_id": "a-0", "field": "metadata.bytes", "reason": "too long"},
            {"index": 2, "event_id": None, "field": "customer_id", "reason": "blank"},
            {"event_id": "a-1", "error": "Dodo's form"},
            {"index": 9, "event_id": "another's", "reason": "not ours"},
        ],
    }
    server.then(status, json.dumps(answer).encode())
    with pytest.raises(BatchRefusedError, match="2 events are invalid") as caught:
        sink.deliver([event("a-0"), event("a-1"), event("a-2"), event("a-3")])
    assert {refusal.event_id: refusal.reason for refusal in caught.value.guilty} == {
        "a-0": "timestamp is early; metadata.bytes: too long",
        "a-1": "Dodo's form",
        "a-2": "customer_id: blank",
    }


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"errors":"x"}', b"\xff"])
def test_a_refusal_that_is_not_the_apis_condemns_nothing(
    server: Any, sink: DodoSink, event: Event, body: bytes, status: int
) -> None:
    server.then(status, body)
    with pytest.raises(RetryLaterError, match=f"answered {status} without code"):
        sink.deliver([event("a-0")])


@pytest.mark.parametrize("body", [b'{"message":"bad"}', b'{"code":"BAD"}'])
def test_a_refusal_without_a_list_names_nobody(
    server: Any, sink: DodoSink, event: Event, body: bytes
) -> None:
    server.then(400, body)
    with pytest.raises(BatchRefusedError, match="answered 400") as caught:
        sink.deliver([event("a-0")])
    assert caught.value.guilty == ()


@pytest.mark.parametrize(
    "body", [b"", b"<html>sign in</html>", b"{}", b'{"ingested_count":"1"}', b"1", b"\xff"]
)
def test_a_200_that_is_not_the_api_is_no_acknowledgement(
    server: Any, sink: DodoSink, event: Event, body: bytes
) -> None:
    server.then(200, body)
    with pytest.raises(RetryLaterError, match="without ingested_count"):
        sink.deliver([event("a-0")])


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_named_and_not_followed(
    server: Any, sink: DodoSink, event: Event, status: int
) -> None:
    server.then(status, headers={"Location": f"{server.address}/elsewhere"})
    with pytest.raises(RetryLaterError, match="elsewhere; redirects are not followed"):
        sink.deliver([event("a-0")])
    assert [request.path for request in server.requests] == ["/events/ingest"]


@pytest.mark.parametrize("how", ["reset", "hang up"])
def test_a_first_connection_that_breaks_is_tried_later(
    server: Any, sink: DodoSink, event: Event, how: str
) -> None:
    server.then_breaks_off(how)
    with pytest.raises(RetryLaterError, match="gave no answer"):
        sink.deliver([event("a-0")])
    assert len(server.requests) == 1


def test_a_kept_alive_connection_that_breaks_is_replaced_at_once(
    server: Any, sink: DodoSink, event: Event
) -> None:
    sink.deliver([event("a-0")])
    server.then_breaks_off("hang up")
    assert sink.deliver([event("a-1")]).acknowledged == ("a-1",)
    assert server.requests[1].body == server.requests[2].body


def test_an_answer_cut_short_is_no_acknowledgement(
    server: Any, sink: DodoSink, event: Event
) -> None:
    server.then(200, b'{"ingested_count":1}', {"content-length": "5000", "connection": "close"})
    with pytest.raises(RetryLaterError):
        sink.deliver([event("a-0")])


def test_an_endless_answer_is_cut_off_and_the_next_request_is_clean(
    server: Any, sink: DodoSink, event: Event
) -> None:
    server.then(200, b'{"ingested_count":1}' + b" " * (5 * 1024 * 1024))
    with pytest.raises(RetryLaterError, match="did not finish"):
        sink.deliver([event("a-0")])
    assert sink.deliver([event("a-0")]).acknowledged == ("a-0",)


def test_nobody_listening_is_tried_later(event: Event) -> None:
    sink = DodoSink(environment="test_mode", api_key=KEY, base_url="http://127.0.0.1:1")
    with pytest.raises(RetryLaterError, match=r"127\.0\.0\.1:1 gave no answer"):
        sink.deliver([event("a-0")])


def test_a_silent_server_times_out(server: Any, event: Event) -> None:
    transport = HttpTransport(server.address, answer_timeout_s=0.05)
    sink = DodoSink(environment="test_mode", api_key=KEY, transport=transport)
    server.then(200, b"1234", {"content-length": "5"})
    with pytest.raises(RetryLaterError, match="gave no answer"):
        sink.deliver([event("a-0")])
    sink.close()


def test_proxies_of_the_environment_are_not_used(
    server: Any, sink: DodoSink, event: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert sink.deliver([event("a-0")]).acknowledged == ("a-0",)


def test_a_path_prefix_of_the_address_is_kept(server: Any, event: Event) -> None:
    sink = DodoSink(environment="test_mode", api_key=KEY, base_url=f"{server.address}/billing/")
    sink.deliver([event("a-0")])
    sink.close()
    assert server.requests[0].path == "/billing/events/ingest"


def test_the_destination_names_address_mode_and_account_and_no_key() -> None:
    dodo = DodoSink(environment="live_mode", api_key="dodo_live_secret")
    assert dodo.destination == "https://live.dodopayments.com live_mode"
    other = DodoSink(environment="live_mode", api_key="k", account="eu")
    assert other.destination == "https://live.dodopayments.com live_mode eu"
    rotated = DodoSink(environment="live_mode", api_key="dodo_live_other")
    assert rotated.destination == dodo.destination
    assert "secret" not in repr(dodo)


def test_two_spellings_of_an_address_are_one_destination() -> None:
    destinations = {
        DodoSink(environment="test_mode", api_key="k", base_url=address).destination
        for address in ("http://Billing.Example:80/a", "HTTP://billing.example:80/a/")
    }
    assert destinations == {"http://billing.example:80/a test_mode"}


def test_the_key_is_in_no_log_and_no_error(
    server: Any, sink: DodoSink, event: Event, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    errors = []
    for status in (401, 400, 500, 302):
        server.then(status)
        with pytest.raises(Exception, match="answered") as caught:
            sink.deliver([event("a-0")])
        errors.append(str(caught.value))
    repeats = b'{"message": "there is no key %s"}' % KEY.encode()
    for status in (401, 400, 500, 302):
        server.then(status, repeats, {"Location": f"/login?key={KEY}"})
        with pytest.raises(Exception, match="answered") as caught:
            sink.deliver([event("a-0")])
        errors.append(str(caught.value))
    server.then_breaks_off("reset")
    sink.deliver([event("a-0")])
    assert KEY not in caplog.text
    assert KEY not in "".join(errors)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"environment": "prod"}, "environment is 'prod'; it must be test_mode or live_mode"),
        ({"api_key": "sg_live_0123"}, "'sg_live_...'; it must be a key of test_mode"),
        ({"api_key": "dodo_live_0123"}, "'dodo_live_...'; it must be a key of test_mode"),
        (
            {"environment": "live_mode", "api_key": "sg_test_0123"},
            "'sg_test_...'; it must be a key of live_mode",
        ),
        ({"account": " "}, "account is ' '; it must"),
    ],
)
def test_an_option_that_breaks_a_rule_is_named(options: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        DodoSink(**{"environment": "test_mode", "api_key": KEY, **options})
    assert message in str(caught.value)
    assert "0123" not in str(caught.value)


@pytest.mark.parametrize("key", ["", "  ", "two words", "line\nbreak", "schlüssel"])
def test_a_key_that_cannot_stand_in_a_header_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(ConfigurationError, match="DODO_PAYMENTS_API_KEY") as caught:
        DodoSink(environment="test_mode", api_key=key)
    assert not key.strip() or key not in str(caught.value)


def test_no_key_at_all_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DODO_PAYMENTS_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="DODO_PAYMENTS_API_KEY"):
        DodoSink(environment="test_mode")


@pytest.mark.parametrize(
    "address",
    [
        "",
        "localhost:8000",
        "ftp://a",
        "http://",
        "http://a:99999",
        "http://user:secret@a",
        "http://a?key=secret",
        "http://a#secret",
        7,
    ],
)
def test_an_address_that_is_none_is_refused(address: Any) -> None:
    with pytest.raises(ConfigurationError, match="base_url") as caught:
        HttpTransport(address)
    assert "secret" not in str(caught.value)


def test_a_sink_does_not_import_urllib3_before_its_first_request() -> None:
    program = (
        "import sys; from streamgauge.sinks.dodo import DodoSink; "
        "DodoSink(environment='test_mode', api_key='k'); "
        "sys.exit('urllib3' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_forked_child_speaks_on_a_connection_of_its_own(
    server: Any, sink: DodoSink, event: Event
) -> None:
    program = (
        "import os, sys\n"
        "from streamgauge.sinks.base import Outgoing\n"
        "from streamgauge.sinks.dodo import DodoSink\n"
        "sink = DodoSink(environment='test_mode', api_key='k', base_url=sys.argv[1])\n"
        "send = lambda name: sink.deliver([Outgoing(event_id=name, body=b'{}', quantity=None)])\n"
        "send('parent')\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    send('child')\n"
        "    os._exit(0)\n"
        "status = os.waitpid(child, 0)[1]\n"
        "send('parent again')\n"
        "sys.exit(status)\n"
    )
    subprocess.run([sys.executable, "-c", program, server.address], check=True, timeout=30)
    parent, child, again = (request.client for request in server.requests)
    assert parent == again != child
