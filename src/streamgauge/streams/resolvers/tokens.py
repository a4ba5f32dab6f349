"""Who pays, by a claim of a JSON Web Token; the one door to PyJWT, imported when one is made."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from types import ModuleType
from typing import Any, Final

from streamgauge.core.errors import (
    ConfigurationError,
    InvalidInputError,
    MissingExtraError,
    UnauthorizedError,
)
from streamgauge.streams.attribution import Customer
from streamgauge.streams.resolvers.base import only, texts
from streamgauge.streams.view import RequestView

# RFC 7518, 3.2: a key is at least as long as the hash, in bytes.
_SECRET_BYTES_MIN: Final = {"HS256": 32, "HS384": 48, "HS512": 64}
_BEARER: Final = "bearer "


def from_jwt(  # noqa: PLR0913 - what RFC 8725 asks to be checked, each with a default
    *,
    key: object,
    algorithms: Sequence[str],
    claim: str = "sub",
    audience: str | Sequence[str] | None = None,
    issuer: str | Sequence[str] | None = None,
    leeway_s: int = 0,
    requires_expiry: bool = True,
    header: str | None = "authorization",
    cookie: str | None = None,
    query: str | None = None,
) -> Customer:
    """Return a resolver that reads a claim of a verified token; without a token it is nobody.

    Needs PyJWT: ``pip install 'streamgauge[jwt]'``.

    Args:
        key: The secret or the public key, as PyJWT takes it; or a function that gets the token and
            returns the key, such as ``PyJWKClient(url).get_signing_key_from_jwt``. A function is
            called in a thread where the server is asynchronous.
        algorithms: Which signatures are believed, such as ``["RS256"]``. The token has no say.
        claim: Whose value is the customer.
        audience: Whom the token is for; a token that names an audience is refused without it.
        issuer: Who must have made it.
        leeway_s: How far clocks may differ.
        requires_expiry: Whether a token without ``exp`` is refused.
        header: Where a ``Bearer`` token is looked for; None: in no header.
        cookie: A cookie that holds the token, if the header does not.
        query: A query field that does; addresses end up in logs, so prefer short-lived tokens.

    Raises:
        MissingExtraError: PyJWT, or for public keys cryptography, is not installed.
        ConfigurationError: Algorithms that can be confused with one another, ``none``, or a key
            that does not fit them.
    """
    allowed = _checked(algorithms, key)
    if header is None and cookie is None and query is None:
        raise ConfigurationError("from_jwt needs a header=, cookie= or query= that has the token")
    options = {
        "algorithms": list(allowed),
        "audience": audience,
        "issuer": issuer,
        "leeway": leeway_s,
        "options": {"require": [claim, "exp"] if requires_expiry else [claim]},
    }
    verify = _Verifier(key, claim, options)

    def resolve(request: RequestView) -> str | Awaitable[str | None] | None:
        token = _token(request, header, cookie, query)
        if token is None:
            return None
        if callable(key) and request.interface != "wsgi":
            # Looking for a key may take a request; other streams of this loop must not wait.
            return asyncio.to_thread(verify, token)
        return verify(token)

    return resolve


class _Verifier:
    def __init__(self, key: object, claim: str, options: Mapping[str, object]) -> None:
        self._key = key
        self._claim = claim
        self._options = options

    def __call__(self, token: str) -> str:
        jwt = _pyjwt()
        try:
            key = self._key(token) if callable(self._key) else self._key
            customer_id = jwt.decode(token, key, **self._options)[self._claim]
        except jwt.PyJWTError as error:
            raise UnauthorizedError(f"a JWT is refused: {error}") from error
        if not isinstance(customer_id, str):
            raise InvalidInputError(self._claim, customer_id, "be a text")
        return customer_id


def _token(
    request: RequestView, header: str | None, cookie: str | None, query: str | None
) -> str | None:
    if header is not None:
        value = only(request.headers.get_all(header), f"header {header}")
        # Other schemes, such as Basic, are somebody else's.
        if value is not None and value[: len(_BEARER)].lower() == _BEARER:
            return value[len(_BEARER) :].strip()
    if cookie is not None:
        token = only(request.cookies.get_all(cookie), f"cookie {cookie}")
        if token is not None:
            return token
    return None if query is None else only(request.query.get_all(query), f"query field {query}")


def _checked(algorithms: Sequence[str], key: object) -> tuple[str, ...]:
    jwt = _pyjwt()
    allowed = texts("algorithms", algorithms)
    secret = [name for name in allowed if name.startswith("HS")]
    if not allowed or "none" in {name.lower() for name in allowed}:
        raise ConfigurationError('algorithms must name signatures, such as ["RS256"]; not none')
    if secret and len(secret) < len(allowed):
        raise ConfigurationError(
            "algorithms must not mix secrets (HS...) with public keys: with a public key as "
            "secret, anybody could sign"
        )
    for name in allowed:
        try:
            algorithm = jwt.get_algorithm_by_name(name)
        except NotImplementedError:
            if name in jwt.algorithms.requires_cryptography and not jwt.algorithms.has_crypto:
                raise MissingExtraError("jwt", "cryptography") from None
            raise InvalidInputError("algorithms", name, "be known to PyJWT") from None
        if not callable(key) and not isinstance(key, jwt.PyJWK):
            _check_key(algorithm, name, key)
    return allowed


def _check_key(algorithm: Any, name: str, key: object) -> None:  # noqa: ANN401 - PyJWT's
    jwt = _pyjwt()
    try:
        algorithm.prepare_key(key)
    except (jwt.InvalidKeyError, TypeError, ValueError) as error:
        # PyJWT's message does not show the key; its traceback would.
        raise ConfigurationError(f"key does not fit {name}: {error}") from None
    size_min = _SECRET_BYTES_MIN.get(name, 0)
    if size_min and len(key if isinstance(key, bytes) else str(key).encode()) < size_min:
        raise ConfigurationError(f"key must have at least {size_min} bytes for {name}")


def _pyjwt() -> ModuleType:
    try:
        import jwt  # noqa: PLC0415 - an extra
    except ImportError:
        raise MissingExtraError("jwt", "pyjwt") from None
    return jwt
