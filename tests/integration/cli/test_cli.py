from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import select
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from streamgauge.cli.client import Client
from streamgauge.cli.root import run

MAIN = "import sys; from streamgauge.cli import main; sys.exit(main())"


def output_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    status = run(arguments)
    printed = capsys.readouterr()
    assert status == 0, printed.err
    return printed.out


def json_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    return json.loads(output_of(capsys, *arguments, "-o", "json"))


def rows_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(output_of(capsys, *arguments, "-o", "csv"))))


def ingest(client: Client, name: str, customer_id: str, quantities: list[int]) -> None:
    events = [
        {
            "event_id": f"{name}-{customer_id}-{number}",
            "customer_id": customer_id,
            "event_name": name,
            "metadata": {"bytes": quantity, "quality": "1080p" if number else "720p"},
        }
        for number, quantity in enumerate(quantities)
    ]
    answer = client.post("events", "ingest", body={"events": events})
    assert answer["ingested_count"] == len(quantities)


def new_key(capsys: pytest.CaptureFixture[str], server: Any, *options: str) -> str:
    at = ("--mode", "test_mode", "--name", "t", "--data-dir", str(server.data_dir))
    printed = output_of(capsys, "keys", "create", *at, *options)
    key, rest = printed.split("\n")
    assert rest == ""
    return key


def unwrapped(text: str) -> str:
    """Return what a terminal of any width shows, on one line."""
    return " ".join(text.split())


