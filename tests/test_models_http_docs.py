"""Every entry of ``vervet.toml`` that the pages show is one that loads."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from vervet.models.http.config import entry_of

PAGE = Path(__file__).parents[1] / "docs" / "servers.md"
BLOCKS = re.findall(r"^```toml\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("text", BLOCKS, ids=lambda text: next(iter(tomllib.loads(text)["models"])))
def test_an_entry_that_the_page_shows_loads(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "vervet.toml"
    path.write_text(text)
    monkeypatch.setenv("VERVET_CONFIG", str(path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for alias, table in tomllib.loads(text)["models"].items():
        if "key" in table:
            monkeypatch.setenv(table["key"], "s3cret")
        entry = entry_of(alias)
        assert entry.model == table["model"]
        assert "s3cret" not in repr(entry)


def test_the_page_shows_some() -> None:
    assert len(BLOCKS) >= 6
