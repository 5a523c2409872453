"""Read the rows of a file: JSON lines, a JSON array, CSV, or a folder of a Hugging Face data set.

Knows files and fields, not problems. Every row knows its place, so that whoever finds it unusable can name it. Text is
UTF-8. A whole file is held in memory.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from os.path import exists, isdir, islink
from pathlib import Path
from typing import Any, Final

from ..errors import MissingExtra, Mistake
from ..types import Json, digest

TEXT_ENDINGS: Final = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
ENDINGS: Final = (*TEXT_ENDINGS, ".parquet")
_EXCERPT = 60
_DEPTH = 2  # folders below a data set's folder that are searched for its files
_MOST_OTHERS = 1_000  # entries of other kinds in them: a folder of so many is hardly a data set
_SPLIT = re.compile(r"(train|test|validation|valid|development|dev|eval)(?![a-z])")

_NONE: Final[frozenset[str]] = frozenset()


class BadRow(Mistake):
    """One row cannot be used; the message says where it stands and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its fields, where it stands (``train.jsonl, line 3``), and the split that its file names, if any.

    ``odd``: the fields in which NaN or an infinity stood, which are null here.
    """

    fields: Mapping[str, Json]
    place: str
    split: str = ""
    odd: frozenset[str] = _NONE

    def value(self, name: str) -> Json:
        """A field, or with dots a part of one; ``BadRow`` lists the fields where there is none of that name.

        >>> row = Row({"answer": {"value": 7}, "a.b": 1}, "x.jsonl, line 1")
        >>> row.value("answer.value"), row.value("a.b")
        (7, 1)
        """
        if name in self.fields:
            return self.fields[name]
        found: Json = self.fields
        for part in name.split("."):
            if isinstance(found, list) and part.isdecimal() and int(part) < len(found):
                found = found[int(part)]
            elif isinstance(found, dict) and part in found:
                found = found[part]
            else:
                raise self.bad(f"has no field {name!r}{no_such(name, self.fields)}")
        return found

    def text(self, name: str) -> str:
        """A field as text: text as it stands, a number as it is written; ``BadRow`` where it is empty or neither."""
        value = self.value(name)
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise self.bad(f"field {name!r}: expected text, but got {json.dumps(value)[:_EXCERPT]}")
        if not str(value).strip():
            raise self.bad(f"field {name!r} is empty")
        return str(value)

    def has(self, name: str) -> bool:
        """Whether ``value`` finds something there other than null."""
        try:
            return self.value(name) is not None
        except BadRow:
            return False

    def bad(self, what: str) -> BadRow:
        """The error that says this of this row."""
        return BadRow(f"{self.place} {what}")


@dataclass(frozen=True, slots=True)
class Rows:
    """What a file holds: its rows in order, the digest of its content, and one message for each line skipped."""

    rows: tuple[Row, ...]
    digest: str
    skipped: tuple[str, ...] = ()


def no_such(name: str, known: Iterable[str]) -> str:
    """What to say after a wrong field name: what was probably meant, and the fields found.

    >>> no_such("awnser", ["question", "answer"])
    " (did you mean 'answer'?); fields found: question, answer"
    """
    near = get_close_matches(name, list(known), n=1, cutoff=0.7)
    meant = f" (did you mean {near[0]!r}?)" if near else ""
    return f"{meant}; fields found: {', '.join(known) or 'none'}"


def read_rows(path: str, malformed: str = "refuse") -> Rows:
    """The rows of a file or folder. ``malformed``: "refuse" raises for the first line that cannot be read, "skip" goes on.

    Raises ``Mistake`` (the file, the line, what is wrong with it), ``MissingExtra`` for folders and Parquet files.
    """
    place = Path(path)
    _expect_there(place)
    _expect_regular(place)
    skipped: list[str] = []

    def told(error: BadRow) -> None:
        if malformed == "refuse":
            raise Mistake(f"{error}; correct the line, or skip such lines with --malformed skip")
        skipped.append(str(error))

    if place.is_dir() or place.suffix == ".parquet":
        rows = _data_set_rows(place, told)
        content = digest([[row.split, row.fields] for row in rows])
    else:
        data = _bytes(place)
        rows = tuple(parse_rows(place.name, data, told))
        content = hashlib.blake2b(data, digest_size=16).hexdigest()
    if not rows:
        raise Mistake(f"{path} holds no row" + (f": {skipped[0]}" if skipped else ""))
    return Rows(rows, content, tuple(skipped))


def _bytes(place: Path) -> bytes:
    _expect_regular(place)
    if place.suffix not in TEXT_ENDINGS:
        raise Mistake(f"{place}: expected a file that ends in {', '.join(ENDINGS)}, or a data set's folder")
    try:
        return place.read_bytes()
    except OSError as error:
        raise Mistake(f"{place} cannot be read: {error.strerror}") from None


def parse_rows(name: str, data: bytes, told: Callable[[BadRow], None]) -> Iterator[Row]:
    """The rows of a file's bytes; ``told`` of each line that is no row.

    >>> [row.fields for row in parse_rows("x.csv", b"a,b\\n1,2\\n", print)]
    [{'a': '1', 'b': '2'}]
    """
    # What is not UTF-8 becomes lone surrogates, and so does not hide the line in which it stands.
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise Mistake(f"{name} is UTF-16: save it as UTF-8")
    text = data.decode("utf-8-sig", errors="surrogateescape")
    if name.endswith((".csv", ".tsv")):
        return _csv_rows(name, text, told)
    if text.lstrip()[:1] == "[":
        try:
            items = _loads(text)
        except ValueError as error:
            if name.endswith(".json"):
                raise Mistake(f"{name} is not JSON: {error}") from None
        else:
            return _json_rows(((f"{name}, item {n}", item) for n, item in enumerate(items, 1)), told)
    lines = ((f"{name}, line {n}", line) for n, line in enumerate(text.split("\n"), 1) if line.strip())
    return _json_rows(lines, told, parse=_loads)


def _loads(text: str) -> Json:
    """JSON of a text. Raises ``ValueError``, whatever is wrong."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _json_rows(
    items: Iterable[tuple[str, Any]], told: Callable[[BadRow], None], parse: Callable[[str], Json] = lambda item: item
) -> Iterator[Row]:
    """Rows of what must be JSON objects."""
    for place, item in items:
        try:
            found = parse(item)
            if not isinstance(found, dict):
                raise ValueError(f"expected an object, but got {type(found).__name__}")
            yield _row(_encodable(found), place)
        except ValueError as error:
            shown = item.strip() if isinstance(item, str) else json.dumps(item)
            why = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
            told(BadRow(f"{place} is no row: {why}: {_excerpt(shown)}"))


