"""Files that are whole or not there: each grows under a hidden name beside its own, ``.NAME.HOST-PID.*.part``.

Only a kill leaves such a part behind; whoever next writes a file of that name on that machine removes it.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vervet.errors import Mistake

_SIDES = ("", "-wal", "-shm", "-journal")  # what SQLite puts beside a file
_REST = re.compile(rf"([0-9]+)\.[a-z0-9_]+\.part({'|'.join(_SIDES)})")  # of a part's name, behind the host


@contextmanager
def growing(target: Path) -> Iterator[str]:
    """The path of a new empty file beside ``target``, with the rights of a new file; at the end it is gone, or renamed."""
    _sweep(target)
    handle, part = tempfile.mkstemp(prefix=f"{_beginning(target)}{os.getpid()}.", suffix=".part", dir=target.parent)
    try:
        mask = os.umask(0)
        os.umask(mask)
        os.fchmod(handle, 0o666 & ~mask)
        os.close(handle)
        yield part
    finally:
        for side in _SIDES:
            Path(part + side).unlink(missing_ok=True)


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Where to write what then stands at ``path``, in the place of a file that is there; nothing changes after an error.

    Raises ``Mistake`` with the path where it cannot be written.

    >>> folder = tempfile.TemporaryDirectory()
    >>> with replacing(folder.name + "/x") as part:
    ...     n = part.write_text("new")
    >>> Path(folder.name, "x").read_text(), len(os.listdir(folder.name))
    ('new', 1)
    >>> folder.cleanup()
    """
    target = Path(os.path.realpath(path))
    try:
        with growing(target) as part:
            yield Path(part)
            if target.exists():
                os.chmod(part, stat.S_IMODE(target.stat().st_mode))
            os.replace(part, target)
    except OSError as error:
        raise Mistake(f"cannot write {os.fspath(path)!r}: {error.strerror or error}") from None


def _beginning(target: Path) -> str:
    return f".{target.name}.{os.uname().nodename}-"


def _sweep(target: Path) -> None:
    """Remove the parts of this file whose processes have ended."""
    beginning = _beginning(target)
    for file in target.parent.iterdir():
        found = _REST.fullmatch(file.name.removeprefix(beginning)) if file.name.startswith(beginning) else None
        if found and not _alive(int(found[1])):
            with suppress(OSError):
                file.unlink()


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True
