from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from streamgauge.demo.audience import AUDIENCE, Plays
from streamgauge.demo.compare import (
    Charge,
    ChargeLine,
    CountedEvent,
    CrashCost,
    ForeignEventIdError,
    LayerSums,
    Ledger,
    Row,
    Verdict,
    crash_cost,
    judge,
)
from streamgauge.demo.held import Limits, held, read_limits
from streamgauge.demo.payload import Exchange
from streamgauge.demo.relay import Connection, Ending

LIMITS = Limits(write_buffer_bytes=60, chunk_bytes=20, send_buffer_bytes=1_000)
WRITER = "0" * 32


def connection(exchange: Exchange, ending: Ending) -> Connection:
    made = Connection(receive_buffer_bytes=500)
    made.exchanges.append(exchange)
    made.end(ending)
    return made


def row(received: int, counted: int, *, left_early: bool = False) -> Row:
    charge = Charge(currency="USD", total=0, total_text="0.00 USD", lines=())
    return Row(
        customer_id="ana",
        does="watches",
        received=received,
        unread=0,
        counted=counted,
        invoiced=counted,
        naive=0,
        disturbed=False,
        left_early=left_early,
        held=(),
        held_bytes_max=0,
        charge=charge,
        layers=LayerSums(payload=counted, http=0, tls=0, wire=0, arrived=0, is_whole=False),
        verdict=Verdict.EXACT,
        agrees=True,
    )


def event(sequence: int, size: int) -> CountedEvent:
    return CountedEvent(event_id=f"{WRITER}-{sequence}", customer_id="ana", bytes=size)


@pytest.mark.parametrize(
    ("received", "counted", "invoiced", "held_bytes_max", "verdict"),
    [
        (100, 100, 100, 0, Verdict.EXACT),
        (100, 101, 101, 0, Verdict.WRONG),
        (100, 99, 99, 50, Verdict.WRONG),
        (100, 100, 99, 50, Verdict.WRONG),
        (100, 150, 150, 50, Verdict.HELD),
        (100, 151, 151, 50, Verdict.WRONG),
        (100, 100, 100, 50, Verdict.EXACT),
    ],
)
def test_figures_agree_only_within_what_was_held(
    received: int, counted: int, invoiced: int, held_bytes_max: int, verdict: Verdict
) -> None:
    figures = {"received": received, "counted": counted, "invoiced": invoiced}
    assert judge(**figures, held_bytes_max=held_bytes_max) is verdict


@pytest.mark.parametrize(
    ("http", "tls", "wire", "arrived", "is_whole", "agrees"),
    [
        (110, 110, 120, 110, True, True),
        (110, 110, 120, 111, True, False),
        (99, 99, 120, 99, True, False),
        (110, 110, 109, 110, True, False),
        (110, 111, 120, 110, True, False),
        (99, 99, 120, 110, False, True),
        (111, 111, 120, 110, False, False),
    ],
)
def test_layers_lie_above_one_another_and_http_is_what_arrived(
    http: int, tls: int, wire: int, arrived: int, is_whole: bool, agrees: bool
) -> None:
    sums = LayerSums(payload=100, http=http, tls=tls, wire=wire, arrived=arrived, is_whole=is_whole)
    assert sums.agrees is agrees


@pytest.mark.parametrize(
    ("exchange", "ending", "bytes_max"),
    [
        (Exchange(target="/", payload=5, declared=9_000, at_death=5), Ending.FINISHED, 100),
        (Exchange(target="/", payload=5, declared=9_000, at_death=5), Ending.RESET, 1_600),
        (Exchange(target="/", payload=5, declared=9_000, at_death=5), Ending.LEFT, 1_600),
        (Exchange(target="/", payload=5, declared=9_000), Ending.LEFT, 0),
        (Exchange(target="/", payload=5, declared=30, at_death=5), Ending.RESET, 25),
        (Exchange(target="/", payload=5, at_death=5), Ending.FINISHED, 100),
        (
            Exchange(target="/", payload=9, declared=9, at_death=5, complete=True),
            Ending.FINISHED,
            0,
        ),
    ],
)
def test_what_may_have_been_held_depends_on_how_the_connection_ended(
    exchange: Exchange, ending: Ending, bytes_max: int
) -> None:
    (part,) = held(connection(exchange, ending), LIMITS)
    assert part.bytes_max == bytes_max


