"""``vervet check-server``: what it finds out about servers whose ways are known, and what it remembers."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vervet.cli import main
from vervet.errors import ModelError
from vervet.models import load
from vervet.models.http import Entry
from vervet.models.http.memory import remember, remembered
from vervet.models.http.probe import Findings, probe
from vervet.testing import Script, ScriptedServer


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def found(script: Script, **options) -> tuple[Findings, ScriptedServer]:
    async def go() -> tuple[Findings, ScriptedServer]:
        async with ScriptedServer("length", script) as server:
            return await probe(Entry(server.model, server.url, **options)), server

    return asyncio.run(go())


def row(findings: Findings, name: str) -> dict:
    return dict(next(r.facts for r in findings.rows if r.name == name))


def test_a_server_that_does_what_it_should() -> None:
    findings, server = found(Script())
    assert row(findings, "n") == {"asked": 3, "came": 3}
    assert row(findings, "logprobs")["most"] == 20
    assert row(findings, "seed") == {"same_seed_same_text": True, "other_seed_other_text": True}
    assert findings.settings["n"] == 16
    assert server.log.n_requests <= 20
    assert server.log.tokens < 2000


def test_a_server_that_ignores_and_drops() -> None:
    findings, _ = found(Script(ignore_n=1.0, drop_logprobs=1.0, equal_answers=1.0))
    assert row(findings, "n") == {"asked": 3, "came": 1}
    assert row(findings, "logprobs") == {"most": None}
    assert row(findings, "seed")["other_seed_other_text"] is False
    assert findings.settings["n"] == 1
    assert "logprobs" not in findings.settings


def test_a_server_that_refuses_or_is_not_there() -> None:
    with pytest.raises(ModelError, match="401"):
        found(Script(unauthorized=1.0))
    with pytest.raises(ModelError, match="does not answer"):
        asyncio.run(probe(Entry("tiny", "http://127.0.0.1:9/v1")))


def test_what_was_found_is_remembered_and_the_file_wins(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "http://127.0.0.1:9/v1"
    remember(url, "tiny", "tiny/1", {"n": 1, "stops_on_close": True, "overrun_tokens": 9, "continuation": "echo"})
    assert remembered(url, "tiny") == {"n": 1, "stops_on_close": True, "overrun_tokens": 9}
    assert remembered(url, "other") == {}
    model = load("openai/tiny", url)
    assert (model.supports.n, model.supports.cut, model.supports.continuation) == (1, True, False)
    config = cache / "vervet.toml"
    config.write_text(f'[models.mine]\nmodel = "tiny"\nbase_url = "{url}"\nn = 4\n')
    monkeypatch.setenv("VERVET_CONFIG", str(config))
    model = load("mine")
    assert (model.supports.n, model.supports.cut) == (4, True)
    (cache / "vervet" / "servers.json").write_text("{ half")
    assert remembered(url, "tiny") == {}


@contextmanager
def serving() -> Iterator[str]:
    """A scripted server in a thread of its own, for the command line's loop."""
    box: dict[str, str] = {}
    ready, over = threading.Event(), threading.Event()

    async def go() -> None:
        async with ScriptedServer("length") as server:
            box["url"] = server.url
            ready.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=lambda: asyncio.run(go()))
    thread.start()
    assert ready.wait(10)
    try:
        yield box["url"]
    finally:
        over.set()
        thread.join(10)


def test_the_command_prints_a_table_and_an_entry(capsys: pytest.CaptureFixture[str]) -> None:
    with serving() as url:
        assert main(["check-server", url]) == 0
        shown = capsys.readouterr().out
        assert main(["check-server", url, "--json"]) == 0
        data = json.loads(capsys.readouterr().out)
    assert "honoured" in shown
    assert f'base_url = "{url}"' in shown
    assert {r["name"] for r in data["rows"]} == {
        "n", "logprobs", "seed", "stop", "continuation", "prefix caching", "stops on close", "context",
    }  # fmt: skip
    assert remembered(url, data["model"])["n"] == 16


@pytest.mark.local
def test_real_servers(vervet_server: str, llama_server: str) -> None:
    ours, theirs = [asyncio.run(probe(Entry("embedded", url))) for url in (vervet_server, llama_server)]
    for findings in (ours, theirs):
        assert row(findings, "n")["came"] == 3
        assert row(findings, "logprobs")["shape"] == "chat"
        assert row(findings, "continuation")["goes_on"]
        assert row(findings, "stops on close")["stops"]
        assert findings.settings["stops_on_close"] is True
        assert row(findings, "context")["tokens"] == 1024
    assert row(ours, "stop")["says_which"]
    assert not row(theirs, "stop")["says_which"]
    assert (ours.settings["continuation"], theirs.settings["continuation"]) == ("final-message", "echo")
    assert row(theirs, "stops on close")["overrun_tokens"] <= 5
