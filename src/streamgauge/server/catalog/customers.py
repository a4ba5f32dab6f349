"""Customers, in Dodo Payments' shape; their ids may be given by the caller."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import ColumnElement, Connection, RowMapping, select

from streamgauge.core.clock import Clock, utc
from streamgauge.core.errors import ConflictError, InvalidInputError
from streamgauge.core.events import check_text_id
from streamgauge.core.ids import Entropy, new_id
from streamgauge.core.limits import NAME_CHARS_MAX
from streamgauge.server.catalog.database import Database
from streamgauge.server.catalog.forgotten import EMAIL, check_remembered
from streamgauge.server.catalog.rows import Rows, plain
from streamgauge.server.catalog.schema import customers
from streamgauge.server.catalog.texts import EVERYTHING, Labels, Page, check_labels, check_name

_LABELS: Final = msgspec.json.Decoder(Labels)


class Customer(msgspec.Struct, frozen=True, kw_only=True):
    """Who pays.

    Attributes:
        customer_id: What usage events name; ``cus_...`` unless the caller chose it.
        business_id: Whose customer.
        mode: ``test_mode`` or ``live_mode``.
        email: Where people write to.
        name: For people.
        created_at: Aware.
        phone_number: For people.
        metadata: Labels.
        preferred_locale: Such as ``en``.
    """

    customer_id: str
    business_id: str
    mode: str
    email: str
    name: str
    created_at: datetime
    phone_number: str | None = None
    metadata: Labels = {}
    preferred_locale: str | None = None


class NewCustomer(msgspec.Struct, frozen=True, kw_only=True):
    """What a customer is made from; without ``customer_id`` one is minted."""

    email: str
    name: str
    customer_id: str | None = None
    phone_number: str | None = None
    metadata: Labels = {}
    preferred_locale: str | None = None


class CustomerFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which customers to list; texts match a part, whatever the case."""

    email: str | None = None
    name: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None


class Customers:
    """The customers of a business."""

    def __init__(
        self, database: Database, business_id: str, *, clock: Clock, entropy: Entropy
    ) -> None:
        self._rows = Rows(database, business_id, customers, key="customer_id", kind="customer")
        self._clock = clock
        self._entropy = entropy

    def create(self, mode: str, new: NewCustomer) -> Customer:
        """Make a customer.

        Raises:
            InvalidInputError: A value breaks a rule.
            ConflictError: The chosen id is taken.
        """
        with self._rows.database.write() as connection:
            return self.create_within(connection, mode, new)

    def create_within(self, connection: Connection, mode: str, new: NewCustomer) -> Customer:
        """Make a customer in the caller's transaction; raises as ``create`` does."""
        _check(new.email, new.name, new.phone_number, new.preferred_locale)
        check_labels(new.metadata)
        if new.customer_id is None:
            id = new_id("cus", time_ns=self._clock.time_ns, entropy=self._entropy)
        else:
            id = check_text_id(new.customer_id, field="customer_id")
            if self._rows.find(connection, mode, id) is not None:
                raise ConflictError(f"a customer with the id {id!r} exists")
            check_remembered(connection, self._rows.business_id, mode, id)
        row = {
            "mode": mode,
            "customer_id": id,
            "email": new.email,
            "name": new.name,
            "phone_number": new.phone_number,
            "metadata": msgspec.json.encode(new.metadata).decode(),
            "preferred_locale": new.preferred_locale,
            "created_at": utc(self._clock.time_ns()),
        }
        self._rows.insert(connection, row)
        return _customer(self._rows.demand(connection, mode, id))

    def get(self, mode: str, id: str) -> Customer:
        """Return a customer.

        Raises:
            NotFoundError: No customer has this id.
        """
        return _customer(self._rows.get(mode, id))

    def find(self, mode: str, id: str) -> Customer | None:
        """Return a customer, or None for one that only events know."""
        with self._rows.database.read() as connection:
            row = self._rows.find(connection, mode, id)
        return None if row is None else _customer(row)

    def take_within(self, connection: Connection, mode: str, wanted: NewCustomer) -> Customer:
        """Return the newest customer with this address, or make one; raises as ``create`` does."""
        query = (
            select(customers)
            .where(
                customers.c.business_id == self._rows.business_id,
                customers.c.mode == mode,
                customers.c.email == wanted.email,
                # All who were forgotten have this one.
                customers.c.email != EMAIL,
            )
            .order_by(customers.c.created_at.desc(), customers.c.customer_id.desc())
            .limit(1)
        )
        row = connection.execute(query).mappings().one_or_none()
        return self.create_within(connection, mode, wanted) if row is None else _customer(row)

    def demand_within(self, connection: Connection, mode: str, id: str) -> Customer:
        """Return a customer in the caller's transaction; raises as ``get`` does."""
        return _customer(self._rows.demand(connection, mode, id))

    def list(
        self, mode: str, which: CustomerFilter | None = None, page: Page = EVERYTHING
    ) -> list[Customer]:
        """Return customers, oldest first."""
        rows = self._rows.list(mode, _conditions(which or CustomerFilter()), page)
        return [_customer(row) for row in rows]

    def update(self, mode: str, id: str, changes: dict[str, object]) -> Customer:
        """Change what is named in ``changes``: email, name, phone_number, metadata or locale.

        Raises:
            InvalidInputError: A value breaks a rule.
            NotFoundError: No customer has this id.
            ConflictError: The customer was forgotten.
        """
        with self._rows.database.write() as connection:
            now = _customer(self._rows.demand(connection, mode, id))
            check_remembered(connection, self._rows.business_id, mode, id)
            wanted = msgspec.structs.replace(now, **changes)
            _check(wanted.email, wanted.name, wanted.phone_number, wanted.preferred_locale)
            check_labels(wanted.metadata)
            values = dict(changes)
            if "metadata" in values:
                values["metadata"] = msgspec.json.encode(wanted.metadata).decode()
            return _customer(self._rows.update(connection, mode, id, values))


def _check(email: str, name: str, phone: str | None, locale: str | None) -> None:
    check_name(email, field="email")
    local, at, host = email.rpartition("@")
    if not (local and at and host) or any(letter.isspace() for letter in email):
        raise InvalidInputError("email", email, "be an address such as ann@example.com")
    check_name(name, field="name")
    for field, text in (("phone_number", phone), ("preferred_locale", locale)):
        if text is not None and not (len(text) <= NAME_CHARS_MAX and text.isprintable()):
            raise InvalidInputError(field, text, f"have at most {NAME_CHARS_MAX} characters")


def _conditions(which: CustomerFilter) -> list[ColumnElement[bool]]:
    table, found = customers.c, list[ColumnElement[bool]]()
    for column, text in ((table.email, which.email), (table.name, which.name)):
        if text is not None:
            found.append(column.icontains(text, autoescape=True))
    if which.created_from is not None:
        found.append(table.created_at >= which.created_from)
    if which.created_to is not None:
        found.append(table.created_at <= which.created_to)
    return found


def _customer(row: RowMapping) -> Customer:
    return msgspec.convert(plain(row, metadata=_LABELS.decode(row["metadata"])), Customer)
