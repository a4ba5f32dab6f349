"""What the documents say is there, and what is there is in the documents."""

from __future__ import annotations

import ast
import hashlib
import inspect
import os
import re
import shlex
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import streamgauge
from streamgauge import asgi, customers, mqtt, nginx, playback, sockets, testing
from streamgauge.cli.root import root
from streamgauge.core import limits
from streamgauge.server import config
from streamgauge.server.ingest.event_path import PipelineState
from streamgauge.server.ingest.retention import RetentionState
from streamgauge.server.store.timing import QueryTimes
from streamgauge.server.telemetry import metrics

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
README_LINES_MAX = 120

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def text(*paths: Path) -> str:
    return "\n".join(path.read_text("utf-8") for path in paths or DOCUMENTS)


def prose(path: Path) -> str:
    return FENCE.sub("", text(path))


def blocks(language: str) -> Iterator[tuple[Path, str]]:
    for path in DOCUMENTS:
        for found, body in FENCE.findall(text(path)):
            if found == language:
                yield path, body


def anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", re.sub(r"[`*]", "", heading).lower()).replace(" ", "-")


def find_command(line: str) -> tuple[click.Command, list[str]]:
    """Return the command that a line names, and the words that follow."""
    found: click.Command = root
    words = shlex.split(line.rstrip("\\ "))[1:]
    while isinstance(found, click.Group) and words and words[0] in found.commands:
        found = found.commands[words.pop(0)]
    return found, words


def test_every_link_between_documents_leads_somewhere() -> None:
    lost = []
    for path in DOCUMENTS:
        for link in LINK.findall(prose(path)):
            if link.startswith("https://"):
                continue
            name, _, place = link.partition("#")
            target = (path.parent / name).resolve() if name else path
            headings = [anchor(each) for each in HEADING.findall(text(target))] if place else []
            if not target.exists() or (place and place not in headings):
                lost.append(f"{path.name}: {link}")
    assert lost == []


def test_every_file_that_is_named_exists() -> None:
    lost = [
        f"{path.name}: {name}"
        for path in DOCUMENTS
        for name in CODE.findall(prose(path))
        if re.fullmatch(r"[a-z_.]+/[\w./-]*(?:\.py|\.md|\.toml|/)", name)
        and not any((base / name).exists() for base in (ROOT, ROOT / "src/streamgauge"))
    ]
    assert lost == []


def test_every_python_block_is_python() -> None:
    found = list(blocks("python"))
    for path, body in found:
        ast.parse(body, str(path))
    assert len(found) >= 4


def test_every_command_line_names_a_command_and_options_that_exist() -> None:
    lines = [line for _, body in blocks("sh") for line in re.findall(r"\bstreamgauge .+", body)]
    inline = [code for path in DOCUMENTS for code in CODE.findall(prose(path))]
    lines += [code for code in inline if code.startswith("streamgauge ")]
    wrong = []
    for line in lines:
        command, words = find_command(re.sub(r"\).*|#.*", "", line))
        known = {name for each in command.params for name in each.opts}
        options = {word.partition("=")[0] for word in words if word.startswith("--")}
        if isinstance(command, click.Group) and words:
            wrong.append(f"{line}: no command {words[0]}")
        wrong += [f"{line}: no option {option}" for option in options - known - {"--help"}]
    assert wrong == []
    assert len(lines) >= 10


@pytest.mark.parametrize(
    "name",
    sorted(
        {
            *streamgauge.__all__,
            *asgi.__all__,
            *customers.__all__,
            *mqtt.__all__,
            *nginx.__all__,
            *playback.__all__,
            *sockets.__all__,
            *testing.__all__,
        }
    ),
)
def test_every_public_name_is_documented(name: str) -> None:
    assert name == "__version__" or re.search(rf"\b{name}\b", text())


def test_every_option_of_an_ingestion_is_in_the_guide() -> None:
    guide = text(ROOT / "docs/guides/from-the-blueprint.md")
    options = set(inspect.signature(streamgauge.Ingestion).parameters)
    assert {option for option in options if f"`{option}`" not in guide} == set()


def test_every_copied_file_is_named_with_its_digest() -> None:
    named = re.findall(r"\| `(src/\S+)` \|.*\| `([0-9a-f]{64})` \|", text(ROOT / "THIRD_PARTY.md"))
    copied = [str(path.relative_to(ROOT)) for path in (ROOT / "src").glob("**/*.min.*")]
    assert sorted(copied) == sorted(path for path, _ in named)
    for path, digest in named:
        assert hashlib.sha256((ROOT / path).read_bytes()).hexdigest() == digest


def test_every_dependency_is_named_with_its_licence() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(each for extra in extras for each in extra)]
    names = {re.split(r"[>=\[; ]", each)[0] for each in wanted} - {"streamgauge"}
    table = text(ROOT / "THIRD_PARTY.md")
    assert {
        name for name in names if not re.search(rf"^\| .*\b{name}\b", table, re.MULTILINE)
    } == set()


def test_the_readme_fits_its_bound() -> None:
    assert len(text(ROOT / "README.md").splitlines()) < README_LINES_MAX


def test_the_page_of_limits_is_what_the_code_says() -> None:
    rows, reason, before = list[str](), "", ""
    for line in Path(limits.__file__).read_text().splitlines():
        if line.startswith("#"):
            reason = f"{reason} {line[2:]}" if before.startswith("#") else line[2:]
        elif match := re.match(r"([A-Z][A-Z0-9_]+): Final = ", line):
            value = getattr(limits, match[1])
            shown = f"{value:,}" if isinstance(value, int) else str(value)
            rows.append(f"| `{match[1]}` | {shown} | {reason} |")
        before = line
    page = [
        "# Limits\n\nEvery queue, batch, body, window and retry is bounded. This page is made from",
        "`core/limits.py`, where each bound stands with its reason.\n",
        "| bound | value | reason |\n|---|---|---|",
        *rows,
        "",
    ]
    path, expected = ROOT / "docs/reference/limits.md", "\n".join(page)
    if os.environ.get("STREAMGAUGE_WRITE_DOCS"):
        path.write_text(expected)
    renew = "STREAMGAUGE_WRITE_DOCS=1 .venv/bin/pytest tests/test_docs.py"
    assert path.read_text() == expected, f"renew it with: {renew}"
    assert len(rows) >= 50


def test_every_option_of_the_server_is_documented_with_its_default(tmp_path: Path) -> None:
    page = text(ROOT / "docs/reference/configuration.md")
    for path, variable in config.paths().items():
        assert f"| `{path}` | `{variable}` |" in page
    (example,) = (body for path, body in blocks("toml") if path.name == "configuration.md")
    (tmp_path / "options.toml").write_text(example)
    assert config.load(file=tmp_path / "options.toml").listen.port == 8080
    loaded = config.load(flags={"data_dir": "x"})
    for shown, value in {
        "listen.host": loaded.listen.host,
        "listen.port": loaded.listen.port,
        "log.level": loaded.log.level,
        "log.format": loaded.log.format,
        "stop_timeout_s": f"{loaded.stop_timeout_s:g}",
    }.items():
        assert re.search(rf"\| `{shown}` \| `\w+` \| `{value}` \|", page)


def test_every_metric_of_the_server_is_documented_and_no_other() -> None:
    state = PipelineState(refused=Counter({"TOO_LARGE": 1}))
    times = QueryTimes()
    with times.timed("usage"):
        pass
    given = set(
        re.findall(
            r"^(streamgauge_\w+)",
            metrics(state, times.read(), RetentionState()).decode(),
            re.MULTILINE,
        )
    )
    page = text(ROOT / "docs/reference/configuration.md")
    assert set(re.findall(r"^\| `(streamgauge_\w+)", page, re.MULTILINE)) == given
