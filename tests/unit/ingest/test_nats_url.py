from __future__ import annotations

import pytest

from streamgauge.core.errors import ConfigurationError
from streamgauge.server.ingest.nats_url import parse


def test_every_server_of_a_url_gets_its_scheme_and_login() -> None:
    where = parse("tls://me:pass@one:4222,two:4223/billing?replicas=1&bytes_max=2000000000")
    assert where.servers == ["tls://me:pass@one:4222", "tls://me:pass@two:4223"]
    assert where.name == "billing"
    assert (where.options.replicas, where.options.bytes_max) == (1, 2_000_000_000)


def test_a_url_of_one_host_is_enough() -> None:
    where = parse("nats://localhost")
    assert (where.servers, where.name, where.options.replicas) == (
        ["nats://localhost"],
        "streamgauge",
        3,
    )


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("kafka://one", "be nats://host:port"),
        ("nats://", "be nats://host:port"),
        ("nats://one/a.b", "name a log by 1 to 32 letters"),
        ("nats://one?replicas=0", "replicas and bytes_max"),
        ("nats://one?bytes_max=1000", "replicas and bytes_max"),
        ("nats://one?replica=3", "replicas and bytes_max"),
        ("nats://one?replicas", "replicas and bytes_max"),
    ],
)
def test_a_url_that_is_none_of_a_log_is_refused_with_the_rule(text: str, rule: str) -> None:
    with pytest.raises(ConfigurationError, match=rule) as refused:
        parse(text.replace("//one", "//me:secret@one"))
    assert "secret" not in str(refused.value)
