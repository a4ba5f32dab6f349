"""The house rules that no linter has: sizes, names, doors, and what texts may not contain."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = Path("src/streamgauge")
MODULE_LINES_MAX = 300
TEST_MODULE_LINES_MAX = 450
FUNCTION_LINES_MAX = 60
LINE_CHARS_MAX = 100
TEST_NAME_WORDS_MIN = 3

# A module name, and the only places that may import it: one door to each dependency.
DOORS = {
    "aiohttp": ("streams/aiohttp_web.py",),
    "chdb": ("server/store/",),
    "click": ("cli/", "demo/"),
    "clickhouse_connect": ("server/store/",),
    "jinja2": ("server/pages/",),
    "jwt": ("streams/resolvers/tokens.py",),
    "numpy": ("server/ingest/digests/",),
    "nats": ("server/ingest/jetstream.py", "server/ingest/nats_connection.py"),
    "rich": ("cli/", "demo/"),
    "sqlalchemy": ("server/catalog/",),
    "urllib3": ("sinks/transport.py",),
}

# Character classes keep these patterns from finding themselves.
FORBIDDEN_TEXTS = {
    "an index address": r"pypi[.]org|pythonhosted[.]org|npmjs[.](?:org|com)",
    "a path of one machine": r"(?<![\w.~$}-])/(?:wor[k]|roo[t]|Users|home/[a-z]\w*)/",
    "how a text was made": r"(?i)\b(?:cl[a]ude|anthro[p]ic|chat[g]pt|copi[l]ot|co-authored[-]by"
    r"|language[ ]model|subag[e]nt|coding[ ]agent|ai[ ]assistant)\b",
    "a number of a tracker": r"(?i)\bissues?\s+#?\d|\bsee #\d",
    "an unfinished place": r"\bTO[D]O\b|\bFIX[M]E\b|\bHAC[K]\b",
}


@cache
def files() -> tuple[Path, ...]:
    """Return what is or would be committed, relative to the root."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("without a checkout and git nothing says what belongs to the project")
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    names = sorted(set(filter(None, listed.split("\0"))))
    return tuple(Path(name) for name in names if (ROOT / name).is_file())


def python_files(*under: str) -> Iterator[Path]:
    yield from (
        path for path in files() if path.suffix == ".py" and path.as_posix().startswith(under or "")
    )


@cache
def text_of(path: Path) -> str:
    try:
        return (ROOT / path).read_text("utf-8")
    except UnicodeDecodeError:
        return ""


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(text_of(path), str(path))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and first name of every absolute import, wherever it stands."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module.partition(".")[0]


def over(bound: int, sizes: Iterator[tuple[int, str]]) -> list[str]:
    """Print the longest (``-s`` or a failure shows them), and return those over ``bound``."""
    lines = [(size, f"{size:5} {where}") for size, where in sorted(sizes, reverse=True)]
    sys.stdout.write("\n".join(["longest:", *(line for _, line in lines[:10]), ""]))
    return [line for size, line in lines if size > bound]


def test_no_module_is_longer_than_its_bound() -> None:
    def sizes(*under: str) -> Iterator[tuple[int, str]]:
        for path in python_files(*under):
            yield len(text_of(path).splitlines()), str(path)

    assert over(MODULE_LINES_MAX, sizes("src/", "benchmarks/", "examples/")) == []
    assert over(TEST_MODULE_LINES_MAX, sizes("tests/")) == []


def test_no_function_is_longer_than_a_screen() -> None:
    sizes = (
        ((node.end_lineno or 0) - node.lineno + 1, f"{path}:{node.lineno} {node.name}")
        for path in python_files()
        for node in functions(path)
    )
    assert over(FUNCTION_LINES_MAX, sizes) == []


def test_no_line_is_wider_than_its_bound() -> None:
    wide = [
        f"{path}:{number}"
        for path in python_files()
        for number, line in enumerate(text_of(path).splitlines(), 1)
        # As ruff has it: the reason of an exception, and a single long word, may go beyond.
        if len(code := re.sub(r"\s+# (?:noqa|type|fmt):.*", "", line)) > LINE_CHARS_MAX
        and " " in code.strip()
    ]
    assert wide == []


def test_no_module_is_named_after_nothing() -> None:
    nothing = {"utils", "util", "helpers", "helper", "common", "misc"}
    assert [str(path) for path in python_files() if nothing & {path.stem, *path.parts}] == []


def test_no_float_touches_a_quantity_or_a_price() -> None:
    rooms = tuple(f"{PACKAGE}/server/{room}/" for room in ("metering", "rating", "billing"))
    found = [
        f"{path}:{node.lineno}"
        for path in python_files(*rooms)
        for node in ast.walk(tree_of(path))
        if (isinstance(node, ast.Name) and node.id == "float")
        or (isinstance(node, ast.Constant) and isinstance(node.value, float))
    ]
    assert found == []


def test_every_dependency_has_one_door() -> None:
    wrong = [
        f"{path}:{line} imports {name}"
        for path in python_files(f"{PACKAGE}/")
        for line, name in imported(path)
        if name in DOORS and not path.relative_to(PACKAGE).as_posix().startswith(DOORS[name])
    ]
    assert wrong == []


def test_the_core_imports_the_standard_library_and_msgspec_only() -> None:
    allowed = {*sys.stdlib_module_names, "msgspec", "streamgauge"}
    wrong = [
        f"{path}:{line} imports {name}"
        for path in python_files(f"{PACKAGE}/core/")
        for line, name in imported(path)
        if name not in allowed
    ]
    assert wrong == []


def test_importing_the_package_loads_the_standard_library_and_msgspec_only() -> None:
    program = (
        "import sys, msgspec; before = set(sys.modules); import streamgauge\n"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout.split()
    assert set(loaded) - set(sys.stdlib_module_names) <= {"streamgauge", "msgspec"}


@pytest.mark.parametrize("what", FORBIDDEN_TEXTS)
def test_no_text_carries_what_does_not_belong_to_the_project(what: str) -> None:
    pattern = re.compile(FORBIDDEN_TEXTS[what])
    found = [
        f"{path}:{number}: {match[0]}"
        for path in files()
        for number, line in enumerate(text_of(path).splitlines(), 1)
        if (match := pattern.search(line))
    ]
    assert found == []


def test_the_name_of_every_test_is_a_sentence() -> None:
    wrong = [
        f"{path}:{node.lineno} {node.name}"
        for path in python_files("tests/")
        if path.name.startswith("test_")
        for node in functions(path)
        if node.name.startswith("test")
        and len([word for word in node.name.split("_")[1:] if word]) < TEST_NAME_WORDS_MIN
    ]
    assert wrong == []
