"""``/customers``: who pays."""

from __future__ import annotations

from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType

from streamgauge.server.api.operation import Call, Operation
from streamgauge.server.api.paging import PageQuery, given
from streamgauge.server.catalog.customers import Customer, CustomerFilter, NewCustomer
from streamgauge.server.catalog.texts import Labels
from streamgauge.server.ingest.forgetter import Forgetting


class CustomerQuery(PageQuery, frozen=True, kw_only=True):
    """Which customers; ``email`` and ``name`` match a part, whatever the case."""

    email: str | None = None
    name: str | None = None
    created_at_gte: datetime | None = None
    created_at_lte: datetime | None = None


class CustomerPatch(msgspec.Struct, frozen=True, kw_only=True):
    """What may change; null clears a phone number or a locale, and changes nothing else."""

    email: str | UnsetType | None = UNSET
    name: str | UnsetType | None = UNSET
    phone_number: str | UnsetType | None = UNSET
    metadata: Labels | UnsetType | None = UNSET
    preferred_locale: str | UnsetType | None = UNSET


class CustomerAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A customer as it stands on the wire: Dodo's fields and no others."""

    customer_id: str
    business_id: str
    email: str
    name: str
    created_at: datetime
    phone_number: str | None
    metadata: Labels
    preferred_locale: str | None
    blocked_at: datetime | None = None
    blocklist_entry_id: str | None = None


class CustomerList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of customers."""

    items: list[CustomerAnswer]


async def create(call: Call) -> CustomerAnswer:
    """Make a customer; ``customer_id`` may be chosen, so that it is the one events name."""
    return _answer(await call.run(call.parts.catalog.customers.create, call.caller.mode, call.body))


async def list_customers(call: Call) -> CustomerList:
    """Return a page of customers, oldest first."""
    query: CustomerQuery = call.query
    which = CustomerFilter(
        email=query.email,
        name=query.name,
        created_from=query.created_at_gte,
        created_to=query.created_at_lte,
    )
    read = call.parts.catalog.customers.list
    found = await call.run(read, call.caller.mode, which, query.page())
    return CustomerList(items=[_answer(customer) for customer in found])


async def get(call: Call) -> CustomerAnswer:
    """Return a customer."""
    id = call.path["customer_id"]
    return _answer(await call.run(call.parts.catalog.customers.get, call.caller.mode, id))


async def patch(call: Call) -> CustomerAnswer:
    """Change a customer."""
    changes = given(call.body)
    for field in ("email", "name", "metadata"):
        if changes.get(field, "") is None:
            del changes[field]
    id, update = call.path["customer_id"], call.parts.catalog.customers.update
    return _answer(await call.run(update, call.caller.mode, id, changes))


async def forget(call: Call) -> Forgetting:
    """Remove what is personal of a customer and of its events; quantities and ids stay."""
    return await call.parts.forgetter.forget(call.caller.mode, call.path["customer_id"])


def _answer(customer: Customer) -> CustomerAnswer:
    return msgspec.convert(customer, CustomerAnswer, from_attributes=True)


OPERATIONS = (
    Operation(
        method="POST",
        path="/customers",
        summary="Make a customer",
        tag="customers",
        handler=create,
        body=NewCustomer,
        response=CustomerAnswer,
        needs="write",
    ),
    Operation(
        method="GET",
        path="/customers",
        summary="List customers",
        tag="customers",
        handler=list_customers,
        query=CustomerQuery,
        response=CustomerList,
    ),
    Operation(
        method="GET",
        path="/customers/{customer_id}",
        summary="Get a customer",
        tag="customers",
        handler=get,
        response=CustomerAnswer,
    ),
    Operation(
        method="PATCH",
        path="/customers/{customer_id}",
        summary="Change a customer",
        tag="customers",
        handler=patch,
        body=CustomerPatch,
        response=CustomerAnswer,
        needs="write",
    ),
    Operation(
        method="POST",
        path="/v1/customers/{customer_id}/forget",
        summary="Forget a customer: replace personal data by a tombstone",
        tag="customers",
        handler=forget,
        response=Forgetting,
        needs="admin",
    ),
)
