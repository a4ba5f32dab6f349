"""What is measured against what a capture shows, in short; ``make capture`` has the whole table."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.wire.bed import Bed
from tests.wire.scenarios import (
    ALTERNATING,
    BODYLESS,
    CHATTING,
    DOWNLOADING,
    HANGING_UP,
    PAUSING,
    PIPELINING,
    REFUSED,
    Case,
    Scenario,
    run,
    sums,
)
from tests.wire.server import LAYERS, Server

pytestmark = pytest.mark.netns

IPV4, IPV6 = socket.AF_INET, socket.AF_INET6
# Each family, plain and under TLS, with loss and without, in two.
BOTH = ((IPV4, False, 10), (IPV6, True, 0))


def cases(*scenarios: Scenario) -> list[Case]:
    return [Case(scenario, *kind) for scenario in scenarios for kind in BOTH]


@pytest.mark.parametrize("case", cases(ALTERNATING), ids=str)
def test_customers_who_share_a_connection_are_told_apart_to_the_byte(
    case: Case, bed: Bed, server: Server, tmp_path: Path
) -> None:
    outcome = run(bed, server, case, tmp_path / "server.pcap")

    assert outcome.faults() == []
    for layer in LAYERS:
        customers, connections = sums([outcome], layer)
        assert sum(customers.values()) == sum(connections.values()) == outcome.total(layer)


@pytest.mark.parametrize("case", cases(HANGING_UP, PAUSING), ids=str)
def test_a_viewer_who_leaves_is_measured_by_what_reached_its_kernel(
    case: Case, bed: Bed, server: Server, tmp_path: Path
) -> None:
    outcome = run(bed, server, case, tmp_path / "server.pcap")

    assert not outcome.responses[-1].is_complete
    assert outcome.faults() == []
    assert outcome.naive_bytes > outcome.total("payload")


@pytest.mark.parametrize("case", cases(BODYLESS)[1:], ids=str)
def test_a_head_without_a_body_has_a_payer_too(
    case: Case, bed: Bed, server: Server, tmp_path: Path
) -> None:
    assert run(bed, server, case, tmp_path / "server.pcap").faults() == []


@pytest.mark.parametrize("case", cases(PIPELINING), ids=str)
def test_of_answers_that_were_asked_for_at_once_each_has_its_own_http(
    case: Case, bed: Bed, server: Server, tmp_path: Path
) -> None:
    outcome = run(bed, server, case, tmp_path / "server.pcap")

    assert outcome.faults() == []
    assert "estimated" in {one.layers["wire"].how for one in outcome.measured}


@pytest.mark.parametrize("case", cases(REFUSED)[1:], ids=str)
def test_what_the_server_itself_refuses_to_send_is_not_on_the_wire(
    case: Case, bed: Bed, server: Server, tmp_path: Path
) -> None:
    how = list[str]()
    # On a busy machine the queue may keep up: then nothing is refused, and all is measured.
    while "estimated" not in how and len(how) < 5:
        outcome = run(bed, server, case, tmp_path / f"server{len(how)}.pcap")
        assert outcome.faults() == []
        how.append(outcome.measured[0].layers["wire"].how)

    assert how[-1] == "estimated"


@pytest.mark.parametrize("case", cases(CHATTING), ids=str)
def test_a_websocket_is_measured_to_the_byte(
    case: Case, bed: Bed, server: Server, tmp_path: Path
) -> None:
    outcome = run(bed, server, case, tmp_path / "server.pcap")

    assert outcome.faults() == []
    (one,) = outcome.measured
    assert one.layers["http"].how == ("computed" if case.is_tls else "measured")


@pytest.mark.parametrize("kind", ["hypercorn", "gunicorn-gthread", "gunicorn-sync"])
def test_other_servers_are_measured_as_well_and_bill_what_was_on_the_wire(
    kind: str, certificate: Path, tmp_path: Path
) -> None:
    scenario = DOWNLOADING if kind == "gunicorn-sync" else ALTERNATING
    options = ("--server", kind, "--layer", "wire")
    with Bed() as bed, Server(bed.server, certificate, *options) as server:
        outcome = run(bed, server, cases(scenario)[1], tmp_path / "server.pcap")

    assert outcome.faults() == []
    customers, _ = sums([outcome], "wire")
    assert server.billed == customers


def test_every_customer_is_billed_what_was_on_the_wire_for_it(
    certificate: Path, tmp_path: Path
) -> None:
    """One socket for both families, whose links are handed more than a packet at once."""
    with (
        Bed(real_packets=False) as bed,
        Server(bed.server, certificate, "--layer", "wire", "--dual-stack") as server,
    ):
        outcomes = [
            run(bed, server, case, tmp_path / "server.pcap")
            for case in (*cases(ALTERNATING), *cases(HANGING_UP)[:1])
        ]

    assert [fault for outcome in outcomes for fault in outcome.faults()] == []
    customers, connections = sums(outcomes, "wire")
    assert server.billed == customers
    captured = sum(outcome.captured.egress.wire_bytes for outcome in outcomes)
    repeated = sum(outcome.captured.egress.repeated_syn_wire_bytes for outcome in outcomes)
    assert server.billed.total() == connections.total()
    assert abs(server.billed.total() - captured + repeated) <= captured // 10_000
