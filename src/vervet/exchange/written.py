"""Rows to a file, whole or not at all: Parquet with a schema, or JSON lines. Knows no pool.

The file grows under a hidden name beside its own (see ``pool.parts``), which alone is left behind by a kill.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final

from ..errors import MissingExtra, Mistake
from ..pool.parts import growing

ENDINGS: Final = (".parquet", ".jsonl")
_AT_ONCE: Final = 1_000  # rows of one group in a Parquet file
Types = Mapping[str, Any]  # by column: "text", "int", "float", "bool"; a list of one of them; an object of further ones


def expect_path(path: str, force: bool) -> None:
    """Raise Mistake where nothing can be written here, MissingExtra where Parquet needs what is not installed."""
    file = Path(path)
    if file.suffix not in ENDINGS:
        raise Mistake(f"expected a file that ends in {' or '.join(ENDINGS)}, but got {path!r}")
    if file.is_dir() or not file.absolute().parent.is_dir():
        raise Mistake(f"expected a file in an existing folder, but got {path!r}; make the folder first")
    if file.exists() and not force:
        raise Mistake(f"there is a file {path!r}: name another one, or write over it with --force")
    if file.suffix == ".parquet":
        _arrow()


def write(path: str, rows: Iterable[dict[str, Any]], types: Types, force: bool = False) -> int:
    """Write the rows as they come; how many there were. Where there were none, there is no file."""
    target = Path(path).absolute()
    with growing(target) as part:
        n = _parquet(part, rows, types) if target.suffix == ".parquet" else _lines(part, rows)
        if n and force:
            os.replace(part, target)
        elif n:
            try:
                os.link(part, target)  # never over a file that came to be meanwhile
            except FileExistsError:
                expect_path(path, force)
        return n


def _lines(path: str, rows: Iterable[dict[str, Any]]) -> int:
    n = 0
    with open(path, "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
            n += 1
    return n


def _parquet(path: str, rows: Iterable[dict[str, Any]], types: Types) -> int:
    arrow, parquet = _arrow()
    schema = arrow.schema([(name, _type(arrow, kind)) for name, kind in types.items()])
    n = 0
    with parquet.ParquetWriter(path, schema) as file:
        coming = iter(rows)
        while some := list(islice(coming, _AT_ONCE)):
            file.write_table(arrow.Table.from_pylist(some, schema))
            n += len(some)
    return n


def _type(arrow: Any, kind: Any) -> Any:
    if isinstance(kind, list):
        return arrow.list_(_type(arrow, kind[0]))
    if isinstance(kind, Mapping):
        return arrow.struct([(name, _type(arrow, inner)) for name, inner in kind.items()])
    return {"text": arrow.string(), "int": arrow.int64(), "float": arrow.float64(), "bool": arrow.bool_()}[kind]


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise MissingExtra("pyarrow", "data") from None
    return pyarrow, parquet
