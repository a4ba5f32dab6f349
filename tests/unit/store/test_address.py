from __future__ import annotations

from pathlib import Path

import pytest

from streamgauge.core.errors import ConfigurationError
from streamgauge.server.store.address import address_of


def test_a_server_is_reached_as_its_url_says(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    query = f"?secure=true&verify=false&ca_cert={tmp_path / 'ca.pem'}"
    found = address_of(f"clickhouse://a%40b:p%2Fw%3F@[::1]:9443/db_1{query}")
    asked = {"host": "::1", "port": 9443, "interface": "https", "username": "a@b"}
    asked |= {"password": "p/w?", "verify": False, "ca_cert": str(tmp_path / "ca.pem")}
    assert asked.items() <= found.options.items()
    assert (found.database, found.remote) == ("db_1", True)


@pytest.mark.parametrize(
    ("dsn", "interface", "port"),
    [
        ("clickhouse://h", "http", 8123),
        ("clickhouse://h/?secure=1", "https", 8443),
        ("clickhouse://h:8443", "https", 8443),
        ("clickhouse://h:8443/?secure=0", "http", 8443),
    ],
)
def test_what_a_url_leaves_out_has_a_usual_value(dsn: str, interface: str, port: int) -> None:
    found = address_of(dsn)
    assert (found.options["interface"], found.options["port"]) == (interface, port)
    assert (found.options["username"], found.database) == ("default", "streamgauge")


def test_the_engine_in_this_process_is_a_directory() -> None:
    found = address_of("chdb:///a/b")
    assert (found.options, found.database, found.remote) == (
        {"dsn": "chdb:///a/b"},
        "streamgauge",
        False,
    )


@pytest.mark.parametrize(
    "dsn",
    [
        "",
        "hush",
        "http://a:hush@h:8123/db",
        "clickhouse://a:hush@",
        "clickhouse://a:hush@h:port/db",
        "clickhouse://a:hush@h/d-b",
        "clickhouse://a:hush@h/a/b",
        "clickhouse://a:hush@h/db?secure=perhaps",
        "clickhouse://a:hush@h/db?ca_cert=/not/there",
        "clickhouse://a:hush@h/db?query_limit=1",
    ],
)
def test_another_address_is_refused_without_showing_its_password(dsn: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^store ") as refused:
        address_of(dsn)
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("name", ["a?b", "a#b"])
def test_a_directory_that_the_engine_would_cut_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"must hold no \? and no #"):
        address_of(f"chdb:///data/{name}/engine")
