from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

HOST = """
import asyncio, json, socket, sys
from contextlib import asynccontextmanager
from pathlib import Path

import httpx, uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Mount, Route

from streamgauge import Ingestion, StreamBytesMiddleware
from streamgauge.customers import from_path
from streamgauge.server.app import Opened, create_app
from streamgauge.server.config import Config

async def film(request):
    return Response(b"x" * 1000)

async def main(home):
    listener = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    opened = Opened(Config(data_dir=home / "data"))
    opened.start()
    key = opened.parts.catalog.keys.create(mode="test_mode", name="host").token
    ingestion = Ingestion(
        environment="test_mode", event_name="stream", api_key=key, base_url=f"{address}/billing",
        spool_dir=home / "spool", flush_interval_s=0.05,
    )
    routes = [Route("/{customer_id}/film", film), Mount("/billing", create_app(opened.parts))]
    customer = from_path("/{customer_id}/{rest:path}")
    app = StreamBytesMiddleware(Starlette(routes=routes), ingestion=ingestion, customer=customer)
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
    serving = asyncio.create_task(server.serve([listener]))
    async with httpx.AsyncClient(trust_env=False) as client:
        await client.get(f"{address}/ann/film")
        flushed = [await ingestion.aflush(20) for _ in range(3)]
    stats = ingestion.stats()
    print(json.dumps([flushed, stats.counted_bytes, stats.acknowledged_bytes,
                      app.unattributed_bytes > 0, app.failures]))
    await ingestion.aclose()
    server.should_exit = True
    await serving
    await opened.close()

asyncio.run(main(Path(sys.argv[1])))
"""


def test_a_host_of_both_halves_bills_its_streams_and_not_its_own_deliveries(
    tmp_path: Path,
) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", HOST, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == [[True, True, True], 1_000, 1_000, True, 0]
