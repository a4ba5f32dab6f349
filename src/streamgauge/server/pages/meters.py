"""Meters in the browser: made and listed."""

from __future__ import annotations

from functools import partial

import msgspec
from starlette.responses import Response

from streamgauge.core.errors import InvalidInputError
from streamgauge.core.metadata import canonical, canonical_raw
from streamgauge.server.catalog.meters import NewMeter
from streamgauge.server.metering.filters import Conjunction, FilterNode, Operator, describe
from streamgauge.server.metering.meter import Aggregation, AggregationType
from streamgauge.server.pages.web import Visit, redirect

_FIELDS = [
    "name",
    "event_name",
    "aggregation",
    "key",
    "measurement_unit",
    "filter_key",
    "filter_operator",
    "filter_value",
]


class MeterRow(msgspec.Struct, frozen=True, kw_only=True):
    """A meter as the page shows it."""

    id: str
    name: str
    event_name: str
    aggregation: str
    measurement_unit: str
    filter: str


async def show(visit: Visit) -> Response:
    """List the meters of the session's mode."""
    return await _page(visit)


async def create(visit: Visit) -> Response:
    """Make a meter; a refused one is shown again with the reason."""
    try:
        new = _new_meter(visit.form)
        make = visit.parts.catalog.meters.create
        meter = await visit.parts.run(make, visit.session.mode, new)
    except InvalidInputError as error:
        return await _page(visit, error=str(error), status=400)
    await visit.parts.add_meter(meter)
    return redirect("/app/meters")


def _new_meter(form: dict[str, str]) -> NewMeter:
    kind = form.get("aggregation", "sum")
    if kind not in set(AggregationType):
        raise InvalidInputError("aggregation", kind, f"be one of {', '.join(AggregationType)}")
    key = form.get("key") or None
    return NewMeter(
        name=form.get("name", ""),
        event_name=form.get("event_name", ""),
        measurement_unit=form.get("measurement_unit", ""),
        aggregation=Aggregation(type=AggregationType(kind), key=key),
        filter=_filter(form),
    )


def _filter(form: dict[str, str]) -> FilterNode | None:
    key = form.get("filter_key", "")
    if not key:
        return None
    operator = form.get("filter_operator", "equals")
    if operator not in set(Operator):
        raise InvalidInputError("filter operator", operator, f"be one of {', '.join(Operator)}")
    text = _typed(form.get("filter_value", ""))
    condition = FilterNode(key=key, operator=Operator(operator), value=msgspec.Raw(text.encode()))
    return FilterNode(conjunction=Conjunction.AND, clauses=(condition,))


def _typed(value: str) -> str:
    """Return what was typed as canonical text: a number or boolean where it reads as one."""
    try:
        return canonical_raw(value.strip(), field="filter value")
    except InvalidInputError:
        return canonical(value, field="filter value")


async def _page(visit: Visit, *, error: str | None = None, status: int = 200) -> Response:
    listing = partial(visit.parts.catalog.meters.list, visit.session.mode, archived=False)
    rows = [
        MeterRow(
            id=meter.id,
            name=meter.name,
            event_name=meter.event_name,
            aggregation=" of ".join(
                filter(None, (meter.aggregation.type.value, meter.aggregation.key))
            ),
            measurement_unit=meter.measurement_unit,
            filter="" if meter.filter is None else describe(meter.filter),
        )
        for meter in reversed(await visit.parts.run(listing))
    ]
    form = {field: visit.form.get(field, "") for field in _FIELDS}
    operators = [operator.value for operator in Operator]
    return visit.page(
        "meters.html",
        status=status,
        meters=rows,
        form=form,
        aggregations=[kind.value for kind in AggregationType],
        operators=operators,
        error=error,
    )
