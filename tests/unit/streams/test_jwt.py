from __future__ import annotations

import sys
import threading
import time
from typing import Any

import jwt
import pytest

from streamgauge import InvalidInputError, StreamgaugeError
from streamgauge.core.errors import MissingExtraError, UnauthorizedError
from streamgauge.customers import from_jwt
from tests.unit.streams.asking import PRIVATE_KEY, PUBLIC_KEY, SECRET, environ, named, view


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def claims(**changes: Any) -> dict[str, Any]:
    return {"sub": "ann", "exp": int(time.time()) + 60, **changes}


def test_a_claim_of_a_verified_token_names_the_customer() -> None:
    resolver = from_jwt(key=PUBLIC_KEY, algorithms=["RS256"], cookie="token", query="token")
    token = jwt.encode(claims(), PRIVATE_KEY, "RS256")
    assert named(resolver, view(headers=bearer(token))) == "ann"
    assert named(resolver, view(headers={"cookie": f"token={token}"})) == "ann"
    assert named(resolver, view(f"/?token={token}")) == "ann"
    assert named(resolver, environ(HTTP_AUTHORIZATION=f"bearer {token}")) == "ann"
    assert named(resolver, view(headers={"authorization": "Basic YTpi"})) is None
    assert named(resolver, view()) is None
    other = from_jwt(key=SECRET, algorithms=["HS256"], claim="https://example.com/customer")
    token = jwt.encode(claims(**{"https://example.com/customer": "bob"}), SECRET, "HS256")
    assert named(other, view(headers=bearer(token))) == "bob"


def test_a_token_that_does_not_hold_is_refused() -> None:
    options: dict[str, Any] = {"audience": "video", "issuer": "https://id.example"}
    resolver = from_jwt(key=PUBLIC_KEY, algorithms=["RS256"], **options)
    good = claims(aud="video", iss="https://id.example")
    assert named(resolver, view(headers=bearer(jwt.encode(good, PRIVATE_KEY, "RS256")))) == "ann"
    # Signed with the public key as if it were a secret, by hand: PyJWT refuses to do it.
    head, body, _ = jwt.encode(good, SECRET, "HS256").split(".")
    secret = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    signature = jwt.utils.base64url_encode(secret.sign(f"{head}.{body}".encode(), PUBLIC_KEY))
    bad = [
        f"{head}.{body}.{signature.decode()}",
        jwt.encode(good, None, "none"),
        jwt.encode(good, SECRET, "HS256"),
        jwt.encode(good, PRIVATE_KEY, "RS512"),
        jwt.encode({**good, "exp": int(time.time()) - 5}, PRIVATE_KEY, "RS256"),
        jwt.encode({key: good[key] for key in good if key != "exp"}, PRIVATE_KEY, "RS256"),
        jwt.encode({key: good[key] for key in good if key != "sub"}, PRIVATE_KEY, "RS256"),
        jwt.encode({**good, "aud": "audio"}, PRIVATE_KEY, "RS256"),
        jwt.encode({**good, "iss": "https://other.example"}, PRIVATE_KEY, "RS256"),
        jwt.encode({**good, "nbf": int(time.time()) + 60}, PRIVATE_KEY, "RS256"),
        "no.token",
        "",
    ]
    for token in bad:
        with pytest.raises(UnauthorizedError, match="a JWT is refused") as caught:
            named(resolver, view(headers=bearer(token)))
        assert not token or token not in str(caught.value)
    without_audience = from_jwt(key=PUBLIC_KEY, algorithms=["RS256"])
    with pytest.raises(UnauthorizedError):
        named(without_audience, view(headers=bearer(jwt.encode(good, PRIVATE_KEY, "RS256"))))
    number = from_jwt(key=SECRET, algorithms=["HS256"], claim="customer")
    token = jwt.encode(claims(customer=7), SECRET, "HS256")
    with pytest.raises(InvalidInputError, match="customer is 7"):
        named(number, view(headers=bearer(token)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"algorithms": []}, "must name signatures"),
        ({"algorithms": ["none"]}, "not none"),
        ({"algorithms": ["RS256", "None"]}, "not none"),
        ({"algorithms": "RS256"}, "be a list of texts"),
        ({"algorithms": ["RS256", "HS256"]}, "must not mix"),
        ({"algorithms": ["XS256"]}, "known to PyJWT"),
        ({"algorithms": ["HS256"]}, "key does not fit HS256"),
        ({"algorithms": ["HS256"], "key": "a short secret"}, "at least 32 bytes"),
        ({"algorithms": ["HS512"], "key": SECRET}, "at least 64 bytes"),
        ({"algorithms": ["RS256"], "key": SECRET}, "key does not fit RS256"),
        ({"algorithms": ["ES256"]}, "key does not fit ES256"),
        ({"algorithms": ["RS256"], "header": None}, "header=, cookie= or query="),
    ],
)
def test_algorithms_and_keys_that_can_be_confused_are_refused_at_once(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(StreamgaugeError, match=message) as caught:
        from_jwt(**{"key": PUBLIC_KEY, **options})
    assert SECRET not in str(caught.value)
    assert "a short secret" not in str(caught.value)


def test_a_key_that_must_be_looked_up_keeps_no_event_loop_waiting() -> None:
    threads = []

    def key_of(token: str) -> bytes:
        assert jwt.get_unverified_header(token)["kid"] == "k1"
        threads.append(threading.current_thread())
        return PUBLIC_KEY

    resolver = from_jwt(key=key_of, algorithms=["RS256"])
    token = jwt.encode(claims(), PRIVATE_KEY, "RS256", headers={"kid": "k1"})
    assert named(resolver, view(headers=bearer(token))) == "ann"
    assert resolver(environ(HTTP_AUTHORIZATION=f"Bearer {token}")) == "ann"
    assert [thread is threading.current_thread() for thread in threads] == [False, True]


def test_a_missing_extra_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jwt", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'streamgauge\[jwt\]'"):
        from_jwt(key=SECRET, algorithms=["HS256"])
