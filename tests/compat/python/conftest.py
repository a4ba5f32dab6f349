from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from dodopayments import DodoPayments


@pytest.fixture
def client(server: Any) -> Iterator[DodoPayments]:
    # The private flag makes the SDK check every answer against its models.
    with DodoPayments(
        bearer_token=server.token,
        base_url=server.url,
        max_retries=0,
        _strict_response_validation=True,
    ) as made:
        yield made


@pytest.fixture
def customer_id(client: DodoPayments) -> str:
    return client.customers.create(email="ann@example.com", name="Ann").customer_id
