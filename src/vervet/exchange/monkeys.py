"""Samples of Large Language Monkeys: one YAML a problem, alone or in a folder.

A file holds ``prompt``, ``samples``, what is right (``gt_answer``, ``test_cases`` or ``theorem_name``) and, once it was evaluated,
``is_correct`` beside the samples.

Reference: Brown et al. 2024, arXiv 2407.21787.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from ..errors import MissingExtra, Mistake
from ..tasks.reading import Row
from .rows import Entry, Fields, entry_of

ENDINGS: Final = (".yaml", ".yml")
_GOLD: Final = ("gt_answer", "test_cases")


def is_monkeys(path: str) -> bool:
    """Whether a path is a YAML file, or a folder of them."""
    return bool(_files(Path(path)))


def read_monkeys(path: str) -> Sequence[Entry]:
    """One entry a file, in the order of their names (numbers in them by their value). Raises ``Mistake``, ``MissingExtra``."""
    files = _files(Path(path))
    if not files:
        raise Mistake(f"expected a YAML file of samples or a folder of them, but {path} holds none")
    return [_entry(file) for file in files]


def _files(place: Path) -> list[Path]:
    if place.is_file():
        return [place] if place.suffix in ENDINGS else []
    found = [file for file in place.iterdir() if file.suffix in ENDINGS] if place.is_dir() else []
    return sorted(
        found, key=lambda file: (not file.stem.isdecimal(), int(file.stem) if file.stem.isdecimal() else 0, file.stem)
    )


def _entry(file: Path) -> Entry:
    found = _load(file)
    if not isinstance(found, dict) or not isinstance(found.get("samples"), list):
        raise Mistake(f"{file.name}: expected an object with the list 'samples', but got {type(found).__name__}")
    row = Row({**found, "problem": file.stem}, file.name)
    gold = next((name for name in _GOLD if row.has(name)), None)
    return entry_of(row, Fields(problem="problem", text="samples", gold=gold))


def _load(file: Path) -> Any:
    try:
        import yaml
    except ImportError:
        raise MissingExtra("pyyaml", "data") from None
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return yaml.load(file.read_text(encoding="utf-8"), Loader=loader)
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{file.name}, line {mark.line + 1}" if mark is not None else file.name
        raise Mistake(f"{place} is not YAML: {getattr(error, 'problem', None) or error}") from None
