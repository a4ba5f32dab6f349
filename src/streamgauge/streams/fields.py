"""Header fields, query fields and cookies of a request, by name, read once and never changed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final
from urllib.parse import parse_qsl

from streamgauge.core.limits import QUERY_FIELDS_MAX

_ESCAPED: Final = re.compile(r"\\(?:([0-3][0-7]{2})|(.))")


class Fields(Mapping[str, str]):
    """Texts by name, of which a request may carry several under one name.

    Args:
        pairs: Names and values in the order of the request.
    """

    __slots__ = ("_values",)

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(self._key(name), []).append(value)

    def __getitem__(self, name: str) -> str:
        return self._values[self._key(name)][-1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        # Values may be secrets, and views end up in logs.
        return f"{type(self).__name__}({', '.join(self._values)})"

    def get_all(self, name: str) -> tuple[str, ...]:
        """Return every value of ``name``, in the order of the request."""
        return tuple(self._values.get(self._key(name), ()))

    @staticmethod
    def _key(name: str) -> str:
        return name


class HeaderFields(Fields):
    """Header fields: names in any case, values that repeat joined by commas (RFC 9110, 5.3)."""

    __slots__ = ()

    def __getitem__(self, name: str) -> str:
        return ", ".join(self._values[self._key(name)])

    @staticmethod
    def _key(name: str) -> str:
        return name.lower()


def query_fields(text: str) -> Fields:
    """Return the fields of a query string; the last of a name is the one that is looked up.

    Raises:
        ValueError: There are more than ``QUERY_FIELDS_MAX``.
    """
    return Fields(parse_qsl(text, keep_blank_values=True, max_num_fields=QUERY_FIELDS_MAX))


def cookie_fields(headers: Iterable[str]) -> Fields:
    """Return the cookies of ``Cookie`` headers; as frameworks do, nothing is refused."""
    chunks = (chunk for header in headers for chunk in header.split(";"))
    found = (chunk.partition("=") for chunk in chunks if "=" in chunk)
    return Fields((name.strip(), _unquoted(value.strip())) for name, _, value in found)


def _unquoted(value: str) -> str:
    if len(value) < len('""') or not value[0] == value[-1] == '"':
        return value
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)) if found[1] else found[2], value[1:-1])
