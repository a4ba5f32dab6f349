from __future__ import annotations

import json
from typing import Any

import pytest

from streamgauge.cli.client import Client
from streamgauge.cli.root import run


def test_a_customer_is_forgotten_by_a_command(
    server: Any, operator: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    body = {"customer_id": "to-forget", "name": "Ann", "email": "ann@example.com"}
    operator.post("customers", body=body)
    command = ["customers", "forget", "to-forget", "--data-dir", str(server.data_dir), "--yes"]
    assert run([*command, "--output", "json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["done_at"] is not None
    assert operator.get("customers", "to-forget")["name"] == "Forgotten customer"
    assert run([*command[:2], "nobody", *command[3:]]) == 3
    assert "no customer has the id 'nobody'" in capsys.readouterr().err


def test_nobody_is_forgotten_without_a_yes(
    server: Any, operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator.post("customers", body={"customer_id": "keep", "name": "Bo", "email": "b@example.com"})
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _text: "n")
    assert run(["customers", "forget", "keep", "--data-dir", str(server.data_dir)]) == 130
    assert operator.get("customers", "keep")["name"] == "Bo"
