"""What resolvers share: one text of a field, and several resolvers in a row."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Sequence

from streamgauge.core.errors import ConfigurationError, InvalidInputError, UnauthorizedError
from streamgauge.streams.attribution import Customer
from streamgauge.streams.view import RequestView

Named = str | None


def first_of(*customers: Customer) -> Customer:
    """Return a resolver that asks several in turn, until one names a customer.

    One that fails is passed over; if none names a customer, the first failure is raised.

    Args:
        customers: Resolvers, synchronous or not.

    Raises:
        ConfigurationError: There are none.
    """
    if not customers:
        raise ConfigurationError("first_of needs at least one resolver")

    def resolve(request: RequestView) -> Named | Awaitable[Named]:
        failures: list[Exception] = []
        for number, customer in enumerate(customers, 1):
            try:
                named = customer(request)
            except Exception as error:  # noqa: BLE001 - the next may know; raised if none does
                failures.append(error)
                continue
            if inspect.isawaitable(named):
                return _rest(named, customers[number:], request, failures)
            if named is not None:
                return named
        if failures:
            raise failures[0]
        return None

    return resolve


async def _rest(
    answer: Awaitable[Named],
    customers: Sequence[Customer],
    request: RequestView,
    failures: list[Exception],
) -> Named:
    try:
        if (named := await answer) is not None:
            return named
    except Exception as error:  # noqa: BLE001 - as above
        failures.append(error)
    try:
        following = first_of(*customers)(request) if customers else None
        if inspect.isawaitable(following):
            following = await following
        if following is not None:
            return following
    except Exception as error:  # noqa: BLE001 - as above
        failures.append(error)
    if failures:
        raise failures[0]
    return None


def only(values: Sequence[str], what: str) -> str | None:
    """Return the one value of a field, or None if it has none.

    Raises:
        UnauthorizedError: It has several: a viewer may have added one to that of the proxy.
    """
    if len(values) > 1:
        raise UnauthorizedError(f"{what} occurs {len(values)} times; once would be believed")
    return values[0] if values else None


def texts(option: str, given: object) -> tuple[str, ...]:
    """Return a list of texts as it was given.

    Raises:
        InvalidInputError: It is no list of texts, such as a single text.
    """
    if isinstance(given, Sequence) and not isinstance(given, str | bytes):
        found = tuple(each for each in given if isinstance(each, str) and each)
        if len(found) == len(given):
            return found
    raise InvalidInputError(option, given, "be a list of texts")
