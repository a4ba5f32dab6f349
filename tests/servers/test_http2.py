"""Where exchanges share a connection at a time, the computed model stands in, and says so."""

from __future__ import annotations

from collections.abc import Callable

import httpx

from tests.servers.running import ROWS, Servers

ROW = ROWS["hypercorn HTTP/1.1 TLS"]


def test_streams_of_http_2_are_each_counted_once_and_called_estimated(
    servers: Servers, named: Callable[[str], str]
) -> None:
    server = servers.of(ROW)
    sizes = {named("ann"): 200_000, named("bob"): 70_000}
    with httpx.Client(http2=True, verify=False) as client:
        for customer, size in sizes.items():
            address = f"https://127.0.0.1:{server.ports[ROW.port]}/stream?size={size}"
            got = client.get(address, headers={"x-customer": customer})
            assert (got.http_version, len(got.content)) == ("HTTP/2", size)
    for customer, size in sizes.items():
        (one,) = server.measured(customer)
        assert one["connection"] is None
        assert one["payload"]["bytes"] == size
        hows = [one[layer]["how"] for layer in ("payload", "http", "tls", "wire")]
        assert hows == ["measured", "estimated", "estimated", "estimated"]
        server.billed(customer, size)
