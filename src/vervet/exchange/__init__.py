"""Import and export: files of other programs come in, and what a pool holds goes out.

Knows formats and places in files; what the samples are worth is said by the run that replays them.
"""

from __future__ import annotations

from .counts import is_counts, parse_stopped, read_counts
from .imports import FORMATS, Imported, OfModel, import_file
from .rows import Fields

__all__ = ["FORMATS", "Fields", "Imported", "OfModel", "import_file", "is_counts", "parse_stopped", "read_counts"]
