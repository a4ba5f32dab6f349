"""Dodo's paging and partial changes, as every list and PATCH has them."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET

from streamgauge.core.errors import UnsupportedError
from streamgauge.core.limits import PAGE_NUMBER_MAX, PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX
from streamgauge.server.catalog.texts import Page

_Number = Annotated[int, msgspec.Meta(ge=0, le=PAGE_NUMBER_MAX)]
_Size = Annotated[int, msgspec.Meta(ge=1, le=PAGE_SIZE_MAX)]


class PageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which page: ``page_number`` from 0, ``page_size`` from 1 to 100, 10 by default."""

    page_number: _Number = 0
    page_size: _Size = PAGE_SIZE_DEFAULT

    def page(self) -> Page:
        """Return the page asked for."""
        return Page(number=self.page_number, size=self.page_size)


def given(patch: msgspec.Struct) -> dict[str, object]:
    """Return the fields of a PATCH body that were sent; null is sent, absent is not."""
    return {
        name: value for name, value in msgspec.structs.asdict(patch).items() if value is not UNSET
    }


def refuse(body: msgspec.Struct, *names: str) -> None:
    """Refuse fields of Dodo's that change what is billed and that we do not have.

    Raises:
        UnsupportedError: One of them is neither absent nor empty.
    """
    for name in names:
        if getattr(body, name) not in (None, UNSET, False, 0, [], {}, ""):
            raise UnsupportedError(f"{name} of Dodo's API is not supported here yet")
