"""Every route that the official package can ask for is answered, or named as not here yet."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import dodopayments
import httpx
import pytest

RESOURCES = Path(dodopayments.__file__).parent / "resources"
CALL = re.compile(
    r'self\._(get|post|put|patch|delete|get_api_list)\(\s*(?:path_template\()?\s*f?"(/[^"]*)"'
)
# Of these everything is here that counts and bills usage.
SERVED = """
DELETE /meters/{id}  GET /meters/{id}
POST /meters/{id}/unarchive
GET /meters  PATCH /meters/{id}
POST /meters
GET /events  GET /events/{event_id}
POST /events/ingest
GET /products  GET /products/{id}
POST /products
DELETE /products/{id}  PATCH /products/{id}
POST /products/{id}/unarchive
GET /customers  GET /customers/{customer_id}
POST /customers
PATCH /customers/{customer_id}  GET /subscriptions
POST /subscriptions
GET /subscriptions/{subscription_id}    PATCH /subscriptions/{subscription_id}
GET /subscriptions/{subscription_id}/usage-history
"""


def routes() -> list[tuple[str, str]]:
    found = set()
    for file in RESOURCES.rglob("*.py"):
        for verb, path in CALL.findall(file.read_text()):
            method = "GET" if verb == "get_api_list" else verb.upper()
            found.add((method, path))
    return sorted(found)


def served() -> set[tuple[str, str]]:
    found = re.findall(r"([A-Z]+) (/\S+)", SERVED)
    return {(method, path) for method, path in found}


@pytest.fixture
def anyone(server: Any) -> Any:
    with httpx.Client(
        base_url=server.url, headers={"authorization": f"Bearer {server.token}"}
    ) as client:
        yield client


def test_every_route_of_the_package_is_answered_or_named(anyone: httpx.Client) -> None:
    asked = routes()
    assert len(asked) > 150
    assert served() <= set(asked)
    for method, template in asked:
        path = re.sub(r"{\w+}", "none", template)
        # As the package sends it: the type of JSON, and no body.
        headers = {"content-type": "application/json"}
        answer = anyone.request(method, path, headers=headers)
        where = f"{method} {template}"
        assert anyone.options(path).status_code == 204, where
        if (method, template) in served():
            assert answer.status_code in {200, 404, 422}, where
            assert "nothing is at" not in answer.text, where
        else:
            assert answer.status_code == 501, where
            assert answer.json()["code"] == "NOT_IMPLEMENTED"
            assert f"{method} {path} of" in answer.json()["message"]
            assert answer.headers["x-should-retry"] == "false"
