"""What a key of the API may do."""

from __future__ import annotations

from typing import Final, Literal

KeyScope = Literal["read", "write", "admin"]
KEY_SCOPES: Final[tuple[KeyScope, ...]] = ("read", "write", "admin")
"""Each includes those before it: see everything of the key's mode; send events and change the
catalog; make and revoke keys."""
