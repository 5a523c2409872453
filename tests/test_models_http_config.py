"""Names, entries of vervet.toml and keys: every mistake is told with its place, and no key is ever shown."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from vervet.errors import Mistake
from vervet.models import load
from vervet.models.http import Entry, HttpModel, Secret
from vervet.models.http.config import entry_of
from vervet.models.http.memory import remember
from vervet.types import Prices

KEY = "sk-T0pSecret/+=x"

WHOLE = """
[models.qwen]
model = "Qwen/Qwen3-8B"
base_url = "http://localhost:8000/v1"
key = "VLLM_KEY"
api = "chat"
dialect = "english"
revision = "8b-2026-10"
prices = {prompt = 0.15, completion = 0.60, cached_prompt = 0.075}
requests_per_minute = 500
tokens_per_minute = 200_000
concurrency = 256
n = 8
continuation = "final-message"
stops_on_close = true
overrun_tokens = 3
logprobs = 10
max_tokens_field = "max_completion_tokens"
seed = false
reasoning = true
timeout_s = 60
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes a vervet.toml into the working directory."""
    monkeypatch.chdir(tmp_path)
    return lambda text: (tmp_path / "vervet.toml").write_text(text, encoding="utf-8")


def test_every_key_of_an_entry_is_read(config, monkeypatch: pytest.MonkeyPatch) -> None:
    config(WHOLE)
    monkeypatch.setenv("VLLM_KEY", f" {KEY}\n")
    assert entry_of("qwen") == Entry(
        "Qwen/Qwen3-8B", "http://localhost:8000/v1", Secret("VLLM_KEY", KEY), "chat", "english", "8b-2026-10",
        Prices(0.15, 0.60, 0.075), 500, 200_000, 256, 8, "final-message", True, 3, 10, "max_completion_tokens", False,
        True, 60,
    )  # fmt: skip
    model = load("qwen")
    assert isinstance(model, HttpModel)
    assert model is load("qwen")
    assert (model.name, model.dialect, model.url) == (
        "Qwen/Qwen3-8B@8b-2026-10", "english", "http://localhost:8000/v1/chat/completions",
    )  # fmt: skip
    s = model.supports
    assert (s.n, s.logprobs, s.continuation, s.cut, s.stops_on_close, s.seed, s.context) == (
        8, 10, True, True, True, False, None,
    )  # fmt: skip
    assert {"answer", "repair"} <= s.roles
    assert s.prices == Prices(0.15, 0.60, 0.075)
    assert load("qwen", "http://localhost:9/v1").entry.host == "localhost:9"


def test_the_path_of_the_file_can_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "other.toml"
    monkeypatch.setenv("VERVET_CONFIG", str(path))
    with pytest.raises(Mistake, match="VERVET_CONFIG names"):
        entry_of("tiny")
    path.write_text('[models.tiny]\nmodel = "tiny"\nbase_url = "http://[::1]:8000/v1/"\n', encoding="utf-8")
    entry = entry_of("tiny")
    assert (entry.name, entry.url) == ("tiny@[::1]:8000", "http://[::1]:8000/v1/chat/completions")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[models.x", "cannot be read as TOML"),
        ("models = 3", "expected tables"),
        ("[models]\nx = 3", "models.x: expected a table"),
        ("[models.x]\nbase_url = 'http://a'", "models.x: expected the key model"),
        ("[models.x]\nmodel = 'm'\nbase_ulr = 'http://a'", "models.x: expected keys of model.*but got 'base_ulr'"),
        ("[models.x]\nmodel = 3", "models.x.model: expected a string, but got 3"),
        ("[models.x]\nmodel = ''", "models.x.model: expected the name"),
        ("[models.x]\nmodel = 'm'\nbase_url = 'localhost:8000'", "models.x.base_url: expected a URL"),
        ("[models.x]\nmodel = 'm'\nbase_url = 'http://a:b/v1'", "models.x.base_url: expected a URL"),
        ("[models.x]\nmodel = 'm'\nbase_url = 'http://a/v1?k=1'", "models.x.base_url: expected a URL"),
        ("[models.x]\nmodel = 'm'\nbase_url = 'http://a'\nn = true", "models.x.n: expected a whole number, but got True"),
        ("[models.x]\nmodel = 'm'\nbase_url = 'http://a'\nn = 0", "models.x.n: expected 1 or more, but got 0"),
        ("[models.x]\nmodel = 'm'\nbase_url = 'http://a'\ntimeout_s = '9'", "models.x.timeout_s: expected a number"),
        ("[models.x]\nmodel = 'm'\nbase_url = 'http://a'\ntimeout_s = nan", "models.x.timeout_s: expected more than 0"),
        ("[models.x]\nmodel = 'm'\nbase_url = 'http://a'\nseed = 1", "models.x.seed: expected true or false"),
        ("[models.x]\nmodel = 'm'\nbase_url = 'http://a'\napi = 'responses'", "models.x.api: expected one of"),
        ("[models.x]\nmodel = 'm'\nbase_url = 'http://a'\ndialect = 'klingon'", "models.x.dialect: expected a known"),
        ("[models.x]\nmodel = 'm'\nbase_url = 'http://a'\ndialect = '../x'", "models.x.dialect: expected a known"),
        ("[models.x]\nmodel = 'm'\nbase_url = 'http://a'\ncontinuation = 'yes'", "models.x.continuation: expected one"),
        ("[models.x]\nmodel = 'm'\nbase_url = 'http://a'\ncontinuation = 'completions'", 'fits api = "chat"'),
        ("[models.x]\nmodel = 'm'\nbase_url = 'http://a'\nmax_tokens_field = 'n'", "models.x.max_tokens_field: expected"),
        ("[models.x]\nmodel = 'm'\nbase_url = 'http://a'\nprices = {prompt = 1}", "models.x.prices: expected prompt"),
        ("[models.x]\nmodel = 'm'\nbase_url = 'http://a'\nprices = {prompt = -1, completion = 1}", "0 or more, but got -1"),
        ("[models.x]\nmodel = 'm'\nbase_url = 'http://a'\nkey = 'NOT_SET'", "models.x.key: .*NOT_SET, but it is not set"),
        ("[models.x]\nmodel = 'm'", "models.x.key: .*OPENAI_API_KEY, but it is not set"),
        ("[models.y]\nmodel = 'm'", r"an alias of vervet.toml: y\), but got 'x'"),
    ],
)  # fmt: skip
def test_mistakes_name_their_place(config, text: str, says: str) -> None:
    config(text)
    with pytest.raises(Mistake, match=says):
        load("x")


def test_what_was_found_out_counts_where_the_entry_says_nothing(config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    url = "http://127.0.0.1:9/v1"
    config(f"[models.x]\nmodel = 'm'\nbase_url = '{url}'\nn = 5")
    remember(url, "m", "1", {"n": 2, "stops_on_close": True, "logprobs": 3, "continuation": "final-message"})
    for entry, n in ((entry_of("x"), 5), (entry_of("openai/m", url), 2)):
        assert (entry.n, entry.stops_on_close, entry.logprobs, entry.continuation) == (n, True, 3, None)


def test_names(config, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Mistake, match="OPENAI_API_KEY, but it is not set"):
        load("openai/gpt-4o")
    assert load("openai/tiny", "http://127.0.0.1:9/v1").name == "tiny@127.0.0.1:9"
    with pytest.raises(Mistake, match="needs none"):
        load("fake/iid", "http://127.0.0.1:9/v1")
    with pytest.raises(Mistake, match=r"alias of vervet.toml: none"):
        load("gpt-4o")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    model = load("openai/gpt-4o")
    assert (model.name, model.entry.limit_field, model.entry.reasons) == (
        "gpt-4o@api.openai.com", "max_completion_tokens", False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "prompt"),
    [("gpt-4o", 2.5), ("gpt-4o-2024-08-06", 2.5), ("gpt-4o-mini-2024-07-18", 0.15), ("gpt-4.1-nano", 0.1), ("o3", 2.0),
     ("gpt-4o-audio-preview", None), ("gpt-4o-mini-tts", None), ("gpt-5-chat-latest", None), ("o3-pro", None)],
)  # fmt: skip
def test_list_prices(name: str, prompt: float | None) -> None:
    known = Entry(name).known_prices
    assert (known.prompt if known else None) == prompt
    assert Entry(name, "http://localhost:8000/v1").known_prices is None
    assert Entry(name, prices=Prices(9.0, 9.0)).known_prices == Prices(9.0, 9.0)


@pytest.mark.parametrize(
    ("name", "reasons"),
    [("o1", True), ("o3-mini", True), ("o4-mini-2025-04-16", True), ("gpt-5", True), ("gpt-5-mini", True),
     ("gpt-5-chat-latest", False), ("gpt-4o", False), ("gpt-4.1", False), ("o300", False)],
)  # fmt: skip
def test_reasoning_models_are_known_by_name(name: str, reasons: bool) -> None:
    assert Entry(name).reasons is reasons
    assert Entry(name, "http://localhost:8000/v1").reasons is False
    assert Entry(name, reasoning=not reasons).reasons is not reasons


def test_a_key_is_never_shown(config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    config("[models.x]\nmodel = 'm'\nbase_url = 'http://a'\nkey = 'MY_KEY'")
    model = load("x")
    assert isinstance(model, HttpModel)
    for shown in (repr(model), repr(model.entry), str(model.entry.key), repr(vars(model)), model.name):
        assert KEY not in shown
    assert replace(model.entry, n=2).key == model.entry.key
    assert model.entry.key.scrub(f"{KEY} sk-T0pSecret%2F%2B%3Dx") == "*** ***"


@pytest.mark.parametrize("value", ["sk-abc", "sk_live_abc", "abc def"])
def test_a_key_in_the_place_of_its_name_is_not_echoed(config, value: str) -> None:
    config(f"[models.x]\nmodel = 'm'\nbase_url = 'http://a'\nkey = '{value}'")
    with pytest.raises(Mistake, match="the name of an environment variable") as caught:
        load("x")
    assert value not in str(caught.value)


def test_a_key_that_no_header_can_hold(config, monkeypatch: pytest.MonkeyPatch) -> None:
    config("[models.x]\nmodel = 'm'\nbase_url = 'http://a'\nkey = 'MY_KEY'")
    monkeypatch.setenv("MY_KEY", "sk-one\nsk-two")
    with pytest.raises(Mistake, match="key: the value of MY_KEY holds blanks") as caught:
        load("x")
    assert not re.search("sk-", str(caught.value))


def test_a_password_in_the_address_is_refused_and_not_shown() -> None:
    with pytest.raises(Mistake, match="no user or password in it") as caught:
        Entry("m", "http://me:hunter2@host/v1")
    assert "hunter2" not in str(caught.value)
