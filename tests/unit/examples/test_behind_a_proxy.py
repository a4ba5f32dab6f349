from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import flask

from streamgauge import Ingestion, track_stream_bytes
from streamgauge.testing import MemorySink

GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "behind-a-proxy.md"
BLOCK = re.compile(r"<!-- run: (\S+) -->\n```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
PROGRAMS: dict[str, str] = dict(BLOCK.findall(GUIDE.read_text("utf-8")))


def test_the_guides_header_names_who_pays() -> None:
    response = flask.Response()
    exec(PROGRAMS["header"], {"response": response})
    assert json.loads(response.headers["X-Streamgauge-Bill"]) == {
        "customer_id": "customer_123",
        "metadata": {"title": "film"},
    }


def test_a_log_of_a_cdn_that_is_read_twice_is_billed_once(
    streamgauge_ingestion: Ingestion, streamgauge_sink: MemorySink
) -> None:
    names = {
        "ingestion": streamgauge_ingestion,
        "track_stream_bytes": track_stream_bytes,
        "customer_of": lambda path: path.split("/")[1],
        "log_lines": [
            {"path": "/ann/a", "bytes_sent": 7, "request_id": "1", "ended_at": datetime.now(UTC)},
            {"path": "/bob/a", "bytes_sent": 8, "request_id": "2", "ended_at": datetime.now(UTC)},
        ],
    }
    for _ in range(2):
        exec(PROGRAMS["cdn"], names)
    assert streamgauge_ingestion.flush()
    assert streamgauge_sink.bytes_by_customer() == {"ann": 7, "bob": 8}
