"""Rules of the texts, instants and pages that the catalog keeps and gives."""

from __future__ import annotations

from typing import Final

import msgspec

from streamgauge.core.errors import InvalidInputError
from streamgauge.core.limits import (
    DESCRIPTION_CHARS_MAX,
    METADATA_KEY_CHARS_MAX,
    METADATA_PAIRS_MAX,
    METADATA_VALUE_CHARS_MAX,
    NAME_CHARS_MAX,
    PAGE_SIZE_DEFAULT,
)

Labels = dict[str, str | int | float | bool]
"""Metadata of a catalog object: labels that nothing is computed from, in Dodo's types."""


class TooManyPairsError(InvalidInputError):
    """Metadata has more pairs than allowed."""

    code = "MAXIMUM_KEYS_REACHED"


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of a list: ``size`` items after ``number * size`` others."""

    number: int = 0
    size: int = PAGE_SIZE_DEFAULT

    @property
    def offset(self) -> int:
        """Return how many items come before."""
        return self.number * self.size


EVERYTHING: Final = Page(size=-1)
"""Without a bound; for callers that walk the whole catalog."""


def check_name(text: str, *, field: str) -> str:
    """Return ``text`` if it may be a name or a label.

    Raises:
        InvalidInputError: Not 1 to 255 printable characters, or blank.
    """
    if not 1 <= len(text) <= NAME_CHARS_MAX:
        raise InvalidInputError(field, text, f"be a text of 1 to {NAME_CHARS_MAX} characters")
    if not text.isprintable() or text.isspace():
        raise InvalidInputError(field, text, "be printable and not blank")
    return text


def check_description(text: str | None, *, field: str = "description") -> str | None:
    """Return ``text`` if it may be a description.

    Raises:
        InvalidInputError: It is over 1,000 characters, or holds a NUL.
    """
    if text is not None and len(text) > DESCRIPTION_CHARS_MAX:
        raise InvalidInputError(field, text, f"have at most {DESCRIPTION_CHARS_MAX} characters")
    if text is not None and "\x00" in text:
        raise InvalidInputError(field, text, "hold no NUL")
    return text


def check_labels(labels: Labels, *, field: str = "metadata") -> Labels:
    """Return ``labels`` if a catalog object may carry them.

    Raises:
        InvalidInputError: Too many pairs, or a key or a value is too long.
    """
    if len(labels) > METADATA_PAIRS_MAX:
        raise TooManyPairsError(field, len(labels), f"have at most {METADATA_PAIRS_MAX} pairs")
    for key, value in labels.items():
        if not 1 <= len(key) <= METADATA_KEY_CHARS_MAX:
            raise InvalidInputError(
                f"{field} key", key, f"be a text of 1 to {METADATA_KEY_CHARS_MAX} characters"
            )
        if len(str(value)) > METADATA_VALUE_CHARS_MAX:
            raise InvalidInputError(
                f"{field}.{key}", value, f"have at most {METADATA_VALUE_CHARS_MAX} characters"
            )
    return labels
