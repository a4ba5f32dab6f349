from __future__ import annotations

from pathlib import Path

import pytest

from streamgauge.core.errors import ConfigurationError
from streamgauge.server.config import load, paths


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    file = tmp_path / "options.toml"
    file.write_text(
        'data_dir = "/file"\n[listen]\nport = 1\nhost = "::1"\n[log]\nlevel = "error"\n'
    )
    environ = {"STREAMGAUGE_LISTEN_PORT": "2", "STREAMGAUGE_LOG_LEVEL": "debug", "HOME": "/x"}
    config = load(file=file, environ=environ, flags={"listen.port": 3, "listen.host": None})
    assert (config.listen.port, config.listen.host, config.log.level) == (3, "::1", "debug")
    assert config.data_dir == Path("/file")
    assert config.log.format == "text"


@pytest.mark.parametrize(
    ("flags", "environ", "message"),
    [
        ({}, {}, "data_dir is not given"),
        ({"data_dir": "d", "listen.port": 70_000}, {}, r"listen.port \(from the command line\)"),
        ({"data_dir": "d"}, {"STREAMGAUGE_LISTEN_PORT": "x"}, r"listen.port \(from the environ"),
        ({"data_dir": "d"}, {"STREAMGAUGE_LOG_LEVEL": "loud"}, r"log.level \(from the environment"),
        ({"data_dir": "d", "listen.tls_key": "k"}, {}, "listen.*tls_key needs tls_cert"),
        ({"data_dir": "d", "listen.trusted_proxies": ["*"]}, {}, r"listen.*'\*' does not appear"),
        ({"data_dir": "d", "listen.cors_origins": ["a.b"]}, {}, "listen.*'a.b' must be an origin"),
        ({"data_dir": "d", "rate_limit.per_second": -1}, {}, "rate_limit.per_second"),
        ({"data_dir": "d", "role": "reader"}, {}, r"role \(from the command line\)"),
        ({"data_dir": "d", "role": "api"}, {}, "role 'api' needs .* ingest_log is not given"),
        ({"data_dir": "d", "keep_events_days": 34}, {}, "is 34; it must be at least 35"),
        ({"data_dir": "d"}, {"STREAMGAUGE_KEEP_EVENTS_DAYS": "x"}, "keep_events_days .from the en"),
        (
            {"data_dir": "d", "keep_events_days": 90, "store": "clickhouse://h"},
            {},
            "keep_events_days is for the engine in the data directory",
        ),
        ({"data_dir": "d", "listen.prot": 1}, {}, "listen.*unknown field `prot`"),
    ],
)
def test_a_bad_option_is_named_with_its_path_and_source(
    flags: dict[str, object], environ: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load(environ=environ, flags=flags)


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    file = tmp_path / "options.toml"
    file.write_text("data_dir = ")
    with pytest.raises(ConfigurationError, match=r"options\.toml is not TOML"):
        load(file=file)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load(file=tmp_path / "missing.toml")


def test_every_option_has_one_environment_variable() -> None:
    assert paths() == {
        "data_dir": "STREAMGAUGE_DATA_DIR",
        "ingest_log": "STREAMGAUGE_INGEST_LOG",
        "role": "STREAMGAUGE_ROLE",
        "keep_events_days": "STREAMGAUGE_KEEP_EVENTS_DAYS",
        "catalog": "STREAMGAUGE_CATALOG",
        "store": "STREAMGAUGE_STORE",
        "listen.host": "STREAMGAUGE_LISTEN_HOST",
        "listen.port": "STREAMGAUGE_LISTEN_PORT",
        "listen.tls_cert": "STREAMGAUGE_LISTEN_TLS_CERT",
        "listen.tls_key": "STREAMGAUGE_LISTEN_TLS_KEY",
        "listen.trusted_proxies": "STREAMGAUGE_LISTEN_TRUSTED_PROXIES",
        "listen.cors_origins": "STREAMGAUGE_LISTEN_CORS_ORIGINS",
        "log.level": "STREAMGAUGE_LOG_LEVEL",
        "log.format": "STREAMGAUGE_LOG_FORMAT",
        "rate_limit.per_second": "STREAMGAUGE_RATE_LIMIT_PER_SECOND",
        "rate_limit.per_minute": "STREAMGAUGE_RATE_LIMIT_PER_MINUTE",
        "stop_timeout_s": "STREAMGAUGE_STOP_TIMEOUT_S",
    }


def test_lists_are_tables_in_the_file_and_separated_by_commas_in_the_environment(
    tmp_path: Path,
) -> None:
    file = tmp_path / "options.toml"
    file.write_text('data_dir = "d"\n[listen]\ntrusted_proxies = ["10.0.0.0/8", "::1"]\n')
    environ = {"STREAMGAUGE_LISTEN_CORS_ORIGINS": "https://a.example, http://b.example:81"}
    listen = load(file=file, environ=environ).listen
    assert listen.trusted_proxies == ("10.0.0.0/8", "::1")
    assert listen.cors_origins == ("https://a.example", "http://b.example:81")
