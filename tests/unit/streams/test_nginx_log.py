"""Lines of nginx's log, joined with announcements, where each case can be made by hand."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streamgauge import Ingestion, InvalidInputError
from streamgauge.core.clock import NS_PER_S
from streamgauge.core.limits import NGINX_QUIET_S_MAX
from streamgauge.nginx import BILL_HEADER, NginxLog, bill_header
from streamgauge.streams.kernel.netlink import Destroyed
from streamgauge.streams.kernel.tcp_info import NOTHING
from streamgauge.testing import ManualClock, MemorySink

HEAD, BODY = 250, 100_000
PEER = bytes([10, 0, 0, 7])


class Nginx:
    """Writes lines, ends connections, and says what was billed."""

    def __init__(self, home: Path, ingestion: Ingestion, sink: MemorySink) -> None:
        self.log = home / "access.log"
        self.clock = ManualClock()
        self._home = home
        self._ingestion = ingestion
        self._sink = sink
        self._written = 0
        self.reader = self.start()

    def start(self, layer: str = "payload") -> NginxLog:
        self.reader = NginxLog(
            self._ingestion,
            self.log,
            state_dir=self._home / "state",
            layer=layer,
            clock=self.clock,
        )
        return self.reader

    def line(self, **changes: Any) -> dict[str, Any]:
        self._written += 1
        _, bill = bill_header(customer_id=changes.pop("customer", "ann"))
        whole = {
            "id": f"{self._written:032x}",
            "at": f"{self.clock.time_ns() // NS_PER_S}.000",
            "bill": bill,
            "connection": 1,
            "number": 1,
            "local": "10.0.0.1",
            "port": "80",
            "peer": "10.0.0.7",
            "peer_port": "40000",
            "sent": HEAD + BODY,
            "body": BODY,
            "protocol": "HTTP/1.1",
            "tls": "",
        }
        return whole | changes

    def write(self, **changes: Any) -> None:
        self.raw(json.dumps(self.line(**changes)).encode() + b"\n")

    def raw(self, data: bytes) -> None:
        with self.log.open("ab") as file:
            file.write(data)

    def end(self, arrived: int, peer_port: int = 40_000, peer: bytes = PEER) -> None:
        info = NOTHING._replace(sent=arrived, acked=arrived, segs_out=10, options=1)
        self.reader._destroyed(Destroyed(1, 80, info, peer, peer_port))

    def billed(self, after_s: float = 10) -> dict[str, int]:
        self.reader.poll()
        self.clock.advance(after_s)
        self.reader.poll()
        assert self._ingestion.flush()
        return self._sink.bytes_by_customer()

    def state(self) -> Path:
        return self._home / "state" / f"{self.reader._name}.json"

    def hows(self) -> list[object]:
        return [event.metadata["sg_how"] for event in self._sink.events]


@pytest.fixture
def nginx(
    tmp_path: Path,
    streamgauge_ingestion: Ingestion,
    streamgauge_sink: MemorySink,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Nginx]:
    monkeypatch.setattr("streamgauge.streams.kernel.watch._LOOK_S", 0.02)
    made = Nginx(tmp_path, streamgauge_ingestion, streamgauge_sink)
    yield made
    made.reader.close()


def test_a_response_waits_for_the_end_of_its_connection(nginx: Nginx) -> None:
    nginx.write()
    assert nginx.billed() == {}
    nginx.end(HEAD + BODY)
    assert nginx.billed(1) == {}, "further lines may come"
    assert nginx.billed(5) == {"ann": BODY}
    assert nginx.hows() == ["measured"]


def test_an_address_written_as_ipv6_is_the_same_client(nginx: Nginx) -> None:
    nginx.write()
    nginx.end(HEAD + 10, peer=b"\0" * 10 + b"\xff\xff" + PEER)
    assert nginx.billed() == {"ann": 10}
    assert nginx.reader.stats().never_arrived_bytes == BODY - 10


def test_an_end_before_the_line_was_another_connections(nginx: Nginx) -> None:
    nginx.reader._destroyed(Destroyed(1, 80, NOTHING, PEER, 40_000))
    nginx.clock.advance(2)
    nginx.write()
    nginx.write(connection=2, peer_port="40001", customer="bob")
    nginx.end(HEAD + 7)
    assert nginx.billed() == {"ann": 7}


def test_two_connections_of_the_same_ends_have_an_end_each(nginx: Nginx) -> None:
    nginx.write()
    nginx.end(HEAD + 7)
    nginx.clock.advance(2)
    nginx.write(connection=2, customer="bob")
    nginx.end(HEAD + 9)
    assert nginx.billed() == {"ann": 7, "bob": 9}


def test_without_an_end_the_log_is_believed_and_says_so(nginx: Nginx) -> None:
    # Nobody has this connection in the kernel: the announcement was lost, or there is no netlink.
    nginx.write()
    assert nginx.billed(20) == {}
    assert nginx.billed(20) == {"ann": BODY}
    assert nginx.hows() == ["estimated"]
    assert nginx.reader.stats().estimated_bytes == BODY


def test_without_the_lines_before_the_place_in_the_stream_is_unknown(nginx: Nginx) -> None:
    nginx.write(number=5)
    nginx.end(HEAD + 7)
    assert nginx.billed() == {"ann": BODY}
    assert nginx.hows() == ["estimated"]


def test_streams_of_http_2_are_billed_by_the_log(nginx: Nginx) -> None:
    nginx.write(protocol="HTTP/2.0", tls="TLSv1.3")
    nginx.write(port="", peer="unix:", peer_port="", customer="bob")
    assert nginx.billed() == {"ann": BODY, "bob": BODY}
    assert nginx.hows() == ["estimated", "estimated"]


def test_layers_below_share_what_the_connection_carried(nginx: Nginx) -> None:
    nginx.reader.close()
    nginx.start("wire")
    nginx.write()
    nginx.write(number=2, customer="bob", sent=2 * (HEAD + BODY))
    nginx.end(1_000_001)
    wire = 1_000_001 + 10 * 52 + 60
    assert nginx.billed() == {"ann": wire // 3, "bob": wire - wire // 3}


@pytest.mark.parametrize(
    "data",
    [b"not JSON\n", b"{}\n", b'{"id": 1}\n', b"\xff\n", b"x" * 100_000 + b"\n", b"\0" * 70_000],
)
def test_what_is_no_line_is_counted_and_holds_up_nothing(nginx: Nginx, data: bytes) -> None:
    nginx.write()
    nginx.raw(data)
    nginx.raw(b"\n" * (not data.endswith(b"\n")))
    nginx.write(number=2, body=2, sent=1)
    nginx.write(number=2)
    nginx.write(number=3, bill="{}")
    nginx.write(number=4, bill="")
    nginx.write(number=5, at="99999999999.000")
    nginx.write(number=6)
    assert nginx.billed() == {"ann": 2 * BODY}
    stats = nginx.reader.stats()
    assert stats.refused_lines >= 4
    assert stats.unattributed_bytes == 3 * BODY


def test_a_line_that_is_not_whole_yet_is_read_when_it_is(nginx: Nginx) -> None:
    data = json.dumps(nginx.line()).encode()
    nginx.raw(data[:50])
    assert nginx.billed() == {}
    nginx.raw(data[50:] + b"\n")
    nginx.end(HEAD + BODY)
    assert nginx.billed() == {"ann": BODY}


def test_a_reader_that_was_killed_repeats_ids_and_bills_once(
    nginx: Nginx, streamgauge_sink: MemorySink
) -> None:
    nginx.write()
    nginx.end(HEAD + 7)
    assert nginx.billed() == {"ann": 7}
    # As by SIGKILL: the lock goes, and nothing is saved.
    nginx.reader._lock.release()
    nginx.reader._watch.close()
    nginx.reader._tail.close()
    (nginx.log.parent / "state" / f"{nginx.reader._name}.json").unlink(missing_ok=True)
    nginx.start()
    assert nginx.billed(40) == {"ann": 7}
    assert streamgauge_sink.repeats == 1


def test_a_state_that_cannot_be_read_bills_nothing_twice(
    nginx: Nginx, streamgauge_sink: MemorySink
) -> None:
    nginx.write()
    assert nginx.billed(40) == {"ann": BODY}
    nginx.reader.close()
    (nginx.log.parent / "state" / f"{nginx.reader._name}.json").write_bytes(b"{")
    nginx.start()
    assert nginx.billed(40) == {"ann": BODY}
    assert streamgauge_sink.repeats == 1


def test_a_log_that_was_cut_or_lost_is_told_as_a_gap(nginx: Nginx) -> None:
    nginx.write()
    nginx.write(number=2)
    assert nginx.billed(40) == {"ann": 2 * BODY}
    nginx.log.write_bytes(b"")
    nginx.write(connection=2, peer_port="40001")
    assert nginx.billed(40) == {"ann": 3 * BODY}
    assert nginx.reader.stats().gaps == 1
    nginx.reader.close()
    nginx.log.unlink()
    nginx.write(connection=3, peer_port="40002")
    nginx.start()
    assert nginx.billed(40) == {"ann": 4 * BODY}
    assert nginx.reader.stats().gaps == 1


def test_a_log_that_is_not_there_yet_is_waited_for(nginx: Nginx) -> None:
    assert nginx.billed() == {}
    nginx.write()
    nginx.end(HEAD + BODY)
    assert nginx.billed() == {"ann": BODY}


def test_too_many_ends_are_dropped_and_counted(
    nginx: Nginx, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamgauge.streams.nginx.joining.ENDS_KEPT_MAX", 2)
    for port in range(5):
        nginx.end(1, peer_port=port)
    assert nginx.billed() == {}
    assert nginx.reader.stats().lost_ends == 3
    assert nginx.billed(400) == {}
    nginx.end(1)
    assert nginx.billed() == {}
    assert nginx.reader.stats().lost_ends == 3


def test_a_header_names_the_customer_in_ascii() -> None:
    name, value = bill_header(customer_id="Zoë", metadata={"title": "🎬", "n": 3, "live": True})
    assert name == BILL_HEADER
    assert value.isascii()
    assert json.loads(value) == {
        "customer_id": "Zoë",
        "metadata": {"title": "🎬", "n": 3, "live": True},
    }


@pytest.mark.parametrize(
    ("customer", "metadata", "rule"),
    [
        ("", {}, "customer_id"),
        ("ann", {"bytes": 3}, r"metadata\.bytes"),
        ("ann", {str(key): "x" * 400 for key in range(10)}, "header of 3000 bytes"),
    ],
)
def test_a_header_that_breaks_a_rule_is_refused(
    customer: str, metadata: dict[str, object], rule: str
) -> None:
    with pytest.raises(InvalidInputError, match=rule):
        bill_header(customer_id=customer, metadata=metadata)


@pytest.mark.parametrize(
    "options", [{"ports": (0,)}, {"layer": "ethernet"}, {"log_delay_s": -1}], ids=str
)
def test_an_option_that_breaks_a_rule_is_named(
    nginx: Nginx, options: dict[str, Any], tmp_path: Path
) -> None:
    new: Callable[..., NginxLog] = NginxLog
    with pytest.raises(InvalidInputError, match=next(iter(options))):
        new(nginx._ingestion, tmp_path / "other.log", state_dir=tmp_path / "state", **options)


def test_what_the_spool_does_not_take_waits_and_is_billed_once(
    nginx: Nginx, streamgauge_sink: MemorySink, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        nginx.write(port="", peer="unix:", peer_port="", customer=f"c{number}")
    spool = nginx._ingestion._engine().spool
    whole = spool._full
    monkeypatch.setattr(spool, "_full", lambda: spool.number >= 2)
    with pytest.raises(OSError, match="full"):
        nginx.reader.poll()
    assert (nginx.reader.stats().responses, nginx.reader.stats().waiting_responses) == (2, 1)
    assert nginx._ingestion.stats().turned_away == {}
    # Another reader goes on where this one stopped.
    nginx.reader.close()
    monkeypatch.setattr(spool, "_full", whole)
    nginx.start()
    assert nginx.billed() == {f"c{number}": BODY for number in range(5)}
    assert streamgauge_sink.repeats == 0


def test_the_place_is_kept_only_after_the_events_are_on_disk(
    nginx: Nginx, streamgauge_sink: MemorySink, monkeypatch: pytest.MonkeyPatch
) -> None:
    nginx.write(port="", peer="unix:", peer_port="")
    nginx.reader.poll()

    def refuse(_files: object) -> None:
        raise OSError(errno.EIO, "the disk is broken")

    journal = nginx._ingestion._engine().spool.journal
    with monkeypatch.context() as broken:
        broken.setattr(journal, "_sync_files", refuse)
        broken.setattr(journal, "_rewrite", lambda: refuse(None))
        with pytest.raises(OSError, match="broken"):
            nginx.reader.save()
        assert not nginx.state().exists()
    nginx.reader.save()
    assert nginx.state().exists()


def test_a_spool_in_memory_keeps_no_place_before_the_sink_has_it_all(
    tmp_path: Path, streamgauge_sink: MemorySink
) -> None:
    # A file where the directory should be: nothing can be spooled on disk.
    (tmp_path / "file").touch()
    with Ingestion(
        environment="test_mode",
        event_name="stream_consumption",
        spool_dir=tmp_path / "file" / "spool",
        sink=streamgauge_sink,
        delivery_interval_s=60,
    ) as ingestion:
        nginx = Nginx(tmp_path, ingestion, streamgauge_sink)
        nginx.write(port="", peer="unix:", peer_port="")
        nginx.reader.poll()
        with pytest.raises(OSError, match="in memory only"):
            nginx.reader.save()
        assert not nginx.state().exists()
        assert ingestion.flush()
        nginx.reader.close()
        assert nginx.state().exists()


def test_a_closed_ingestion_leaves_the_log_where_it_is(
    nginx: Nginx, streamgauge_sink: MemorySink
) -> None:
    nginx._ingestion.close()
    nginx.write(port="", peer="unix:", peer_port="")
    with pytest.raises(OSError, match="closed"):
        nginx.reader.poll()
    assert nginx._ingestion.stats().turned_away == {}
    assert nginx.reader.stats().waiting_responses == 1


def test_an_open_connection_does_not_hold_up_the_place_in_the_log_for_good(
    nginx: Nginx, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nginx.reader._joining, "_exists", lambda _line: True)
    nginx.write()
    for _ in range(100):
        nginx.write(port="", peer="unix:", peer_port="", customer="bob")
    assert nginx.billed(NGINX_QUIET_S_MAX - 1) == {"bob": 100 * BODY}
    nginx.reader.save()
    assert len(json.loads(nginx.state().read_bytes())["done"]) == 100
    assert nginx.billed(31)["ann"] == BODY
    assert nginx.hows().count("estimated") == 101
    nginx.clock.advance(60)
    nginx.reader.save()
    state = json.loads(nginx.state().read_bytes())
    assert (state["done"], state["offset"]) == ([], nginx.log.stat().st_size)