def _csv_rows(name: str, text: str, told: Callable[[BadRow], None]) -> Iterator[Row]:
    """Rows of a CSV text with a header."""
    limit = csv.field_size_limit(max(len(text), 1))
    try:
        reader = csv.reader(
            io.StringIO(text, newline=""), delimiter="\t" if name.endswith(".tsv") else ",", strict=True
        )
        header = _header(name, reader)
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                told(BadRow(f"{name}, line {line} is no row: {error}"))
                continue
            if not cells:
                continue
            place = f"{name}, line {line}"
            try:
                if len(cells) != len(header):
                    raise ValueError(f"{len(cells)} cells under {len(header)} names")
                yield Row(_encodable(dict(zip(header, cells, strict=True))), place)
            except ValueError as error:
                told(BadRow(f"{place} is no row: {error}: {_excerpt(','.join(cells))}"))
    finally:
        csv.field_size_limit(limit)


def _header(name: str, reader: Iterator[list[str]]) -> list[str]:
    """The names of the columns."""
    try:
        header = [cell.strip() for cell in next(reader, [])]
    except csv.Error as error:
        raise Mistake(f"{name}, line 1: expected the names of the columns, but it cannot be read: {error}") from None
    header = [cell or f"column {n}" for n, cell in enumerate(header, 1)]
    if len(set(header)) < len(header):
        raise Mistake(
            f"{name}, line 1: expected the names of the columns, all different, but got {', '.join(header)!r}"
        )
    return header


