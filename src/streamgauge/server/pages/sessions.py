"""Who is signed in: one-time links, sessions and their CSRF tokens, kept in memory.

A link works once, for ten minutes; a restart signs everybody out. Only digests of tokens are
kept, so a look into memory or a dump signs nobody in.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import Final

import msgspec

from streamgauge.core.clock import NS_PER_S, Clock
from streamgauge.core.ids import Entropy

LINK_LIFE_S: Final = 600
SESSION_LIFE_S: Final = 12 * 3600
# A console has a few readers; more open sessions than this means that somebody plays.
SESSIONS_MAX: Final = 1_000
LINKS_MAX: Final = 100
_TOKEN_BYTES: Final = 32


class Session(msgspec.Struct, kw_only=True):
    """A signed-in browser.

    Attributes:
        csrf: What every form of this session carries.
        mode: The mode whose things the pages show.
        expires_ns: Monotonic end of life.
    """

    csrf: str
    mode: str
    expires_ns: int

    def allows(self, token: str) -> bool:
        """Tell whether ``token`` came from a form of this session."""
        return hmac.compare_digest(self.csrf.encode(), token.encode())


class Sessions:
    """Links handed out and sessions open.

    Args:
        clock: Only its monotonic time is used.
        entropy: Where tokens come from.
    """

    def __init__(self, clock: Clock, entropy: Entropy = os.urandom) -> None:
        self._clock = clock
        self._entropy = entropy
        self._links: dict[str, int] = {}
        self._sessions: dict[str, Session] = {}

    def new_link_token(self) -> str:
        """Return a token that ``sign_in`` takes once, within ten minutes."""
        self._forget_expired()
        while len(self._links) >= LINKS_MAX:
            self._links.pop(next(iter(self._links)))
        token = self._token()
        self._links[_digest(token)] = self._clock.monotonic_ns() + LINK_LIFE_S * NS_PER_S
        return token

    def sign_in(self, link_token: str) -> str | None:
        """Use up a link; return the new session's token, or None if the link is not good."""
        self._forget_expired()
        if self._links.pop(_digest(link_token), None) is None:
            return None
        while len(self._sessions) >= SESSIONS_MAX:
            self._sessions.pop(next(iter(self._sessions)))
        token = self._token()
        self._sessions[_digest(token)] = Session(
            csrf=self._token(),
            mode="test_mode",
            expires_ns=self._clock.monotonic_ns() + SESSION_LIFE_S * NS_PER_S,
        )
        return token

    def find(self, token: str) -> Session | None:
        """Return the open session of ``token``."""
        session = self._sessions.get(_digest(token))
        if session is None or session.expires_ns <= self._clock.monotonic_ns():
            return None
        return session

    def sign_out(self, token: str) -> None:
        """End the session of ``token``."""
        self._sessions.pop(_digest(token), None)

    def _token(self) -> str:
        return self._entropy(_TOKEN_BYTES).hex()

    def _forget_expired(self) -> None:
        now_ns = self._clock.monotonic_ns()
        self._links = {each: end for each, end in self._links.items() if end > now_ns}
        self._sessions = {
            each: session for each, session in self._sessions.items() if session.expires_ns > now_ns
        }


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
