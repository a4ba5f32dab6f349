from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from streamgauge import ConfigurationError, Ingestion, InvalidInputError, track_stream_bytes
from streamgauge.testing import MemorySink

NAN = float("nan")
VALID: dict[str, Any] = {"customer_id": "ada", "bytes": 10}


@pytest.mark.parametrize(
    ("field", "call"),
    [
        ("bytes", {"bytes": -1}),
        ("bytes", {"bytes": 1.5}),
        ("bytes", {"bytes": 1.0}),
        ("bytes", {"bytes": NAN}),
        ("bytes", {"bytes": True}),
        ("bytes", {"bytes": "10"}),
        ("bytes", {"bytes": Decimal(10)}),
        ("bytes", {"bytes": 2**53}),
        pytest.param("bytes", {"bytes": 10**5_000}, id="bytes-huge"),
        ("customer_id", {"customer_id": ""}),
        ("customer_id", {"customer_id": " "}),
        ("customer_id", {"customer_id": None}),
        ("customer_id", {"customer_id": "c" * 256}),
        ("event_id", {"event_id": ""}),
        ("event_id", {"event_id": 7}),
        ("timestamp", {"timestamp": "2026-01-01"}),
        ("timestamp", {"timestamp": datetime(2014, 12, 31, tzinfo=UTC)}),
        ("timestamp", {"timestamp": datetime.now(UTC) + timedelta(hours=1)}),
        ("metadata.bytes", {"metadata": {"bytes": 3}}),
        ("metadata.nested", {"metadata": {"nested": {"a": 1}}}),
        ("metadata.list", {"metadata": {"list": [1]}}),
        ("metadata.none", {"metadata": {"none": None}}),
        ("metadata.nan", {"metadata": {"nan": NAN}}),
        ("metadata", {"metadata": {str(n): n for n in range(50)}}),
        ("metadata", {"metadata": ["a"]}),
        ("metadata key", {"metadata": {7: "a"}}),
        ("metadata key", {"metadata": {"k" * 101: "a"}}),
        ("metadata.long", {"metadata": {"long": "v" * 501}}),
    ],
)
def test_a_bad_plain_call_names_its_field_and_changes_nothing(
    ingest: Callable[..., Ingestion], sink: MemorySink, field: str, call: dict[str, Any]
) -> None:
    ingestion = ingest()
    with pytest.raises(InvalidInputError) as caught:
        track_stream_bytes(ingestion, **(VALID | call))
    assert caught.value.field == field
    assert "must" in str(caught.value)
    assert ingestion.flush()
    assert sink.events == []
    assert ingestion.stats().counted_bytes == 0


@pytest.mark.parametrize(
    "n", [-1, 1.5, NAN, True, "10", None, 2**64, pytest.param(-(10**5_000), id="huge")]
)
def test_a_bad_chunk_is_refused_and_not_counted(ingest: Callable[..., Ingestion], n: Any) -> None:
    ingestion = ingest()
    for opened in (False, True):
        session = ingestion.session(customer_id="ada")
        if opened:
            session.add(5)
        with pytest.raises(InvalidInputError, match="bytes"):
            session.add(n)
        assert session.total == (5 if opened else 0)


def test_a_session_refuses_bad_metadata_when_it_is_made(ingest: Callable[..., Ingestion]) -> None:
    with pytest.raises(InvalidInputError, match="customer_id"):
        ingest().session(customer_id="")
    with pytest.raises(InvalidInputError, match=r"metadata\.bytes"):
        ingest().session(customer_id="ada", metadata={"bytes": 1})


@pytest.mark.parametrize(
    ("field", "option"),
    [
        ("environment", {"environment": "production"}),
        ("event_name", {"event_name": ""}),
        ("window_s", {"window_s": 7}),
        ("window_s", {"window_s": 0}),
        ("window_s", {"window_s": 60.0}),
        ("batch_events_max", {"batch_events_max": 1_001}),
        ("batch_events_max", {"batch_events_max": True}),
        ("flush_interval_s", {"flush_interval_s": 0}),
        ("delivery_interval_s", {"delivery_interval_s": -1}),
        ("sync_interval_s", {"sync_interval_s": NAN}),
        ("sync_interval_s", {"sync_interval_s": "1"}),
    ],
)
def test_a_bad_option_names_itself(
    ingest: Callable[..., Ingestion], field: str, option: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        ingest(**option)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("environment", "key"),
    [("test_mode", "dodo_live_x"), ("test_mode", "sg_live_x"), ("live_mode", "sg_test_x")],
)
def test_a_key_of_the_other_environment_is_refused_and_not_shown(
    spool_dir: Path, environment: str, key: str
) -> None:
    secret = f"{key}-secret"
    with pytest.raises(InvalidInputError, match="api_key") as caught:
        Ingestion(environment=environment, event_name="s", api_key=secret, spool_dir=spool_dir)
    assert "secret" not in str(caught.value)
    assert not spool_dir.exists()


def test_without_a_key_the_error_says_where_keys_come_from(
    spool_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DODO_PAYMENTS_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="DODO_PAYMENTS_API_KEY"):
        Ingestion(environment="test_mode", event_name="s", spool_dir=spool_dir)


def test_a_key_beside_a_sink_is_refused(ingest: Callable[..., Ingestion]) -> None:
    with pytest.raises(ConfigurationError, match="sink"):
        ingest(api_key="sg_test_x")
