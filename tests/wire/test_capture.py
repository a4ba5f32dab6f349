"""What is measured against what a capture shows, in short; ``make capture`` has the whole table."""

from __future__ import annotations

import itertools
import socket
from pathlib import Path

import pytest

from tests.wire.bed import Bed
from tests.wire.scenarios import (
    ALTERNATING,
    BODYLESS,
    CHATTING,
    HANGING_UP,
    Case,
    Scenario,
    run,
    sums,
)
from tests.wire.server import LAYERS, Server

pytestmark = pytest.mark.netns

FAMILIES = (socket.AF_INET, socket.AF_INET6)
TRANSPORTS = (False, True)


def cases(losses_per_mille: tuple[int, ...], *scenarios: Scenario) -> list[Case]:
    kinds = itertools.product(scenarios, FAMILIES, TRANSPORTS, losses_per_mille)
    return [Case(*kind) for kind in kinds]


@pytest.mark.parametrize("case", cases((0, 10), ALTERNATING), ids=str)
def test_customers_who_share_a_connection_are_told_apart_to_the_byte(
    case: Case, bed: Bed, server: Server, tmp_path: Path
) -> None:
    outcome = run(bed, server, case, tmp_path / "server.pcap")

    assert outcome.faults() == []
    for layer in LAYERS:
        customers, connections = sums([outcome], layer)
        assert sum(customers.values()) == sum(connections.values()) == outcome.total(layer)


@pytest.mark.parametrize("case", cases((10,), HANGING_UP), ids=str)
def test_a_viewer_who_leaves_is_measured_by_what_reached_its_kernel(
    case: Case, bed: Bed, server: Server, tmp_path: Path
) -> None:
    outcome = run(bed, server, case, tmp_path / "server.pcap")

    assert not outcome.responses[-1].is_complete
    assert outcome.faults() == []


@pytest.mark.parametrize("case", cases((0,), BODYLESS)[:1], ids=str)
def test_a_head_without_a_body_has_a_payer_too(
    case: Case, bed: Bed, server: Server, tmp_path: Path
) -> None:
    assert run(bed, server, case, tmp_path / "server.pcap").faults() == []


@pytest.mark.parametrize("case", cases((0,), CHATTING), ids=str)
def test_a_websocket_is_measured_to_the_byte(
    case: Case, bed: Bed, server: Server, tmp_path: Path
) -> None:
    outcome = run(bed, server, case, tmp_path / "server.pcap")

    assert outcome.faults() == []
    (one,) = outcome.measured
    assert one.layers["http"].how == ("computed" if case.is_tls else "measured")


def test_every_customer_is_billed_what_was_on_the_wire_for_it(
    certificate: Path, tmp_path: Path
) -> None:
    with Bed() as bed, Server(bed.server, certificate, "--layer", "wire") as server:
        outcomes = [
            run(bed, server, case, tmp_path / "server.pcap")
            for case in (*cases((0,), ALTERNATING)[1:3], *cases((10,), HANGING_UP)[:1])
        ]

    customers, connections = sums(outcomes, "wire")
    assert server.billed == customers
    captured = sum(outcome.captured.egress.wire_bytes for outcome in outcomes)
    repeated = sum(outcome.captured.egress.repeated_syn_wire_bytes for outcome in outcomes)
    assert server.billed.total() == connections.total()
    assert abs(server.billed.total() - captured + repeated) <= captured // 10_000


def test_an_ipv4_client_of_a_socket_for_both_families_has_ipv4_headers(
    certificate: Path, tmp_path: Path
) -> None:
    with Bed() as bed, Server(bed.server, certificate, "--dual-stack") as server:
        case = Case(ALTERNATING, socket.AF_INET, is_tls=False, loss_per_mille=0)
        assert run(bed, server, case, tmp_path / "server.pcap").faults() == []


def test_super_packets_are_counted_as_the_segments_that_travel(
    certificate: Path, tmp_path: Path
) -> None:
    with Bed(real_packets=False) as bed, Server(bed.server, certificate) as server:
        case = Case(ALTERNATING, socket.AF_INET6, is_tls=True, loss_per_mille=10)
        assert run(bed, server, case, tmp_path / "server.pcap").faults() == []
