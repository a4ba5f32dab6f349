"""Customers in texts that viewers carry and cannot write: signed, for a time."""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence

from streamgauge.core.clock import NS_PER_S, Clock, SystemClock
from streamgauge.core.errors import ConfigurationError, InvalidInputError, UnauthorizedError
from streamgauge.core.events import check_text_id
from streamgauge.core.limits import (
    SECRET_BYTES_MIN,
    SIGNED_CUSTOMER_CHARS_MAX,
    SIGNED_CUSTOMER_S_MAX,
)


class Signer:
    """Signs customers into texts for cookies, headers and addresses, and reads them back.

    A text is ``customer.expiry.signature``: the id in base64url, seconds since 1970, and
    HMAC-SHA256 (RFC 2104) in base64url. Who holds a text can show it until it expires.

    Args:
        secrets: The first signs; all of them are believed, so a rotation puts the new one first
            and drops the old one when its last text has expired. Each has at least 32 bytes, such
            as ``secrets.token_urlsafe(32)``.
        purpose: Texts of one purpose are not believed for another.
        clock: Says what has expired.

    Raises:
        ConfigurationError: There is no secret, or one is too short to resist guessing.
    """

    def __init__(
        self,
        secrets: Sequence[str | bytes],
        *,
        purpose: str = "customer",
        clock: Clock | None = None,
    ) -> None:
        if isinstance(secrets, str | bytes) or not secrets:
            raise ConfigurationError("secrets must be a list of at least one secret")
        encoded = [each.encode() if isinstance(each, str) else bytes(each) for each in secrets]
        if short := [number for number, each in enumerate(encoded) if len(each) < SECRET_BYTES_MIN]:
            # The message goes to logs: it names the place and not the secret.
            raise ConfigurationError(
                f"secrets[{short[0]}] must have at least {SECRET_BYTES_MIN} bytes"
            )
        context = b"streamgauge signer 1\n" + purpose.encode()
        self._keys = [hmac.digest(each, context, hashlib.sha256) for each in encoded]
        self._clock = clock or SystemClock()

    def sign(self, customer_id: str, *, ttl_s: int) -> str:
        """Return ``customer_id`` as a text that is believed for ``ttl_s`` seconds.

        Raises:
            InvalidInputError: No possible customer, or a time that is not 1 second to 1 year.
        """
        check_text_id(customer_id, field="customer_id")
        if isinstance(ttl_s, bool) or not isinstance(ttl_s, int):
            raise InvalidInputError("ttl_s", ttl_s, "be a whole number of seconds")
        if not 0 < ttl_s <= SIGNED_CUSTOMER_S_MAX:
            raise InvalidInputError("ttl_s", ttl_s, f"be from 1 to {SIGNED_CUSTOMER_S_MAX}")
        expires_s = self._clock.time_ns() // NS_PER_S + ttl_s
        claim = f"{_base64(customer_id.encode())}.{expires_s}"
        return f"{claim}.{_signature(self._keys[0], claim)}"

    def customer_of(self, text: str) -> str:
        """Return the customer that ``text`` was signed for.

        Raises:
            UnauthorizedError: Not signed with one of the secrets, or expired.
        """
        claim, _, signature = text.rpartition(".")
        given = signature.encode("utf-8", "replace")
        # Every secret is tried, so that the time tells nothing about which one fits.
        fits = [
            hmac.compare_digest(_signature(key, claim).encode(), given)
            for key in (self._keys if len(text) <= SIGNED_CUSTOMER_CHARS_MAX else ())
        ]
        if not any(fits):
            raise UnauthorizedError("a signed customer does not carry one of our signatures")
        # From here on the text is our own.
        customer, _, expires_s = claim.partition(".")
        if self._clock.time_ns() >= int(expires_s) * NS_PER_S:
            raise UnauthorizedError("a signed customer has expired")
        return urlsafe_b64decode(customer + "=" * (-len(customer) % 4)).decode()


def _signature(key: bytes, claim: str) -> str:
    return _base64(hmac.digest(key, claim.encode("utf-8", "replace"), hashlib.sha256))


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