def test_nothing_was_held_of_a_response_that_arrived_undisturbed() -> None:
    whole = Exchange(target="/", payload=9, declared=9, complete=True)
    assert held(connection(whole, Ending.LEFT), LIMITS) == []


def test_the_limits_are_read_from_the_system(tmp_path: Path) -> None:
    table = tmp_path / "tcp_wmem"
    table.write_text("4096\t16384\t4194304\n")
    limits = read_limits(table)
    assert limits.send_buffer_bytes == 4_194_304
    assert limits.process_bytes == 65_536 + 2 * 65_536


def cost_of(
    events: list[CountedEvent], made: Row, *, witnessed: int, unsettled: int = 0
) -> CrashCost:
    ledger = Ledger(holds=True, recovered_bytes=7, unsettled_bytes=unsettled)
    return crash_cost(events, [made], witnessed={"ana": witnessed}, ledger=ledger, limits=LIMITS)


def test_a_crash_that_cost_nothing() -> None:
    cost = cost_of([event(1, 60), event(2, 40)], row(100, 100), witnessed=100)
    assert cost.agrees
    assert (cost.lost_bytes, cost.doubled_bytes) == (0, 0)


def test_a_repeated_event_is_double() -> None:
    cost = cost_of([event(1, 60), event(1, 60)], row(60, 60), witnessed=60)
    assert not cost.agrees
    assert (cost.doubled_bytes, cost.repeated_event_ids) == (60, 1)


def test_what_never_arrived_at_who_left_is_taken_back_and_not_lost() -> None:
    cost = cost_of([event(1, 60)], row(60, 60, left_early=True), witnessed=100)
    assert cost.agrees
    assert (cost.taken_back_bytes, cost.lost_bytes) == (40, 0)


def test_what_arrived_at_who_left_and_no_event_has_is_lost() -> None:
    cost = cost_of([event(1, 60)], row(70, 60, left_early=True), witnessed=100)
    assert cost.lost_bytes == 10


def test_a_missing_sequence_is_a_lost_event() -> None:
    cost = cost_of([event(1, 60), event(3, 60)], row(120, 120), witnessed=120)
    assert not cost.agrees
    assert cost.writers[0].missing == 1


def test_what_the_witness_saw_and_no_event_has_is_lost() -> None:
    cost = cost_of([event(1, 60)], row(60, 60), witnessed=100)
    assert not cost.agrees
    assert cost.lost_bytes == 40


def test_what_was_billed_and_the_witness_never_saw_is_double() -> None:
    cost = cost_of([event(1, 60), event(2, 60)], row(60, 120), witnessed=60)
    assert not cost.agrees
    assert cost.doubled_bytes == 60


def test_what_a_customer_received_and_no_event_has_is_lost() -> None:
    cost = cost_of([event(1, 60)], row(61, 60), witnessed=60)
    assert not cost.agrees
    assert cost.lost_bytes == 1


def test_what_the_server_has_not_acknowledged_is_a_disagreement() -> None:
    assert not cost_of([event(1, 60)], row(60, 60), witnessed=60, unsettled=1).agrees


def test_an_event_of_another_origin_is_refused() -> None:
    stranger = CountedEvent(event_id="mine", customer_id="ana", bytes=1)
    with pytest.raises(ForeignEventIdError, match="mine"):
        cost_of([stranger], row(1, 1), witnessed=1)


def test_a_charge_adds_up_its_lines() -> None:
    line = ChargeLine(title="720p", consumed_bytes=7, amount=1, explanation="7 x 1")
    charge = Charge(currency="USD", total=2, total_text="0.02 USD", lines=(line, line))
    assert charge.consumed_bytes == 14
    assert b'"lines"' in msgspec.json.encode(charge)


def test_every_kind_of_player_is_in_the_audience() -> None:
    assert {viewer.plays for viewer in AUDIENCE} == set(Plays)
    assert len({viewer.token for viewer in AUDIENCE}) == len(AUDIENCE)
