"""Refusals of the catalog that Dodo Payments has words of its own for."""

from __future__ import annotations

from streamgauge.core.errors import ConflictError, InvalidInputError


class ArchivedError(ConflictError):
    """The product is archived already."""

    code = "PRODUCT_IS_DELETED"


class MissingMeterError(InvalidInputError):
    """A price names a meter that does not exist."""

    code = "MISSING_METER_IDS"


class ArchivedMeterError(InvalidInputError):
    """A price names an archived meter."""

    code = "METER_IS_DELETED"


class QuantityError(InvalidInputError):
    """Products billed by usage are sold once per subscription."""

    code = "INVALID_QUANTITY"


class ArchivedProductError(InvalidInputError):
    """A subscription names an archived product."""

    code = "PRODUCT_IS_DELETED"
