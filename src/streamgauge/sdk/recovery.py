"""What a process that is gone had counted and not yet made an event: billed here, once.

Of every slot of every page that is left, ``count - max(base, highest end in the journal)`` bytes
are in no event. They become events of the spool's own sequence, under the window and group that
the page names; then the bases are advanced and the pages removed. A crash at any step leaves a
state from which the same steps bill the rest.
"""

from __future__ import annotations

import contextlib

from streamgauge.core.errors import CorruptError
from streamgauge.sdk.groups import Group, decode_group
from streamgauge.sdk.page import (
    HEAD_BYTES,
    PREFIX,
    SLOT_BYTES,
    SUFFIX,
    SlotImage,
    TallyPage,
    is_unborn,
)
from streamgauge.sdk.records import Draft, Source, Stretch, drafts
from streamgauge.sdk.spool import Billed, Spool

_Window = tuple[bytes, int]
_Unbilled = dict[_Window, tuple[Group, list[Stretch]]]


def page_names(spool: Spool) -> list[str]:
    """Return the names of the tally pages in a spool's directory."""
    names = spool.directory.names()
    return [name for name in names if name.startswith(PREFIX) and name.endswith(SUFFIX)]


def recover_tally(spool: Spool) -> list[str]:
    """Make events of what is in pages alone, and remove the pages.

    Returns:
        What is damaged, in words; damaged pages stay where they are.

    Raises:
        OSError: The disk refuses; calling again bills the rest. If only new events found no room,
            those that are there are released, and ``spool`` may be delivered and trimmed meanwhile.
    """
    pages, damages = _open_pages(spool)
    try:
        unbilled, damaged = _collect(pages, spool.billed)
        try:
            for group, stretches in unbilled.values():
                _append(spool, [*drafts(group, stretches)])
        finally:
            # Also before a failure is told: what is delivered makes the room that was missing.
            _release(spool, pages)
        _remove(spool, [page for page in pages if page.name not in damaged])
    finally:
        for page in pages:
            page.close()
    return damages + list(damaged.values())


def _append(spool: Spool, events: list[Draft]) -> None:
    # The pages bound these, and a spool that is full could else never be emptied.
    spool.reserve.spend_on(lambda: spool.append_all(events, bounded=False))
    for event in events:
        for source in event.sources:
            spool.billed[source.page_id, source.slot] = source.end


def _release(spool: Spool, pages: list[TallyPage]) -> None:
    until = spool.sync()
    for page in pages:
        _advance(page, spool.billed)
    spool.release(until)


def _collect(pages: list[TallyPage], billed: Billed) -> tuple[_Unbilled, dict[str, str]]:
    """Return what is in no event by window, and the damage by page name."""
    unbilled: _Unbilled = {}
    damaged: dict[str, str] = {}
    for page in pages:
        for slot in page.slots():
            if isinstance(slot, CorruptError):
                damaged[page.name] = str(slot)
            elif source := _unbilled(page, slot, billed):
                # Descriptors are under the seal of their slots, so whole ones are groups.
                layered = decode_group(slot.descriptor)
                group = layered.of_layer("")
                window = (group.descriptor(), slot.window_start_ns)
                stretch = Stretch(slot.timestamp_ns, source, layered.layer)
                unbilled.setdefault(window, (group, []))[1].append(stretch)
    return unbilled, damaged


def _remove(spool: Spool, pages: list[TallyPage]) -> None:
    for page in pages:
        spool.directory.remove(page.name)
    for name in page_names(spool):
        if _is_unborn(spool, name):
            spool.directory.remove(name)
    spool.directory.sync()


def _open_pages(spool: Spool) -> tuple[list[TallyPage], list[str]]:
    pages: list[TallyPage] = []
    damages: list[str] = []
    for name in page_names(spool):
        try:
            if not _is_unborn(spool, name):
                pages.append(TallyPage(spool.directory.map(name), name))
        except (CorruptError, OSError, ValueError) as error:
            damages.append(f"{name}: {error}")
    return pages, damages


def _is_unborn(spool: Spool, name: str) -> bool:
    try:
        file = spool.directory.open(name)
    except OSError:
        return False
    with contextlib.closing(file):
        return is_unborn(file.read_at(0, HEAD_BYTES + SLOT_BYTES))


def _unbilled(page: TallyPage, slot: SlotImage, billed: Billed) -> Source | None:
    start = max(slot.base, billed.get((page.page_id, slot.index), 0))
    if slot.count <= start:
        return None
    return Source(page.page_id, slot.index, start, slot.count)


def _advance(page: TallyPage, billed: Billed) -> None:
    for slot in page.slots():
        if isinstance(slot, SlotImage):
            end = min(slot.count, billed.get((page.page_id, slot.index), 0))
            if end > slot.base:
                page.advance(slot.index, end)
    page.sync()
