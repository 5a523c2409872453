"""What is queued but not on disk yet, so that a pool sees its own writes at once."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

from vervet.pool.coding import supersedes
from vervet.types import Stored, Stream


class Overlay:
    """Outcomes by address, safe from any thread, under the rule of the file: the first write wins."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._streams: dict[Stream, dict[int, Stored]] = {}

    def at(self, stream: Stream, indices: Sequence[int]) -> dict[int, Stored]:
        """What is queued at these indices."""
        with self._lock:
            mine = self._streams.get(stream)
            return {i: mine[i] for i in indices if i in mine} if mine else {}

    def cover(self, stream: Stream, index: int, new: Stored) -> None:
        """Note what was queued."""
        with self._lock:
            mine = self._streams.setdefault(stream, {})
            old = mine.get(index)
            if old is None or supersedes(old, new):
                mine[index] = new

    def uncover(self, written: Iterable[tuple[Stream, int, Stored]]) -> None:
        """Forget what is on disk now, unless something newer has taken its place."""
        with self._lock:
            for stream, index, stored in written:
                mine = self._streams.get(stream)
                if mine is not None and mine.get(index) is stored:
                    del mine[index]
                    if not mine:
                        del self._streams[stream]

    def clear(self) -> None:
        """Forget everything: nothing more will be written."""
        with self._lock:
            self._streams.clear()
