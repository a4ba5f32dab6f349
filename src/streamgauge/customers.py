"""Who pays for a request: ready-made answers to ``customer=``, and the view they are asked with."""

from __future__ import annotations

from streamgauge.streams.frameworks import view_of
from streamgauge.streams.resolvers.base import first_of
from streamgauge.streams.resolvers.cookies import from_cookie
from streamgauge.streams.resolvers.forwarded import from_header, from_query
from streamgauge.streams.resolvers.paths import from_path
from streamgauge.streams.resolvers.sessions import from_session
from streamgauge.streams.resolvers.signing import Signer
from streamgauge.streams.resolvers.tokens import from_jwt
from streamgauge.streams.view import RequestView

__all__ = [
    "RequestView",
    "Signer",
    "first_of",
    "from_cookie",
    "from_header",
    "from_jwt",
    "from_path",
    "from_query",
    "from_session",
    "view_of",
]
