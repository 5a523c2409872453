"""Who is alive: every open pool that draws holds a lock that the kernel lets go of when its process dies.

A lock is one byte of the side file ``POOL-owners``, at the number of the owner. Open-file-description locks belong to
the open file, not to the process, so that two pools in one process see each other, and closing one loses no lock of
the other. Where the system has none, each owner locks a file of its own.

Limits: the side file must stay beside the pool; a forked child that keeps the file open keeps its parent's lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from pathlib import Path

_FLOCK = "hhqqi0q"  # struct flock of Linux on 64 bits: type, whence, start, len, pid, padded at its end


class ByteOwners:
    """Owners as locked bytes of one side file.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> a, b = owners(folder.name + "/p"), owners(folder.name + "/p")
    >>> a.hold(7)
    >>> b.alive(7), b.alive(8)
    (True, False)
    >>> a.close()
    >>> b.alive(7)
    False
    >>> b.close(); folder.cleanup()
    """

    def __init__(self, path: str) -> None:
        self._path = f"{path}-owners"
        self._file: int | None = None
        self._mine: set[int] = set()

    def hold(self, owner: int) -> None:
        """Be this owner until ``close`` or death."""
        fcntl.fcntl(self._open(), fcntl.F_OFD_SETLK, _lock(fcntl.F_WRLCK, owner))
        self._mine.add(owner)

    def alive(self, owner: int) -> bool:
        """True where some open pool is this owner."""
        if owner in self._mine:
            return True
        answer = fcntl.fcntl(self._open(), fcntl.F_OFD_GETLK, _lock(fcntl.F_WRLCK, owner))
        return bool(struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK)

    def close(self) -> None:
        """Let go."""
        if self._file is not None:
            os.close(self._file)
        self._file = None
        self._mine.clear()

    def _open(self) -> int:
        if self._file is None:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        return self._file


def _lock(kind: int, owner: int) -> bytes:
    return struct.pack(_FLOCK, kind, os.SEEK_SET, owner, 1, 0)


class FileOwners:
    """Owners as locked files ``POOL-owner-NUMBER``, where a system has no locks of open files."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._mine: dict[int, int] = {}

    def hold(self, owner: int) -> None:
        """Be this owner until ``close`` or death."""
        file = os.open(f"{self._path}-owner-{owner}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._mine[owner] = file

    def alive(self, owner: int) -> bool:
        """True where some open pool is this owner."""
        if owner in self._mine:
            return True
        try:
            file = os.open(f"{self._path}-owner-{owner}", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(file)
        return False

    def close(self) -> None:
        """Let go."""
        for owner, file in self._mine.items():
            with contextlib.suppress(OSError):
                Path(f"{self._path}-owner-{owner}").unlink()
            os.close(file)
        self._mine.clear()


def owners(path: str) -> ByteOwners | FileOwners:
    """The way of this system."""
    return ByteOwners(path) if hasattr(fcntl, "F_OFD_SETLK") and struct.calcsize("P") == 8 else FileOwners(path)