def _encodable(fields: dict[str, Json]) -> dict[str, Json]:
    """The same fields; ``ValueError`` where a text is none that can be written down."""
    try:
        json.dumps(fields, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("its text is not UTF-8") from None
    return fields


def _excerpt(text: str) -> str:
    shown = text[:_EXCERPT].encode("utf-8", errors="backslashreplace").decode()
    return repr(shown) + (f" (and {len(text) - _EXCERPT:,} characters more)" if len(text) > _EXCERPT else "")


def _expect_there(place: Path) -> None:
    if exists(place):
        return
    if islink(place):
        raise Mistake(
            f"expected a file or a data set's folder, but {place} is a link to {os.readlink(place)}, which is not there"
        )
    beside = place.parent if isdir(place.parent) else Path()
    with suppress(OSError):
        if near := get_close_matches(place.name, [p.name for p in beside.iterdir()], n=1):
            raise Mistake(
                f"expected a file or a data set's folder, but there is no {place}; did you mean {beside / near[0]}?"
            )
    raise Mistake(f"expected a file or a data set's folder, but there is no {place}")


def _expect_regular(place: Path) -> None:
    """Refuse what would be waited for without end, such as a pipe or a device."""
    if place.exists() and not place.is_file() and not place.is_dir():
        raise Mistake(f"expected a file or a data set's folder, but {place} is neither: a pipe, a socket or a device")


# --- Hugging Face data sets ----------------------------------------------------------------------------


def _data_set_rows(place: Path, told: Callable[[BadRow], None]) -> tuple[Row, ...]:
    """The rows of a Parquet file, of a folder written by ``save_to_disk``, or of a folder of files, split by split."""
    if any((place / name).is_file() for name in ("dataset_dict.json", "state.json")):
        return tuple(_saved_rows(place))
    files = [place] if place.is_file() else _files_in(place)
    if not files:
        raise Mistake(f"{place}: expected a data set, but the folder holds no file that ends in {', '.join(ENDINGS)}")
    names = [found[1] if (found := _SPLIT.match(file.stem.lower())) else "" for file in files]
    splits = names if all(names) and len(set(names)) > 1 else [""] * len(files)
    return tuple(
        replace(row, split=split) for file, split in zip(files, splits, strict=True) for row in _file_rows(file, told)
    )


def _files_in(folder: Path) -> list[Path]:
    """The files of a data set in a folder and at most two levels below it, sorted; what is hidden is left out."""
    files: list[Path] = []
    folders, n_others = [folder], 0
    for depth in range(_DEPTH + 1):
        below: list[Path] = []
        for path, is_folder in (found for one in folders for found in _entries(one)):
            if is_folder and depth < _DEPTH:
                below.append(path)
            if path.suffix in ENDINGS and not is_folder:
                files.append(path)
            elif (n_others := n_others + 1) > _MOST_OTHERS:
                raise Mistake(
                    f"{folder}: expected a data set's folder, but it holds more than {_MOST_OTHERS:,} entries of other "
                    f"kinds: name the file itself, or the folder that holds the data set alone"
                )
        folders = below
    return sorted(files)


def _entries(folder: Path) -> Iterator[tuple[Path, bool]]:
    """What lies in a folder, and whether it is a folder itself."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    yield Path(entry), entry.is_dir()
    except OSError as error:
        raise Mistake(f"{folder} cannot be read: {error.strerror}") from None


def _data_sets() -> Any:
    try:
        import datasets
    except ImportError:
        raise MissingExtra("datasets", "data") from None
    return datasets


def _saved_rows(place: Path) -> Iterator[Row]:
    datasets = _data_sets()
    try:
        found = datasets.load_from_disk(str(place))
    except Exception as error:
        raise Mistake(f"{place}: expected a data set written by save_to_disk, but it cannot be read: {error}") from None
    for split, rows in found.items() if isinstance(found, dict) else [("", found)]:
        for n, fields in enumerate(rows, 1):
            yield _row(fields, f"{place.name}, {split} row {n}".replace("  ", " "), split)


def _file_rows(file: Path, told: Callable[[BadRow], None]) -> Iterable[Row]:
    if file.suffix != ".parquet":
        return parse_rows(file.name, _bytes(file), told)
    _data_sets()
    import pyarrow.parquet  # comes with datasets

    try:
        found = pyarrow.parquet.read_table(file).to_pylist()
    except Exception as error:
        raise Mistake(f"{file}: expected a Parquet file, but it cannot be read: {error}") from None
    return [_row(fields, f"{file.name}, row {n}") for n, fields in enumerate(found, 1)]


def _row(fields: Mapping[str, Any], place: str, split: str = "") -> Row:
    """The row of what a file holds, as JSON data; the fields that had a number which JSON does not know are noted."""
    odd = frozenset(str(name) for name, value in fields.items() if _is_odd(value))
    return Row(_plain(fields), place, split, odd or _NONE)


def _is_odd(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, Mapping):
        return any(map(_is_odd, value.values()))
    return isinstance(value, list | tuple) and any(map(_is_odd, value))


def _plain(value: Any) -> Any:
    """JSON data of what a data set holds: what JSON does not know as text, what is no number as null."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)
