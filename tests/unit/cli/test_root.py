from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from streamgauge._version import __version__
from streamgauge.cli.root import run

MAIN = "import sys; from streamgauge.cli import main; sys.exit(main())"


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"streamgauge, version {__version__}\n"


KEYS_CREATE = ("keys", "create", "--mode", "test_mode", "--name", "x", "--data-dir", "/nowhere")


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["bogus"], 2, "No such command 'bogus'"),
        (["meters", "list", "--bogus"], 2, "No such option '--bogus'"),
        (["keys", "create", "--name", "x"], 2, "Missing option '--mode'"),
        (["keys", "create", "--mode", "live"], 2, "'live' is not one of"),
        (
            [*KEYS_CREATE, "--read-only", "--scope", "admin"],
            2,
            "--read-only and --scope admin contradict",
        ),
        (["meters", "list"], 4, "no key: set STREAMGAUGE_API_KEY"),
        (["meters", "list", "--url", "x"], 2, "--url is 'x'"),
        (["keys", "list", "--data-dir", "/nowhere"], 2, "--data-dir is '/nowhere'"),
        (["usage", "query", "m", "--from", "x"], 2, "--from is 'x'"),
        (["events", "list", "--limit", "0"], 2, "'--limit'"),
        (["serve", "--port", "70000"], 2, "'--port'"),
        (["serve"], 2, "data_dir is not given"),
        (["serve", "--config", "/nowhere.toml"], 2, "/nowhere.toml cannot be read"),
    ],
)
def test_a_failure_is_one_line_and_a_status(
    arguments: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == status
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("Error: ")
    assert said in printed.err
    assert printed.err.count("\n") == 1


def test_a_refusal_of_the_server_is_one_line(
    recorder: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STREAMGAUGE_API_KEY", "sg_test_a")
    target = "/customers/c%2F1"
    recorder.answer(target, {"code": "NOT_FOUND", "message": "no such\ncustomer"}, status=404)
    assert run(["customers", "show", "c/1", "--url", recorder.url]) == 3
    assert capsys.readouterr().err == "Error: no such customer\n"


def test_a_group_without_a_command_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["meters"]) == 2
    assert "Usage: streamgauge meters" in capsys.readouterr().err


def test_a_reader_that_goes_away_ends_it_quietly() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", MAIN, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_a_missing_extra_is_named_with_its_command(tmp_path: Path) -> None:
    block = tmp_path / "click.py"
    block.write_text("raise ModuleNotFoundError(\"No module named 'click'\", name='click')")
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {MAIN}"],
        capture_output=True,
        text=True,
        check=False,
    )
    expected = "Error: click is not installed; it comes with: pip install 'streamgauge[cli]'\n"
    assert (done.returncode, done.stderr) == (1, expected)


def test_the_demos_status_is_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, object]] = []
    # The real one streams video for a minute; it has tests of its own.
    monkeypatch.setattr("streamgauge.demo.run", lambda **options: asked.append(options) or 7)
    assert run(["demo", "--output", "json", "--keep"]) == 7
    assert asked == [{"output": "json", "keep": True, "data_dir": None}]


def test_a_text_that_the_terminals_encoding_lacks_is_escaped(tmp_path: Path) -> None:
    at = ["--data-dir", str(tmp_path / "data")]
    assert run(["keys", "create", "--mode", "test_mode", "--name", "Zoë", *at]) == 0
    done = subprocess.run(
        [sys.executable, "-c", MAIN, "keys", "list", *at],
        capture_output=True,
        env={"PYTHONIOENCODING": "ascii:strict"},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"Zo\\xeb" in done.stdout


def test_completion_is_offered_to_a_shell() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MAIN],
        capture_output=True,
        text=True,
        env={
            "_STREAMGAUGE_COMPLETE": "bash_complete",
            "COMP_WORDS": "streamgauge inv",
            "COMP_CWORD": "1",
        },
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "plain,invoices\n")
