"""The official npm packages, unmodified, against a running server."""

from __future__ import annotations

import json
import os
import subprocess
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from dodopayments import DodoPayments

pytestmark = pytest.mark.node

HERE = Path(__file__).parent
NUMBERS = count()


def run_script(server: Any, *arguments: str) -> tuple[str, dict[str, Any]]:
    run = f"{os.getpid()}_{next(NUMBERS)}"
    environment = os.environ | {
        "METERING_BASE_URL": server.url,
        "METERING_API_KEY": server.token,
        "METERING_RUN": run,
        "NO_PROXY": "127.0.0.1",
    }
    done = subprocess.run(
        ["node", *arguments], cwd=HERE, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    return run, seen


@pytest.fixture(scope="module")
def sdk(server: Any) -> dict[str, Any]:
    return run_script(server, "sdk.mjs")[1]


@pytest.fixture(scope="module")
def blueprint(server: Any) -> tuple[str, dict[str, Any]]:
    return run_script(server, "--import", "./redirect.mjs", "blueprint.mjs")


def stored(server: Any, name: str) -> list[Any]:
    with DodoPayments(bearer_token=server.token, base_url=server.url) as client:
        return client.usage_events.list(event_name=name, page_size=100).items


def test_npm_meters_are_created_got_listed_archived_and_unarchived(sdk: dict[str, Any]) -> None:
    assert sdk["meterAgain"] == sdk["meter"]
    assert sdk["meterListed"]
    assert sdk["meterArchived"]


def test_npm_customers_products_and_subscriptions_are_made_and_found(sdk: dict[str, Any]) -> None:
    assert sdk["customerAgain"] == sdk["customer"]
    assert sdk["customerChanged"]["name"] == "Changed"
    assert sdk["customers"] == 1
    assert sdk["productAgain"] == sdk["product"]
    assert sdk["productListed"]
    assert sdk["productRenamed"] == "npm plan, renamed"
    assert sdk["productArchived"]
    assert sdk["subscriptions"] == [sdk["subscription"]["subscription_id"]]
    assert sdk["cancelled"]["status"] == "cancelled"
    assert sdk["subscription"]["meters"][0]["meter_id"] == sdk["meter"]["id"]


def test_npm_events_are_ingested_once_listed_and_got(sdk: dict[str, Any]) -> None:
    counts = [sdk[name]["ingested_count"] for name in ("ingestedOne", "ingestedAgain")]
    assert counts == [1, 1]
    assert sdk["ingestedThousand"]["ingested_count"] == 1000
    event, sent = sdk["event"], sdk["sent"]
    assert event["event_id"] == sent["event_id"]
    assert event["metadata"] == sent["metadata"]
    assert (sdk["firstPage"], sdk["walked"]) == (10, 1001)


def test_npm_events_are_listed_by_customer_meter_and_time(sdk: dict[str, Any]) -> None:
    # Above 600 and below 900, or of 1080p.
    assert sdk["filtered"] == 299 + 1
    assert sdk["filteredBefore"] == 0
    assert sdk["unfitting"]["name"] == "BadRequestError"
    assert sdk["unfitting"]["body"]["code"] == "INVALID_REQUEST_PARAMETERS"


def test_npm_usage_history_bills_every_event_once(sdk: dict[str, Any]) -> None:
    (period,) = sdk["history"]
    line, _peak = period["meters"]
    consumed = 500 + sum(range(1000))
    assert line["consumed_units"] == str(consumed)
    assert line["chargeable_units"] == str(consumed - 1000)
    assert line["total_price"] == (consumed - 1000) // 100


def test_npm_a_filter_of_three_levels_decides_on_a_maximum(sdk: dict[str, Any]) -> None:
    assert sdk["peak"]["filter"] == sdk["nested"]
    assert sdk["peakHistory"]["consumed_units"] == "899"


def test_npm_errors_carry_code_and_message(sdk: dict[str, Any]) -> None:
    assert sdk["missing"]["name"] == "NotFoundError"
    assert sdk["missing"]["body"]["code"] == "NOT_FOUND"
    assert sdk["unsupported"]["status"] == 501
    assert sdk["unsupported"]["body"]["code"] == "NOT_IMPLEMENTED"


@pytest.mark.parametrize(
    ("name", "metadata"),
    [
        ("stream", {"bytes": 10485760, "stream_type": "video", "quality": "1080p"}),
        ("storage", {"bytes": 2048, "bucket": "b"}),
        ("time", {"durationMs": 1500, "durationSeconds": 1.5}),
        ("api", {"endpoint": "/v1", "status": 200}),
        ("plain", {}),
    ],
)
def test_a_blueprint_call_is_one_event_with_its_metadata(
    server: Any, blueprint: tuple[str, dict[str, Any]], name: str, metadata: dict[str, object]
) -> None:
    run, _ = blueprint
    (event,) = stored(server, f"{name}_{run}")
    assert (event.customer_id, event.metadata or {}) == (f"customer_{run}", metadata)


def test_a_blueprint_batch_loses_nothing(
    server: Any, blueprint: tuple[str, dict[str, Any]]
) -> None:
    run, _ = blueprint
    calls = sorted(event.metadata["call"] for event in stored(server, f"batch_{run}"))
    assert calls == list(range(25))


def test_the_blueprint_tracks_tokens_by_hand_and_around_a_client(
    server: Any, blueprint: tuple[str, dict[str, Any]]
) -> None:
    run, seen = blueprint
    tokens = {"inputTokens": 11, "outputTokens": 7, "totalTokens": 18, "model": "a-model"}
    found = {event.metadata["feature"]: event.metadata for event in stored(server, f"llm_{run}")}
    assert found == {name: tokens | {"feature": name} for name in ("manual", "wrapped")}
    assert seen["wrapped"]["model"] == "a-model"


def test_the_blueprints_own_client_ingests_batches_and_checks_health(
    server: Any, blueprint: tuple[str, dict[str, Any]]
) -> None:
    run, seen = blueprint
    assert (seen["healthy"], seen["trackerHealthy"]) == (True, True)
    assert seen["direct"]["ingested_count"] == 1000
    assert seen["again"]["ingested_count"] == 1
    assert len(stored(server, f"direct_{run}")) == 100
    assert seen["refused"]["name"] == "APIError"
    assert "unknown or revoked" in seen["refused"]["message"]
