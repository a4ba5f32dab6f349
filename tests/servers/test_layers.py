"""Every server of the matrix, at every layer, on connections that are used again."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.servers.running import FIRST_TIER, ROWS, Servers


@pytest.mark.parametrize("name", FIRST_TIER)
def test_a_response_is_exact_on_every_server(
    servers: Servers, named: Callable[[str], str], name: str
) -> None:
    row = ROWS[name]
    server = servers.of(row)
    client = server.connect(row)
    customers = [named("ann"), named("bob"), named("ann")]
    targets = ["/stream?size=200000", "/stream?size=70001&framing=chunked&chunk=8192", "/stream"]
    if "sync" in name:
        targets, customers = targets[:1], customers[:1]
    for target, customer in zip(targets, customers, strict=True):
        client.get(target, customer)
    client.end()
    for customer in dict.fromkeys(customers):
        seen = [one for one in client.responses if one.customer_id == customer]
        sizes = [one.payload_bytes for one in seen if one.payload_bytes]
        got = [one for one in server.measured(customer, len(sizes)) if one["payload"]["bytes"]]
        assert [one["payload"]["bytes"] for one in got] == sizes
        assert [one["http"]["bytes"] for one in got] == [one.http_bytes for one in seen][: len(got)]
        assert [one["tls"]["bytes"] for one in got] == [one.stream_bytes for one in seen][
            : len(got)
        ]
        server.billed(customer, sum(sizes))
