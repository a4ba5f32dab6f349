from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from streamgauge.core.errors import (
    ConfigurationError,
    ConflictError,
    StreamgaugeError,
    UnavailableError,
)
from streamgauge.server.catalog import Catalog
from streamgauge.server.catalog.customers import NewCustomer
from tests.unit.catalog.conftest import Place

ANN = NewCustomer(email="ann@example.com", name="Ann")


def at_once(work: Callable[[int], None], threads: int = 8) -> list[StreamgaugeError]:
    refused: list[StreamgaugeError] = []
    ready = threading.Barrier(threads)

    def run(number: int) -> None:
        ready.wait()
        try:
            work(number)
        except StreamgaugeError as error:
            refused.append(error)

    running = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(60)
    return refused


def test_one_of_many_writers_gets_the_id(catalog: Catalog) -> None:
    def create(_number: int) -> None:
        new = NewCustomer(email="a@example.com", name="A", customer_id="the_one")
        catalog.customers.create("test_mode", new)

    refused = at_once(create)
    assert [type(error) for error in refused] == [ConflictError] * 7
    assert len(catalog.customers.list("test_mode")) == 1


def test_writers_wait_for_one_another(catalog: Catalog) -> None:
    def create(_number: int) -> None:
        for _ in range(5):
            catalog.customers.create("test_mode", ANN)

    assert at_once(create) == []
    assert len(catalog.customers.list("test_mode")) == 40


def test_a_writer_that_holds_on_makes_others_unavailable_and_changes_nothing(
    catalog: Catalog, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamgauge.server.catalog.sqlite._BUSY_TIMEOUT_S", 0)
    monkeypatch.setattr("streamgauge.server.catalog.postgresql._LOCK_TIMEOUT_S", 0.05)
    impatient = place.open()
    with place.held_by_a_writer():
        with pytest.raises(UnavailableError, match="cannot be written now"):
            impatient.customers.create("test_mode", ANN)
        assert impatient.customers.list("test_mode") == []
    impatient.customers.create("test_mode", ANN)
    impatient.close()


def test_a_failed_change_leaves_no_part_of_itself(catalog: Catalog) -> None:
    def stumble() -> None:
        with catalog.database.write() as connection:
            catalog.customers.create_within(connection, "test_mode", ANN)
            raise RuntimeError("the process stumbles")

    with pytest.raises(RuntimeError, match="stumbles"):
        stumble()
    assert catalog.customers.list("test_mode") == []


def test_the_stamp_changes_with_every_commit_and_only_then(catalog: Catalog, place: Place) -> None:
    if catalog.blocks:
        assert catalog.database.change_stamp() is None
        return
    before = catalog.database.change_stamp()
    assert catalog.database.change_stamp() == before
    catalog.customers.list("test_mode")
    assert catalog.database.change_stamp() == before
    catalog.customers.create("test_mode", ANN)
    after = catalog.database.change_stamp()
    assert after != before
    other = place.open()
    other.customers.create("test_mode", ANN)
    other.close()
    assert catalog.database.change_stamp() != after


def test_a_directory_is_not_opened_with_another_catalog_than_its_own(
    catalog: Catalog, place: Place
) -> None:
    other = "postgresql://elsewhere.example/other" if place.url is None else None
    with pytest.raises(ConfigurationError, match=r"a catalog of its own|give it as --catalog"):
        Catalog(place.path, url=other)


def test_modes_share_nothing_but_the_business(catalog: Catalog) -> None:
    one = NewCustomer(email="a@example.com", name="A", customer_id="same")
    test = catalog.customers.create("test_mode", one)
    live = catalog.customers.create("live_mode", one)
    assert (test.mode, live.mode) == ("test_mode", "live_mode")
    assert test.business_id == live.business_id
    assert catalog.customers.list("test_mode") == [test]
    assert catalog.customers.find("live_mode", "other") is None
