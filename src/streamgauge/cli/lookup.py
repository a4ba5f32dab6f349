"""Things named on a command line by id or by name."""

from __future__ import annotations

from streamgauge.cli.client import Client, Tree
from streamgauge.core.errors import InvalidInputError, NotFoundError

_METER_PREFIX = "mtr_"


def find_meter(client: Client, name: str) -> Tree:
    """Return the meter with this id or name; a name finds archived ones only by their id.

    Raises:
        NotFoundError: There is none.
        InvalidInputError: Several meters have this name.
    """
    found = [each for each in client.items("meters") if name in {each["id"], each["name"]}]
    if len(found) > 1:
        ids = " and ".join(each["id"] for each in found)
        raise InvalidInputError("METER", name, f"be an id, since {ids} share this name")
    if found:
        return found[0]
    if name.startswith(_METER_PREFIX):
        meter: Tree = client.get("meters", name)
        return meter
    raise NotFoundError("meter", name)
