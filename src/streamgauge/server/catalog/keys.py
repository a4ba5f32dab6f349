"""API keys: shown once, stored as keyed hashes, revoked at once, in every process."""

from __future__ import annotations

import base64
import hashlib
import hmac
import threading
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import RowMapping, insert, select, update

from streamgauge.core.clock import Clock, utc
from streamgauge.core.errors import InvalidInputError, NotFoundError
from streamgauge.core.events import check_mode
from streamgauge.core.ids import Entropy, new_id
from streamgauge.core.keys import KEY_SCOPES, KeyScope
from streamgauge.core.limits import KEYS_CACHED_MAX
from streamgauge.server.catalog.database import Database
from streamgauge.server.catalog.rows import plain
from streamgauge.server.catalog.schema import api_keys
from streamgauge.server.catalog.texts import check_name

_PREFIXES: Final = {"test_mode": "sg_test_", "live_mode": "sg_live_"}
_TOKEN_BYTES: Final = 30
_TOKEN_CHARS_MAX: Final = 200
_HINT_CHARS: Final = 4


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key, without its secret.

    Attributes:
        id: Begins with ``key_``.
        mode: ``test_mode`` or ``live_mode``.
        name: For people.
        scope: What it may do; each scope includes those before it in ``KEY_SCOPES``.
        strict_timestamps: Events sent with it must be at most an hour old.
        hint: The token's last characters, to tell keys apart.
        created_at: Aware.
        revoked_at: Aware; None while it works.
    """

    id: str
    mode: str
    name: str
    scope: KeyScope
    strict_timestamps: bool
    hint: str
    created_at: datetime
    revoked_at: datetime | None = None


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that was just made, with the token that is never shown again."""

    key: ApiKey
    token: str


class Keys:
    """The API keys of a business.

    Only keys that work are remembered, and only while nobody wrote to the catalog, as far as it can
    tell: a revocation by any process is seen by the next request.
    """

    def __init__(
        self, database: Database, business_id: str, pepper: bytes, *, clock: Clock, entropy: Entropy
    ) -> None:
        self._database = database
        self._business_id = business_id
        self._pepper = pepper
        self._clock = clock
        self._entropy = entropy
        self._lock = threading.Lock()
        self._known: dict[str, ApiKey] = {}
        self._known_at = -1

    def create(
        self,
        *,
        mode: str,
        name: str,
        scope: KeyScope = "admin",
        strict_timestamps: bool = False,
    ) -> NewKey:
        """Make a key; its token is in the answer and nowhere else.

        Raises:
            InvalidInputError: The mode, the scope or the name breaks a rule.
        """
        check_mode(mode, field="mode")
        if scope not in KEY_SCOPES:
            raise InvalidInputError("scope", scope, f"be one of {', '.join(KEY_SCOPES)}")
        check_name(name, field="name")
        secret = base64.b32encode(self._entropy(_TOKEN_BYTES)).decode().lower()
        token = _PREFIXES[mode] + secret
        now_ns = self._clock.time_ns()
        key = ApiKey(
            id=new_id("key", time_ns=lambda: now_ns, entropy=self._entropy),
            mode=mode,
            name=name,
            scope=scope,
            strict_timestamps=strict_timestamps,
            hint=token[-_HINT_CHARS:],
            created_at=utc(now_ns),
        )
        with self._database.write() as connection:
            row = msgspec.structs.asdict(key) | {"hash": self._hash(token)}
            connection.execute(insert(api_keys).values(business_id=self._business_id, **row))
        return NewKey(key=key, token=token)

    def list(self, *, mode: str | None = None) -> list[ApiKey]:
        """Return every key, revoked ones too, oldest first; of one mode if given."""
        query = select(api_keys).where(api_keys.c.business_id == self._business_id)
        if mode is not None:
            query = query.where(api_keys.c.mode == mode)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(api_keys.c.created_at, api_keys.c.id))
            return [_key(row) for row in rows.mappings()]

    def revoke(self, id: str, *, mode: str | None = None) -> ApiKey:
        """Make a key useless from the next request on; twice is once.

        Args:
            id: Which key.
            mode: Look in this mode only.

        Raises:
            NotFoundError: No key has this id.
        """
        mine = (api_keys.c.business_id == self._business_id) & (api_keys.c.id == id)
        if mode is not None:
            mine &= api_keys.c.mode == mode
        with self._database.write() as connection:
            connection.execute(
                update(api_keys)
                .where(mine, api_keys.c.revoked_at.is_(None))
                .values(revoked_at=utc(self._clock.time_ns()))
            )
            row = connection.execute(select(api_keys).where(mine)).mappings().one_or_none()
        if row is None:
            raise NotFoundError("key", id)
        return _key(row)

    def authenticate(self, token: str) -> ApiKey | None:
        """Return the working key of ``token``, or None; some microseconds for a known one."""
        if not token or len(token) > _TOKEN_CHARS_MAX or not token.isascii():
            return None
        digest = self._hash(token)
        stamp = self._database.change_stamp()
        if stamp is None:
            return self._look_up(digest)
        with self._lock:
            if stamp != self._known_at:
                self._known.clear()
                self._known_at = stamp
            key = self._known.get(digest)
        if key is not None:
            return key
        key = self._look_up(digest)
        if key is not None:
            with self._lock:
                if stamp == self._known_at and len(self._known) < KEYS_CACHED_MAX:
                    self._known[digest] = key
        return key

    def _look_up(self, digest: str) -> ApiKey | None:
        query = select(api_keys).where(api_keys.c.hash == digest, api_keys.c.revoked_at.is_(None))
        with self._database.read() as connection:
            row = connection.execute(query).mappings().one_or_none()
        if row is None or not hmac.compare_digest(row["hash"], digest):
            return None
        return _key(row)

    def _hash(self, token: str) -> str:
        return hmac.new(self._pepper, token.encode(), hashlib.sha256).hexdigest()


def _key(row: RowMapping) -> ApiKey:
    return msgspec.convert(plain(row), ApiKey)
