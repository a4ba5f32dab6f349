from __future__ import annotations

import pytest

from streamgauge.core.errors import ConflictError
from streamgauge.server.catalog import Catalog
from streamgauge.server.catalog.customers import NewCustomer
from streamgauge.server.catalog.forgotten import EMAIL

MODE = "test_mode"
ANN = NewCustomer(
    customer_id="cus_1",
    email="ann@example.com",
    name="Ann",
    phone_number="+1555",
    metadata={"address": "12 Elm Street"},
    preferred_locale="en",
)


def test_a_tombstone_takes_the_place_of_a_customer_in_its_mode_alone(catalog: Catalog) -> None:
    for mode in (MODE, "live_mode"):
        catalog.customers.create(mode, ANN)
    catalog.forgotten.begin(MODE, "cus_1")
    gone, other = catalog.customers.get(MODE, "cus_1"), catalog.customers.get("live_mode", "cus_1")
    assert (gone.name, gone.email) == ("Forgotten customer", EMAIL)
    assert (gone.phone_number, gone.preferred_locale) == (None, None)
    assert gone.metadata == {"forgotten": True}
    assert other.name == "Ann"


def test_a_forgotten_customer_gets_no_data_again(catalog: Catalog) -> None:
    catalog.customers.create(MODE, ANN)
    catalog.forgotten.begin(MODE, "cus_1")
    catalog.forgotten.begin(MODE, "only_events_know_it")
    with pytest.raises(ConflictError, match="was forgotten"):
        catalog.customers.update(MODE, "cus_1", {"name": "Ann"})
    again = NewCustomer(customer_id="only_events_know_it", email="b@example.com", name="Bob")
    with pytest.raises(ConflictError, match="was forgotten"):
        catalog.customers.create(MODE, again)
    with catalog.database.write() as connection:
        wanted = NewCustomer(email=EMAIL, name="Somebody")
        assert catalog.customers.take_within(connection, MODE, wanted).customer_id != "cus_1"


def test_what_was_begun_is_unfinished_until_it_is_done(catalog: Catalog) -> None:
    assert catalog.forgotten.unfinished() == []
    for _ in range(2):
        catalog.forgotten.begin(MODE, "cus_1")
        (record,) = catalog.forgotten.unfinished()
        assert (record.mode, record.customer_id, record.done_at) == (MODE, "cus_1", None)
        done = catalog.forgotten.finish(MODE, "cus_1")
        assert done.done_at is not None
        assert done.done_at > done.asked_at
        assert catalog.forgotten.unfinished() == []
