"""Real-time data: sensor readings over plain TCP, counted by the application itself.

Run `python realtime_data.py`. `DODO_PAYMENTS_API_KEY` is your key, `STREAMGAUGE_URL` your server
(without it: Dodo Payments' own). A client sends a name and gets readings:

    (echo ann; sleep 10) | nc 127.0.0.1 9000
"""

import asyncio
import functools
import itertools
import json
import os
from asyncio import StreamReader, StreamWriter
from contextlib import suppress

from streamgauge import Ingestion, track_stream_bytes

READINGS_PER_S = 100
READINGS_PER_EVENT = 50


async def serve(ingestion: Ingestion, reader: StreamReader, writer: StreamWriter) -> None:
    customer_id = f"customer_{(await reader.readline()).decode().strip()}"
    bill = functools.partial(
        track_stream_bytes, ingestion, customer_id=customer_id, metadata={"sensor": "wind"}
    )
    sent = 0
    try:
        for number in itertools.count(1):
            reading = json.dumps({"number": number, "speed": number * 7 % 12}).encode() + b"\n"
            sent += len(reading)
            writer.write(reading)
            await writer.drain()
            if number % READINGS_PER_EVENT == 0:
                bill(bytes=sent)  # It is billed from here on, even if this process is killed.
                sent = 0
            await asyncio.sleep(1 / READINGS_PER_S)
    except ConnectionError:
        writer.close()
    finally:
        bill(bytes=sent)


async def main() -> None:
    async with Ingestion(
        environment="test_mode",
        event_name="stream_consumption",
        base_url=os.environ.get("STREAMGAUGE_URL"),
    ) as ingestion:
        port = int(os.environ.get("PORT", "9000"))
        server = await asyncio.start_server(functools.partial(serve, ingestion), "127.0.0.1", port)
        print("listening on {}:{}".format(*server.sockets[0].getsockname()), flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
