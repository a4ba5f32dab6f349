"""An engine in a process of its own: a process can open one engine path only, and others do too."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

_SERVE = """
import json, sys
import chdb.session
session = chdb.session.Session()
for line in sys.stdin:
    try:
        answer = session.query(json.loads(line), "JSONCompactEachRow").bytes().decode()
        rows = [json.loads(row) for row in answer.splitlines()]
        print(json.dumps({"rows": rows}), flush=True)
    except Exception as error:
        print(json.dumps({"error": str(error)}), flush=True)
"""

Query = Callable[[str], list[list[Any]]]


@pytest.fixture(scope="module")
def query() -> Iterator[Query]:
    with subprocess.Popen(
        [sys.executable, "-c", _SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as engine:
        sent, answered = engine.stdin, engine.stdout
        assert sent is not None
        assert answered is not None

        def ask(sql: str) -> list[list[Any]]:
            sent.write(json.dumps(sql) + "\n")
            sent.flush()
            answer = json.loads(answered.readline())
            assert "error" not in answer, answer["error"]
            return list(answer["rows"])

        yield ask
        sent.close()
