"""Requests as servers hand them on, keys, and whom a resolver names for them."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from streamgauge.customers import RequestView, view_of

SECRET = "0123456789abcdef0123456789abcdef"
PRIVATE_KEY = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
PUBLIC_KEY = PRIVATE_KEY.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)


def view(path: str = "/", *, headers: Mapping[str, str] | None = None, **scope: Any) -> RequestView:
    path, _, query = path.partition("?")
    pairs = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    return view_of(
        {"type": "http", "path": path, "query_string": query.encode(), "headers": pairs, **scope}
    )


def environ(**changes: Any) -> RequestView:
    return view_of({"REQUEST_METHOD": "GET", "PATH_INFO": "/", "QUERY_STRING": "", **changes})


def named(resolver: Any, request: RequestView) -> str | None:
    answer = resolver(request)
    if inspect.isawaitable(answer):

        async def answered() -> Any:
            return await answer

        answer = asyncio.run(answered())
    return answer
