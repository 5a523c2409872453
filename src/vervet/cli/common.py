"""What several verbs share: files that are read and written, JSON on request, and a table of columns."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..errors import Mistake
from ..exchange.counts import is_counts
from ..pool.copying import expect_file
from ..tasks.reading import ENDINGS

_ENDINGS = {"html": (".html", ".htm"), "csv": (".csv",), "parquet": (".parquet",), "png": (".png",)}


def existing(path: str) -> str:
    """The path of a file that is there and looks like a pool; reading never makes one. Raises ``Mistake``."""
    try:
        expect_file(path)
    except Mistake as error:
        raise Mistake(f"{error}{_meant(path)}") from None
    return path


def _meant(path: str) -> str:
    """What a file that is no pool is for, as far as its name tells."""
    if Path(path).suffix not in ENDINGS or not Path(path).is_file() or not Path(path).stat().st_size:
        return ""
    if is_counts(path):
        return f"; it is a table of success counts: vervet scale {path}"
    return f"; vervet import brings samples into a pool: vervet import {path}"


def outputs(inputs: Iterable[str], **paths: str | None) -> None:
    """Refuse, before anything is reckoned, files that cannot be written and files whose loss nobody meant.

    ``inputs``: what the command reads. ``paths``: by option. Raises ``Mistake`` for an input, a pool and the file of another
    option, for a wrong ending, and where no file can be made.
    """
    given = {option: path for option, path in paths.items() if path}
    for option, path in given.items():
        if _is_pool(path):
            raise Mistake(f"--{option}: {path!r} is a pool, which is never written over; name another file")
        if any(_same(path, other) for other in inputs):
            raise Mistake(f"--{option}: {path!r} is what this command reads; name another file")
        if twin := next((name for name, other in given.items() if name != option and _same(path, other)), None):
            raise Mistake(f"--{option} and --{twin} name one file, {path!r}; name two")
        endings = _ENDINGS.get(option, ())
        if endings and Path(path).suffix.lower() not in endings:
            raise Mistake(f"--{option}: expected a file that ends in {' or '.join(endings)}, but got {path!r}")
        _expect_writable(option, path)


def _expect_writable(option: str, path: str) -> None:
    file = Path(os.path.realpath(path))
    if not file.parent.is_dir():
        raise Mistake(f"--{option}: expected a file in an existing folder, but got {path!r}; make the folder first")
    if file.exists() and not file.is_file():
        raise Mistake(f"--{option}: expected a file, but {path!r} is {'a folder' if file.is_dir() else 'none'}")
    if file.exists() and not os.access(file, os.W_OK):
        raise Mistake(f"--{option}: cannot write {path!r}: nobody may write over it")
    try:
        with tempfile.TemporaryFile(dir=file.parent):
            pass
    except OSError as error:
        raise Mistake(f"--{option}: cannot write {path!r}: {error.strerror}") from None


def _is_pool(path: str) -> bool:
    try:
        expect_file(path)
    except Mistake:
        return False
    return True


def _same(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:  # one of them is not there
        return os.path.realpath(one) == os.path.realpath(other)


def print_json(data: Any) -> None:
    """One object on standard output; what is not a number is null, as JSON has no word for it."""

    def plain(value: Any) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            return None
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items()}
        return [plain(v) for v in value] if isinstance(value, list | tuple) else value

    json.dump(plain(data), sys.stdout, ensure_ascii=False)
    sys.stdout.write("\n")


def print_columns(rows: Sequence[Sequence[Any]]) -> None:
    """Left-aligned columns, two blanks between them; the last one is free."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in texts) for i in range(len(texts[0]) - 1)] if texts else []
    for row in texts:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip())


def unsafe(args: argparse.Namespace) -> None:
    """Let code run without isolation where ``--unsafe-sandbox`` says so."""
    if args.unsafe_sandbox:
        from .. import sandbox

        sandbox.allow_unsafe()
        if not sandbox.expect():
            print("vervet: this machine has no sandbox: code runs as you, within limits alone", file=sys.stderr)
