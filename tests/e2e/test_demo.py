"""The demo as a stranger runs it: once to its end, once into Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

DEMO = (
    "import sys, pathlib\n"
    "from streamgauge.demo import run\n"
    "sys.exit(run(output='json', data_dir=pathlib.Path(sys.argv[1])))\n"
)
PATIENCE_S = 20

Row = dict[str, Any]
Rows = dict[str, Row]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "home"
    made.mkdir()
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "demo"


def start(folder: Path, home: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", DEMO, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"HOME": str(home), "PATH": os.environ["PATH"]},
    )


def left_running(folder: Path) -> list[str]:
    """Return the command lines that name ``folder``, given a moment to vanish."""
    until = time.monotonic() + PATIENCE_S
    while found := list(commands_naming(str(folder))):
        if time.monotonic() > until:
            break
        time.sleep(0.05)
    return found


def commands_naming(text: str) -> Iterator[str]:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if text in command:
            yield command


@pytest.mark.timeout(240)
def test_the_demo_shows_what_it_must(folder: Path, home: Path) -> None:
    # One test, so that workers running in parallel do not each run the demo.
    with start(folder, home) as process:
        out, words = process.communicate()
    assert process.returncode == 0, words.decode() + out.decode()
    assert left_running(folder) == []
    assert list(home.iterdir()) == []
    report: dict[str, Any] = msgspec.json.decode(out)
    assert report["agrees"]
    rows = {row["customer_id"]: row for row in report["rows"]}
    check_undisturbed_customers_are_invoiced_to_the_byte(rows)
    check_killed_customers_pay_at_most_for_what_was_held(rows)
    check_who_hangs_up_pays_for_what_arrived(rows["finn"])
    check_every_layer_is_told_and_http_is_what_arrived(rows)
    check_every_charge_names_its_lines(rows)
    check_the_sigkill_cost_nothing(report["crash"])
    assert rows["gwen"]["naive"] < rows["gwen"]["received"], "naive code loses what it held"


def check_undisturbed_customers_are_invoiced_to_the_byte(rows: Rows) -> None:
    undisturbed = [row for row in rows.values() if not row["disturbed"]]
    assert undisturbed
    for row in undisturbed:
        assert 0 < row["received"] == row["counted"] == row["invoiced"]
        assert row["verdict"] == "exact"


def check_killed_customers_pay_at_most_for_what_was_held(rows: Rows) -> None:
    killed = [row for row in rows.values() if row["disturbed"]]
    assert rows["gwen"] in killed, "a live feed is always on its way"
    for row in killed:
        assert row["received"] <= row["counted"] <= row["received"] + row["held_bytes_max"]
        assert row["counted"] == row["invoiced"]
        assert row["held_bytes_max"] == sum(part["bytes_max"] for part in row["held"])


def check_who_hangs_up_pays_for_what_arrived(row: Row) -> None:
    assert not row["disturbed"], "it hangs up long before the kill"
    assert row["left_early"]
    assert row["unread"] > 0
    assert row["received"] == row["counted"] == row["invoiced"] < row["naive"]


def check_every_layer_is_told_and_http_is_what_arrived(rows: Rows) -> None:
    for row in rows.values():
        layers = row["layers"]
        assert layers["payload"] == row["counted"]
        assert 0 < layers["http"] == layers["tls"] < layers["wire"]
        assert layers["http"] <= layers["arrived"]
    whole = [row["layers"] for row in rows.values() if row["layers"]["is_whole"]]
    assert rows["finn"]["layers"] in whole
    for layers in whole:
        assert layers["http"] == layers["arrived"] > layers["payload"]


def check_every_charge_names_its_lines(rows: Rows) -> None:
    for row in rows.values():
        charge = row["charge"]
        assert charge["total"] == sum(line["amount"] for line in charge["lines"])
        assert [line for line in charge["lines"] if line["consumed_bytes"]]
        assert all(line["explanation"] for line in charge["lines"])


def check_the_sigkill_cost_nothing(crash: dict[str, Any]) -> None:
    assert crash["lost_bytes"] == crash["doubled_bytes"] == crash["repeated_event_ids"] == 0
    assert crash["billed_bytes"] >= crash["witnessed_bytes"] - crash["taken_back_bytes"] > 0
    assert crash["ledger"]["recovered_bytes"] > 0
    assert crash["ledger"]["unsettled_bytes"] == 0
    assert [writer["missing"] for writer in crash["writers"]] == [0, 0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing_running(
    number: signal.Signals, folder: Path, home: Path
) -> None:
    with start(folder, home) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if b"start their players" in line:
                break
        process.send_signal(number)
        process.communicate()
    assert process.returncode == 130
    assert left_running(folder) == []
