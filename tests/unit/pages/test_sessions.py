from __future__ import annotations

from streamgauge.core.clock import NS_PER_S
from streamgauge.server.pages.sessions import LINK_LIFE_S, LINKS_MAX, SESSION_LIFE_S, Sessions


class Wait:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now_ns = 0

    def time_ns(self) -> int:
        return self.now_ns

    def monotonic_ns(self) -> int:
        return self.now_ns


def test_a_link_signs_in_once_within_ten_minutes() -> None:
    clock = Wait()
    sessions = Sessions(clock)
    link, late = sessions.new_link_token(), sessions.new_link_token()
    token = sessions.sign_in(link)
    assert token is not None
    assert sessions.find(token) is not None
    assert sessions.sign_in(link) is None
    clock.now_ns = LINK_LIFE_S * NS_PER_S
    assert sessions.sign_in(late) is None


def test_a_session_ends_with_its_life_or_by_signing_out() -> None:
    clock = Wait()
    sessions = Sessions(clock)
    first = sessions.sign_in(sessions.new_link_token())
    second = sessions.sign_in(sessions.new_link_token())
    assert first is not None
    assert second is not None
    sessions.sign_out(first)
    assert sessions.find(first) is None
    assert sessions.find(second) is not None
    clock.now_ns = SESSION_LIFE_S * NS_PER_S
    assert sessions.find(second) is None


def test_every_session_has_its_own_form_token() -> None:
    sessions = Sessions(Wait())
    tokens = [sessions.sign_in(sessions.new_link_token()) for _ in range(2)]
    first, second = (sessions.find(token or "") for token in tokens)
    assert first is not None
    assert second is not None
    assert first.allows(first.csrf)
    assert not first.allows(second.csrf)


def test_unused_links_are_bounded_and_the_oldest_goes_first() -> None:
    sessions = Sessions(Wait())
    links = [sessions.new_link_token() for _ in range(LINKS_MAX + 1)]
    assert sessions.sign_in(links[0]) is None
    assert sessions.sign_in(links[1]) is not None
