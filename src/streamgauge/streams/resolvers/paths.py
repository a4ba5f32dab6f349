"""Who pays, by the path: platforms where each customer's content has a place of its own."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from streamgauge.core.errors import InvalidInputError
from streamgauge.streams.view import RequestView

_PLACEHOLDER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(:path)?\}")
_CUSTOMER: Final = "customer_id"


def from_path(*patterns: str) -> Callable[[RequestView], str | None]:
    """Return a resolver that finds the customer in the path.

    A path says whose content is asked for, not who asks: it suits platforms whose publishers pay.

    Args:
        patterns: Such as ``/live/{customer_id}/{rest:path}``; ``{name}`` is one segment or a part
            of one, ``{name:path}`` any number of them. The first that fits the whole path counts.

    Raises:
        InvalidInputError: A pattern has no ``{customer_id}``, or cannot be matched in linear time.
    """
    if not patterns:
        raise InvalidInputError("patterns", patterns, "have at least one pattern")
    compiled = [_compiled(pattern) for pattern in patterns]

    def resolve(request: RequestView) -> str | None:
        path = request.path
        for pattern in compiled:
            found = pattern.fullmatch(path)
            if found is not None:
                return found[_CUSTOMER]
        return None

    return resolve


def _compiled(pattern: str) -> re.Pattern[str]:
    placeholders = list(_PLACEHOLDER.finditer(pattern))
    literal = _PLACEHOLDER.sub("", pattern)
    names = [each[1] for each in placeholders]
    if not pattern.startswith("/") or "{" in literal or "}" in literal:
        raise InvalidInputError("pattern", pattern, "be a path with placeholders such as {name}")
    if names.count(_CUSTOMER) != 1 or len(set(names)) < len(names):
        raise InvalidInputError("pattern", pattern, "have {customer_id}, and each name once")
    # More would let a hostile path be split in many ways, one after the other.
    if any(len(_PLACEHOLDER.findall(segment)) > 1 for segment in pattern.split("/")):
        raise InvalidInputError("pattern", pattern, "have at most one placeholder in a segment")
    if sum(each[2] is not None for each in placeholders) > 1:
        raise InvalidInputError("pattern", pattern, "have at most one {name:path}")
    parts, end = [], 0
    for each in placeholders:
        parts.append(re.escape(pattern[end : each.start()]))
        parts.append(f"(?P<{each[1]}>{'.*' if each[2] else '[^/]+'})")
        end = each.end()
    parts.append(re.escape(pattern[end:]))
    return re.compile("".join(parts), re.DOTALL)
