"""Which event ids are known, for ever.

Ids minted by a spool are ``<writer>-<sequence>`` without gaps, so a writer costs one interval and
not one entry per event. Any other id is kept as a keyed 128-bit digest: among a thousand million of
them two are equal with a chance of 2e-21, also for who may choose ids, since the key is secret.
Scopes do not share ids. One thread uses it; ``keeper`` keeps it on disk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from itertools import accumulate, compress
from typing import Final, NamedTuple

from streamgauge.core.ids import event_id as minted
from streamgauge.core.ids import split_event_id
from streamgauge.server.ingest.decode import Scope
from streamgauge.server.ingest.digests import DigestIndex
from streamgauge.server.ingest.runs import Runs

WriterKey = tuple[Scope, str]
DIGEST_BYTES: Final = 16


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

    def where(self, wanted: Sequence[bool]) -> Keys:
        """Return the keys of a batch without the ids that are not wanted."""
        if not self.runs:
            digests = list(compress(self.digests, wanted))
            return Keys(self.scope, len(digests), [], list(range(len(digests))), digests)
        after = list(accumulate(wanted, initial=0))
        runs: list[Run] = []
        for run in self.runs:
            end = run.place + run.size
            if after[end] - after[run.place] == run.size:
                runs.append(run._replace(place=after[run.place]))
                continue
            runs += [
                Run(after[place], run.writer_id, run.first + place - run.place, 1)
                for place in range(run.place, end)
                if wanted[place]
            ]
        flags = [wanted[place] for place in self.places]
        places = [after[place] for place in compress(self.places, flags)]
        return Keys(self.scope, after[-1], runs, places, list(compress(self.digests, flags)))


class KnownIds:
    """The known event ids of every business and mode.

    Args:
        key: Secret, at most 64 bytes; the same for as long as ``foreign`` lives.
        foreign: The digests of ids that no spool minted.
    """

    def __init__(self, key: bytes, foreign: DigestIndex | None = None) -> None:
        self._key = key
        self._states: dict[Scope, blake2b] = {}
        self._writers: dict[Scope, dict[str, Runs]] = {}
        self._changed: set[WriterKey] = set()
        self._runs = 0
        self.foreign = foreign or DigestIndex()

    def keys(self, scope: Scope, event_ids: Sequence[str]) -> Keys:
        """Return ``event_ids`` in the form in which they are looked up and remembered."""
        if run := _one_run(event_ids):
            return Keys(scope, run.size, [run], [], [])
        runs: list[Run] = []
        places: list[int] = []
        digests: list[bytes] = []
        new_state, remember = self._state(scope).copy, digests.append
        for place, event_id in enumerate(event_ids):
            # Nearly every foreign id is told by one character, at a tenth of the pattern's cost.
            if event_id[32:33] != "-" or (ours := split_event_id(event_id)) is None:
                state = new_state()
                state.update(event_id.encode())
                remember(state.digest())
                places.append(place)
            elif runs and _follows(runs[-1], place, *ours):
                runs[-1] = runs[-1]._replace(size=runs[-1].size + 1)
            else:
                runs.append(Run(place, *ours, 1))
        return Keys(scope, len(event_ids), runs, places, digests)

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
        for place, known in zip(keys.places, self.foreign.known(keys.digests), strict=True):
            flags[place] = known
        return flags

    def add(self, keys: Keys) -> None:
        """Make ids known."""
        for _, writer_id, first, count in keys.runs:
            self.add_run(keys.scope, writer_id, first, first + count - 1)
        self._writers.setdefault(keys.scope, {})
        self.foreign.add(keys.digests)

    def add_missing(self, keys: Keys) -> None:
        """Make ids known of which some may be."""
        missing = [
            digest
            for digest, known in zip(keys.digests, self.foreign.known(keys.digests), strict=True)
            if not known
        ]
        self.add(keys._replace(digests=missing))

    def add_run(self, scope: Scope, writer_id: str, first: int, last: int) -> None:
        """Make the ids ``first`` to ``last`` of a writer known."""
        held = self._writers.setdefault(scope, {}).setdefault(writer_id, Runs())
        self._runs -= len(held)
        held.add(first, last)
        self._runs += len(held)
        self._changed.add((scope, writer_id))

    def restore(self, scopes: Sequence[Scope], writers: Mapping[WriterKey, bytes]) -> None:
        """Take what ``scopes`` and ``changes`` once gave, into a set without those writers."""
        self._writers |= {scope: {} for scope in scopes}
        for (scope, writer_id), packed in writers.items():
            held = Runs.unpacked(packed)
            self._writers.setdefault(scope, {})[writer_id] = held
            self._runs += len(held)

    def changes(self) -> dict[WriterKey, bytes]:
        """Return the intervals of every writer that changed since the last call."""
        changed, self._changed = self._changed, set()
        return {
            (scope, writer_id): self._writers[scope][writer_id].packed()
            for scope, writer_id in changed
        }

    def scopes(self) -> list[Scope]:
        """Return whose ids are known."""
        return list(self._writers)

    def sizes(self) -> tuple[int, int]:
        """Return how many intervals and how many foreign ids are held."""
        return self._runs, len(self.foreign)

    def _state(self, scope: Scope) -> blake2b:
        """Return a digest that has taken the scope, to be copied for each of its ids."""
        if scope not in self._states:
            prefix = f"{scope.business_id}\0{scope.mode}\0".encode()
            self._states[scope] = blake2b(prefix, digest_size=DIGEST_BYTES, key=self._key)
        return self._states[scope]


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
