"""What ``doctor`` found: one finding per thing it looked at."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Verdict(StrEnum):
    """How a thing stands."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at.

    Attributes:
        check: What was looked at.
        verdict: How it stands.
        detail: What was seen, and what to do about it.
    """

    check: str
    verdict: Verdict
    detail: str


def ok(check: str, detail: str) -> Finding:
    """Return that all is well."""
    return Finding(check=check, verdict=Verdict.OK, detail=detail)


def warning(check: str, detail: str) -> Finding:
    """Return that somebody should look at it."""
    return Finding(check=check, verdict=Verdict.WARNING, detail=detail)


def failed(check: str, detail: str) -> Finding:
    """Return that it does not work, or that bytes are in danger."""
    return Finding(check=check, verdict=Verdict.FAILED, detail=detail)
