"""Which event ids are known, for ever.

Ids minted by a spool are ``<writer>-<sequence>`` without gaps, so a writer costs one interval and
not one entry per event. Any other id is kept as a keyed 128-bit digest: a collision is out of reach
also for who may choose ids. Scopes do not share ids. One thread uses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

from streamgauge.core.ids import event_id as minted
from streamgauge.core.ids import split_event_id
from streamgauge.server.ingest.decode import Scope
from streamgauge.server.ingest.runs import Runs

_DIGEST_BYTES: Final = 16


class Run(NamedTuple):
    """Neighbours in a batch with consecutive sequences of one writer.

    Attributes:
        place: Where the first of them is in the batch.
        first: Its sequence.
        size: How many there are.
    """

    place: int
    writer_id: str
    first: int
    size: int


class Keys(NamedTuple):
    """The ids of a batch, each split or digested once.

    Attributes:
        size: How many ids there are.
        runs: Those minted by spools.
        places: Where the others are in the batch.
        digests: Those others.
    """

    scope: Scope
    size: int
    runs: list[Run]
    places: list[int]
    digests: list[bytes]


class KnownIds:
    """The known event ids of every business and mode.

    Args:
        key: Secret, at most 64 bytes.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._digests: dict[Scope, blake2b] = {}
        self._writers: dict[Scope, dict[str, Runs]] = {}
        self._foreign: set[bytes] = set()
        self._runs = 0

    def keys(self, scope: Scope, event_ids: Sequence[str]) -> Keys:
        """Return ``event_ids`` in the form in which they are looked up and remembered."""
        if run := _one_run(event_ids):
            return Keys(scope, run.size, [run], [], [])
        keys = Keys(scope, len(event_ids), [], [], [])
        runs, state = keys.runs, self._state(scope)
        for place, event_id in enumerate(event_ids):
            ours = split_event_id(event_id)
            if ours is None:
                digest = state.copy()
                digest.update(event_id.encode())
                keys.places.append(place)
                keys.digests.append(digest.digest())
            elif runs and _follows(runs[-1], place, *ours):
                runs[-1] = runs[-1]._replace(size=runs[-1].size + 1)
            else:
                runs.append(Run(place, *ours, 1))
        return keys

    def known(self, keys: Keys) -> list[bool]:
        """Return, per id of the batch, whether it is known."""
        flags = [False] * keys.size
        writers = self._writers.get(keys.scope, {})
        for place, writer_id, first, count in keys.runs:
            held = writers.get(writer_id)
            if held is None or not held.meets(first, first + count - 1):
                continue
            flags[place : place + count] = [
                number in held for number in range(first, first + count)
            ]
        for place, digest in zip(keys.places, keys.digests, strict=True):
            flags[place] = digest in self._foreign
        return flags

    def add(self, keys: Keys) -> None:
        """Make ids known."""
        for _, writer_id, first, count in keys.runs:
            self.add_run(keys.scope, writer_id, first, first + count - 1)
        self._writers.setdefault(keys.scope, {})
        self._foreign.update(keys.digests)

    def add_run(self, scope: Scope, writer_id: str, first: int, last: int) -> None:
        """Make the ids ``first`` to ``last`` of a writer known."""
        held = self._writers.setdefault(scope, {}).setdefault(writer_id, Runs())
        self._runs -= len(held)
        held.add(first, last)
        self._runs += len(held)

    def scopes(self) -> list[Scope]:
        """Return whose ids are known."""
        return list(self._writers)

    def sizes(self) -> tuple[int, int]:
        """Return how many intervals and how many foreign ids are held."""
        return self._runs, len(self._foreign)

    def _state(self, scope: Scope) -> blake2b:
        """Return a digest that has taken the scope, to be copied for each of its ids."""
        if scope not in self._digests:
            prefix = f"{scope.business_id}\0{scope.mode}\0".encode()
            self._digests[scope] = blake2b(prefix, digest_size=_DIGEST_BYTES, key=self._key)
        return self._digests[scope]


def _one_run(event_ids: Sequence[str]) -> Run | None:
    """Return the run that a whole batch is, as spools send them, or None."""
    ours = split_event_id(event_ids[0]) if event_ids else None
    if ours is None:
        return None
    writer_id, first = ours
    last = first + len(event_ids) - 1
    if split_event_id(event_ids[-1]) != (writer_id, last):
        return None
    expected = [minted(writer_id, number) for number in range(first, last + 1)]
    return Run(0, writer_id, first, len(event_ids)) if event_ids == expected else None


def _follows(run: Run, place: int, writer_id: str, sequence: int) -> bool:
    return (place, writer_id, sequence) == (
        run.place + run.size,
        run.writer_id,
        run.first + run.size,
    )
