from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streamgauge.cli.connection import choose, is_loopback, key_client
from streamgauge.core.errors import ConfigurationError, InvalidInputError, UnauthorizedError


def test_our_own_variable_wins_over_dodos(recorder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder.answer("/x", {})
    monkeypatch.setenv("DODO_PAYMENTS_API_KEY", "sg_test_second")
    monkeypatch.setenv("STREAMGAUGE_URL", recorder.url)
    with choose(None, None, None) as client:
        client.get("x")
    monkeypatch.setenv("STREAMGAUGE_API_KEY", "sg_test_first")
    with choose(None, None, None) as client:
        client.get("x")
    keys = [headers["authorization"] for _, _, headers, _ in recorder.requests]
    assert keys == ["Bearer sg_test_second", "Bearer sg_test_first"]


def test_a_missing_key_is_told_where_keys_come_from() -> None:
    with pytest.raises(UnauthorizedError, match="streamgauge keys create"):
        key_client("http://127.0.0.1:8000")


def test_a_key_of_dodos_own_is_not_sent(recorder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DODO_PAYMENTS_API_KEY", "dodo_live_secret")
    with pytest.raises(UnauthorizedError, match="was not sent") as caught:
        key_client(recorder.url)
    assert "secret" not in str(caught.value)
    assert recorder.requests == []


def test_a_key_with_a_line_break_inside_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMGAUGE_API_KEY", "sg_test_a\r\nx: y")
    with pytest.raises(UnauthorizedError, match="characters that no key has"):
        key_client("http://127.0.0.1:8000")


def test_a_key_in_the_clear_to_elsewhere_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STREAMGAUGE_API_KEY", "sg_test_a")
    key_client("http://billing.example:8000")
    assert "unencrypted" in capsys.readouterr().err
    key_client("https://billing.example")
    key_client("http://[::1]:8000")
    assert capsys.readouterr().err == ""


def test_options_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="two servers"), choose("http://x", tmp_path, None):
        pass
    with pytest.raises(ConfigurationError, match="goes with"), choose(None, None, "live_mode"):
        pass


def test_a_directory_that_is_no_data_directory_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="--data-dir is"), choose(None, tmp_path, None):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("host", "here"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("x", False)],
)
def test_loopback_is_told_by_the_name(host: str, here: bool) -> None:
    assert is_loopback(host) is here