def test_a_key_made_beside_a_running_server_works_at_once_and_dies_at_once(
    server: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DODO_PAYMENTS_API_KEY", new_key(capsys, server))
    monkeypatch.setenv("STREAMGAUGE_URL", server.url)
    assert isinstance(json_of(capsys, "meters", "list"), list)
    at = ("--data-dir", str(server.data_dir))
    key = json_of(capsys, "keys", "list", *at)[-1]
    assert key["revoked_at"] is None
    assert json_of(capsys, "keys", "revoke", key["id"], *at)["revoked_at"] is not None
    assert run(["meters", "list"]) == 4
    assert "revoked" in capsys.readouterr().err


def test_a_read_only_key_may_not_write(
    server: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMGAUGE_API_KEY", new_key(capsys, server, "--read-only"))
    assert run(["meters", "list", "--url", server.url]) == 0
    capsys.readouterr()
    arguments = ["customers", "create", "--name", "x", "--email", "x@example.com"]
    assert run([*arguments, "--url", server.url]) == 4
    assert "scope read; this needs write" in capsys.readouterr().err


def test_a_key_of_the_other_mode_sees_nothing_of_this_one(
    server: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ("--data-dir", str(server.data_dir))
    json_of(capsys, "meters", "create", "of_test_mode", "--sum", "bytes", *at)
    assert json_of(capsys, "meters", "list", *at, "--mode", "live_mode") == []


def test_the_socket_and_the_directory_are_private(server: Any) -> None:
    for path, mode in ((server.data_dir, 0o700), (server.data_dir / "admin.sock", 0o600)):
        assert stat.S_IMODE(path.stat().st_mode) == mode


def test_the_readme_meter_is_made_priced_and_spelled_for_dodo(
    server: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ("--data-dir", str(server.data_dir))
    options = ("--unit", "byte", "--price", "0.05", "--per", "GB", "--free", "10GB")
    name = "stream_consumption"
    made = json_of(
        capsys, "meters", "create", name, "--sum", "bytes", *options, "--currency", "USD", *at
    )
    assert made["meter"]["event_name"] == name
    assert made["product"]["default_plan"] is True
    (line,) = made["product"]["price"]["meters"]
    assert (line["price_per_unit"], line["price_unit"]) == ("5", "GB")
    assert line["free_threshold"] == 10**10
    assert made["dodo"] == {
        "meter_name": name,
        "event_name": name,
        "aggregation_type": "sum",
        "over_property": "bytes",
        "measurement_unit": "byte",
        "filter": None,
        "currency": "USD",
        "price_per_unit": "0.00000000005",
        "price_per_unit_minor": "0.000000005",
        "free_threshold": 10**10,
    }


def test_a_meter_is_not_made_twice(server: Any, capsys: pytest.CaptureFixture[str]) -> None:
    at = ("--data-dir", str(server.data_dir))
    json_of(capsys, "meters", "create", "once", "--count", *at)
    assert run(["meters", "create", "once", "--count", *at]) == 2
    assert "NAME is 'once'; it must be new" in capsys.readouterr().err
    assert sum(each["name"] == "once" for each in json_of(capsys, "meters", "list", *at)) == 1


def test_a_meter_whose_price_is_refused_does_not_stay(
    server: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ("--data-dir", str(server.data_dir))
    arguments = ["meters", "create", "dear", "--sum", "bytes", "--price", "9999999", "--per", "GB"]
    assert run([*arguments, "--currency", "USD", *at]) == 2
    assert "price_per_unit is '999999900'" in capsys.readouterr().err
    assert not [each for each in json_of(capsys, "meters", "list", *at) if each["name"] == "dear"]


def test_the_invoice_has_every_byte(
    server: Any, operator: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ("--data-dir", str(server.data_dir))
    price = ("--price", "0.05", "--per", "GB", "--free", "10GB", "--currency", "USD")
    plan = ("--plan", "Exact")
    output_of(capsys, "meters", "create", "exact", "--sum", "bytes", *price, *plan, *at)
    ingest(operator, "exact", "customer_123", [15_000_000_001, 9_007_199_254_740_993, 1])
    total = 15_000_000_001 + 9_007_199_254_740_993 + 1
    (found,) = [
        each
        for each in json_of(capsys, "invoices", "preview", "customer_123", *at)["items"]
        if each["product_name"] == "Exact"
    ]
    (line,) = found["lines"]
    assert line["consumed_units"] == total
    assert line["chargeable_units"] == total - 10**10
    assert found["total"] == line["amount"] == 45_036_021

    table = output_of(capsys, "invoices", "preview", "customer_123", *at)
    assert f"{total:,} B" in table
    assert "0.05 USD per GB" in table
    assert "450360.21 USD" in table
    rows = rows_of(capsys, "invoices", "preview", "customer_123", *at)
    (row,) = [each for each in rows if each["title"] == "exact"]
    assert int(row["consumed_units"]) == total

    usage = json_of(capsys, "usage", "query", "exact", "--by", "quality", *at)
    by_quality = {each["group"]["quality"]: each["quantity"] for each in usage["items"]}
    assert by_quality == {"720p": 15_000_000_001, "1080p": 9_007_199_254_740_994}
    (first,) = rows_of(capsys, "usage", "top", "exact", "--limit", "1", *at)
    assert (first["customer_id"], int(first["quantity"])) == ("customer_123", total)


def test_a_line_is_explained_by_the_events_that_add_up_to_it(
    server: Any, operator: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ("--data-dir", str(server.data_dir))
    price = ("--price", "1", "--currency", "EUR", "--plan", "Explained")
    output_of(capsys, "meters", "create", "explained", "--sum", "bytes", *price, *at)
    quantities = list(range(1, 131))
    ingest(operator, "explained", "explained_customer", quantities)
    explain = ("invoices", "explain", "explained_customer", "--product", "Explained", *at)
    text = output_of(capsys, *explain)
    assert f"{sum(quantities)} bytes" in text
    assert "half to even" in text
    events = json_of(capsys, *explain, "--line", "1", "--limit", "1000")
    assert sorted(each["units"] for each in events) == quantities
    assert len(rows_of(capsys, *explain, "--line", "1", "--limit", "7")) == 7
    assert run([*explain, "--line", "2"]) == 2
    assert "--line is 2; it must be the number of a line, from 1 to 1" in capsys.readouterr().err


def test_a_finalised_invoice_is_listed_and_explained(
    server: Any, operator: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ("--data-dir", str(server.data_dir))
    name = "finalised"
    price = ("--price", "0.01", "--currency", "GBP", "--plan", "Finalised")
    output_of(capsys, "meters", "create", name, "--sum", "bytes", *price, *at)
    events = [
        {
            "event_id": f"{name}-{number}",
            "customer_id": "finalised_customer",
            "event_name": name,
            "timestamp": f"2026-01-{number + 1:02}T00:00:00Z",
            "metadata": {"bytes": number + 1},
        }
        for number in range(30)
    ]
    operator.post("events", "ingest", body={"events": events})
    made = json_of(capsys, "invoices", "finalise", "finalised_customer", "--at", "2026-01", *at)
    (invoice,) = [each for each in made["items"] if each["product_name"] == "Finalised"]
    assert (invoice["status"], invoice["total"]) == ("final", 465)
    again = json_of(capsys, "invoices", "finalise", "finalised_customer", "--at", "2026-01", *at)
    assert [each["id"] for each in again["items"]] == [each["id"] for each in made["items"]]
    listed = json_of(capsys, "invoices", "list", "--customer", "finalised_customer", *at)
    assert invoice["id"] in [each["id"] for each in listed]
    explained = json_of(capsys, "invoices", "explain", invoice["id"], "--line", "1", *at)
    assert sum(each["units"] for each in explained) == 465

    late = {**events[0], "event_id": "late", "metadata": {"bytes": 7}}
    operator.post("events", "ingest", body={"events": [late]})
    # Lines end where the terminal does.
    text = " ".join(output_of(capsys, "invoices", "explain", invoice["id"], *at).split())
    assert "1 event, 7 more: came after the cut, on no invoice; would cost 0.07 GBP" in unwrapped(
        text
    )
    arguments = ("invoices", "explain", invoice["id"], "--line", "1", "--late")
    (event,) = json_of(capsys, *arguments, *at)
    assert (event["event_id"], event["units"]) == ("late", 7)


def test_a_fixed_price_is_a_line_without_events(
    server: Any, operator: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ("--data-dir", str(server.data_dir))
    ingest(operator, "fixed", "subscriber", [1])
    price = {
        "type": "usage_based_price",
        "currency": "JPY",
        "fixed_price": 980,
        "payment_frequency_count": 1,
        "payment_frequency_interval": "Month",
        "subscription_period_count": 1,
        "subscription_period_interval": "Year",
    }
    product = {"name": "Fixed", "tax_category": "saas", "default_plan": True, "price": price}
    id = operator.post("products", body=product)["product_id"]
    explain = ("invoices", "explain", "subscriber", "--product", id, *at)
    assert "980 JPY per period, whatever the usage." in output_of(capsys, *explain)
    assert run([*explain, "--line", "1"]) == 2
    assert "a fixed price has no events" in capsys.readouterr().err
    operator.ask("DELETE", "products", id)


def test_customers_are_made_listed_and_shown(
    server: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ("--data-dir", str(server.data_dir))
    person = ("--id", "ann/1", "--name", "Ann", "--email", "ann@example.com")
    made = json_of(capsys, "customers", "create", *person, *at)
    assert json_of(capsys, "customers", "show", "ann/1", *at) == made
    assert made in json_of(capsys, "customers", "list", "--name", "an", *at)
    assert run(["customers", "create", *person, *at]) == 1
    assert "exists" in capsys.readouterr().err
    assert run(["customers", "show", "nobody", *at]) == 3


def test_a_meter_is_shown_and_archived_by_name(
    server: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ("--data-dir", str(server.data_dir))
    condition = ("--filter", "quality=1080p", "--filter", "height>=720")
    made = json_of(capsys, "meters", "create", "shown", "--sum", "bytes", *condition, *at)
    assert json_of(capsys, "meters", "show", "shown", *at) == made["meter"]
    text = output_of(capsys, "meters", "show", "shown", *at)
    assert "quality equals 1080p and height greater than or equals 720" in text
    output_of(capsys, "meters", "archive", "shown", *at)
    assert run(["meters", "show", "shown", *at]) == 3
    capsys.readouterr()
    id = made["meter"]["id"]
    assert json_of(capsys, "meters", "show", id, *at)["id"] == id
    assert id in [each["id"] for each in json_of(capsys, "meters", "list", "--archived", *at)]


def test_two_meters_of_a_plan_that_take_the_same_events_are_warned_of(
    server: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ("--data-dir", str(server.data_dir))
    price = ("--sum", "bytes", "--price", "1", "--currency", "USD", "--plan", "Twice")
    output_of(capsys, "meters", "create", "all_of_it", "--event-name", "twice", *price, *at)
    arguments = ["meters", "create", "part_of_it", "--event-name", "twice", *price, *at]
    assert run([*arguments, "--filter", "quality=1080p"]) == 0
    assert "billed twice" in capsys.readouterr().err


def test_events_are_listed_with_exact_numbers(
    server: Any, operator: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    ingest(operator, "listed", "lister", [9_007_199_254_740_993, 2, 3])
    at = ("--data-dir", str(server.data_dir), "--event-name", "listed")
    found = json_of(capsys, "events", "list", *at)
    assert {each["metadata"]["bytes"] for each in found} == {9_007_199_254_740_993, 2, 3}
    assert len(json_of(capsys, "events", "list", "--limit", "2", *at)) == 2
    assert json_of(capsys, "events", "list", "--customer", "nobody", *at) == []


def test_a_tail_follows_until_ctrl_c(server: Any, operator: Client) -> None:
    ingest(operator, "tailed", "before", [1])
    arguments = ["events", "tail", "--event-name", "tailed", "--data-dir", str(server.data_dir)]
    with subprocess.Popen(
        [sys.executable, "-c", MAIN, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = json.loads(process.stdout.readline())
        ingest(operator, "tailed", "after", [2])
        assert select.select([process.stdout], [], [], 30)[0]
        second = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr.read() == ""
    assert [each["customer_id"] for each in (first, second)] == ["before", "after"]


def test_a_sign_in_link_opens_the_pages_once(
    server: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ("--data-dir", str(server.data_dir))
    elsewhere = output_of(capsys, "sign-in", *at, "--url", "https://billing.example/").strip()
    assert elsewhere.startswith("https://billing.example/app/sign-in?token=")
    link = output_of(capsys, "sign-in", *at).strip()
    assert link.startswith(f"{server.url}/app/sign-in?token=")
    with urlopen(link, timeout=30) as answer:
        assert answer.status == 200


def test_a_terminal_alone_gets_a_link_at_the_start(server: Any, tmp_path: Path) -> None:
    assert "token=" not in server.log.read_text()
    arguments = ["serve", "--data-dir", str(tmp_path / "data"), "--port", "0"]
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", MAIN, *arguments], stdout=subprocess.PIPE, stderr=theirs, text=True
    ) as process:
        os.close(theirs)
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        said = b""
        while not (found := re.search(rb"\S+/app/sign-in\?token=[0-9a-f]{64}", said)):
            said += os.read(ours, 4_096)
        link = found[0].decode()
        assert link.startswith(url)
        with urlopen(link, timeout=30) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        # A terminal that nobody reads would stop the server at its last words.
        while True:
            try:
                os.read(ours, 4_096)
            except OSError:
                break
        assert process.wait(30) == 0
    os.close(ours)


def test_doctor_finds_a_running_server_ready(
    server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ("--data-dir", str(server.data_dir), "--spool-dir", str(tmp_path / "spools"))
    found = {each["check"]: each for each in json_of(capsys, "doctor", *at)}
    assert found["server"]["detail"] == "runs on this directory, and is ready"
    assert found["data: catalog"]["verdict"] == "ok"


def test_a_second_server_on_a_directory_is_refused(server: Any) -> None:
    arguments = ["serve", "--data-dir", str(server.data_dir), "--port", "0"]
    done = subprocess.run(
        [sys.executable, "-c", MAIN, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 5
    assert "is already open in another process" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_directory_without_a_server_is_opened_for_a_command(tmp_path: Path) -> None:
    data_dir = str(tmp_path / "data")

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", MAIN, *arguments, "--data-dir", data_dir],
            capture_output=True,
            text=True,
            check=False,
        )

    assert command("keys", "create", "--mode", "test_mode", "--name", "x").returncode == 0
    made = command("meters", "create", "m", "--sum", "bytes", "-o", "json")
    assert (made.returncode, made.stderr) == (0, "")
    listed = command("meters", "list", "-o", "json")
    assert json.loads(listed.stdout) == [json.loads(made.stdout)["meter"]]
    assert command("meters", "show", "nothing").returncode == 3
