"""What a caller chooses, checked once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from streamgauge.core.errors import ConfigurationError, InvalidInputError
from streamgauge.core.events import check_mode, check_text_id
from streamgauge.core.limits import BATCH_EVENTS_MAX
from streamgauge.sinks.base import Sink

WINDOWS_OF_S: Final = 900
INTERVAL_S_MAX: Final = 3_600

ApiKey = str | Callable[[], str]
"""A key, or a function that gives the current one."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The choices of an ingestion; ``Ingestion`` says what each means."""

    environment: str
    event_name: str
    spool_dir: Path | None
    coalesce: bool
    window_s: int
    flush_interval_s: float | None
    delivery_interval_s: float
    sync_interval_s: float
    batch_events_max: int


def checked(options: Options) -> Options:
    """Return ``options`` if every one keeps its rule.

    Raises:
        InvalidInputError: One does not.
    """
    environment = check_mode(options.environment)
    event_name = check_text_id(options.event_name, field="event_name")
    window_s, batch_events_max = options.window_s, options.batch_events_max
    if window_s.__class__ is not int or window_s < 1 or WINDOWS_OF_S % window_s:
        raise InvalidInputError("window_s", window_s, f"divide {WINDOWS_OF_S} seconds")
    if batch_events_max.__class__ is not int or not 1 <= batch_events_max <= BATCH_EVENTS_MAX:
        rule = f"be a whole number from 1 to {BATCH_EVENTS_MAX}"
        raise InvalidInputError("batch_events_max", batch_events_max, rule)
    if options.flush_interval_s is not None:
        _check_interval("flush_interval_s", options.flush_interval_s)
    _check_interval("delivery_interval_s", options.delivery_interval_s)
    _check_interval("sync_interval_s", options.sync_interval_s)
    return msgspec.structs.replace(options, environment=environment, event_name=event_name)


def chosen_sink(
    sink: Sink | None,
    *,
    environment: str,
    api_key: ApiKey | None,
    base_url: str | None,
    account: str,
    late: str | None,
) -> Sink:
    """Return the caller's sink, or one that speaks Dodo Payments' API.

    Raises:
        ConfigurationError: A key or an address beside a sink, which has its own; or no key at all.
        InvalidInputError: The key is of the other environment.
    """
    if sink is not None:
        if api_key is not None or base_url is not None or account or late is not None:
            raise ConfigurationError(
                "api_key, base_url, account and late belong to the sink if one is given"
            )
        return sink
    from streamgauge.sinks.dodo import DodoSink  # noqa: PLC0415 - brings HTTP, needed here alone.

    return DodoSink(
        environment=environment, api_key=api_key, base_url=base_url, account=account, late=late
    )


def _check_interval(field: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInputError(field, value, "be a number of seconds")
    if not 0 < value <= INTERVAL_S_MAX:
        raise InvalidInputError(field, value, f"be above 0 and at most {INTERVAL_S_MAX} seconds")
