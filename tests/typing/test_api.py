from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

API = Path(__file__).with_name("api.py")
ROOT = API.parents[2]


def _said_by_mypy() -> dict[int, list[tuple[str, str]]]:
    options = ["--strict", "--no-error-summary", "--hide-error-context", "--no-pretty"]
    ended = subprocess.run(
        [sys.executable, "-m", "mypy", *options, str(API)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode in {0, 1}, ended.stdout + ended.stderr
    said: defaultdict[int, list[tuple[str, str]]] = defaultdict(list)
    for line in ended.stdout.splitlines():
        found = re.fullmatch(r"(.+?):([0-9]+): (error|note): (.*?)(?:  \[([a-z-]+)\])?", line)
        assert found, line
        assert Path(found[1]).name == API.name, line
        if found[3] == "error":
            said[int(found[2])].append(("error", found[5]))
        elif "Revealed type is" in found[4]:
            said[int(found[2])].append(("revealed", found[4]))
    return said


def test_a_callers_type_checker_sees_the_api_as_it_is_meant() -> None:
    said = _said_by_mypy()
    for number, line in enumerate(API.read_text().splitlines(), 1):
        found = re.search(r"# (error|revealed): (.*)$", line)
        if found is None:
            assert said[number] == [], f"line {number}: {line}"
        elif found[1] == "error":
            assert {code for kind, code in said[number] if kind == "error"} & set(
                found[2].split(", ")
            ), f"line {number}: {line}: {said[number]}"
            assert all(kind == "error" for kind, _ in said[number])
        else:
            ((_, revealed),) = said[number]
            assert found[2] in revealed, f"line {number}: {revealed}"
