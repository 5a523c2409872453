"""What a server really does, found out by asking it: a dozen small requests, a few hundred tokens.

Documentation says what a server should do; ``n`` that is ignored in silence, stops that are not told apart and
generation that goes on behind a closed connection are seen only by trying. What is found is remembered per server and
model (see ``memory``), so that later runs ask for what is there; ``vervet.toml`` wins over it.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from ...errors import ModelError
from ...types import Json
from . import failures
from .config import Entry
from .events import DONE, Events
from .sessions import Sessions

_ASK = "Count from one to fifty in words, each on a line of its own."
_COUNTERS = re.compile(
    r"^(?:vllm:generation_tokens_total|sglang:generation_tokens_total|llamacpp:tokens_predicted_total"
    r"|tgi_request_generated_tokens_sum|vervet:generation_tokens_total)(?:\{[^}]*\})?\s+([0-9.eE+-]+)",
    re.MULTILINE,
)
_SHORT, _LONG, _TRIES = 16, 400, 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried: ``value`` in a few words, ``facts`` for programs."""

    name: str
    value: str
    facts: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found out about one model on one server; ``settings`` are the keys of ``vervet.toml`` that follow."""

    server: str
    model: str
    revision: str
    rows: tuple[Finding, ...]
    settings: Mapping[str, Json]

    @property
    def data(self) -> dict[str, Json]:
        """As one JSON object."""
        return asdict(self)


async def probe(entry: Entry) -> Findings:
    """Ask the server. ``entry.model`` "" takes the first that it lists. Cost: about 14 requests, under 1,000 tokens.

    Raises ``ModelError`` where the server does not answer or refuses the plainest request.
    """
    sessions = Sessions(entry)
    try:
        return await _Probe(entry, sessions).all()
    finally:
        await sessions.close()


class _Probe:
    """One server on the couch."""

    def __init__(self, entry: Entry, sessions: Sessions) -> None:
        self.entry, self.sessions = entry, sessions
        parts = urlsplit(entry.base_url)
        self.root = f"{parts.scheme}://{parts.netloc}"
        self.settings: dict[str, Json] = {}

    async def all(self) -> Findings:
        listed = await self._listed()
        if not self.entry.model or self.entry.model == "?":
            names = [str(m.get("id")) for m in listed]
            if not names:
                raise ModelError(f"{self.entry.host} lists no model: name one with --model")
            self.entry = replace(self.entry, model=names[0])
        plain = await self._need(self._body(temperature=0))
        self.greedy = _text(plain)
        revision = "/".join(str(plain[k]) for k in ("model", "system_fingerprint") if plain.get(k))
        context = await self._context(listed)
        rows = [
            await self._n(), await self._logprobs(), await self._seed(), await self._stop(), await self._continuation(),
            await self._caching(context.facts["tokens"] or 4096), await self._closing(), context,
        ]  # fmt: skip
        return Findings(self.entry.host, self.entry.model, revision or "not told", tuple(rows), self.settings)

    # --- what is tried ---------------------------------------------------------------------------------

    async def _n(self) -> Finding:
        status, data = await self._post(self._body(n=3))
        n = len(_choices(data)) if status == 200 else 0
        counted = (data.get("usage") or {}).get("completion_tokens") if n == 3 else None
        one_alone = isinstance(counted, int) and counted <= _SHORT and _n_words(data) > counted
        self.settings["n"] = 16 if n == 3 and not one_alone else 1
        if one_alone:
            return Finding(
                "n", "honoured, but its usage counts one sample alone", {"asked": 3, "came": 3, "counted": 1}
            )
        said = {0: f"refused (status {status})", 3: "honoured"}.get(n, f"ignored: {n} of 3 came")
        return Finding("n", said, {"asked": 3, "came": n})

    async def _logprobs(self) -> Finding:
        best, found, data = 0, dict[str, Any](), dict[str, Any]()
        for k in (20, 5, 1):
            extra: dict[str, Json] = (
                {"logprobs": True, "top_logprobs": k} if self.entry.api == "chat" else {"logprobs": k}
            )
            status, data = await self._post(self._body(**extra))
            found = (_choices(data)[0].get("logprobs") or {}) if status == 200 and _choices(data) else {}
            if isinstance(found, dict) and (found.get("content") or found.get("tokens")):
                best = k
                break
        if not best:
            return Finding("logprobs", "none", {"most": None})
        shape = "chat" if found.get("content") else "completions"
        rows = found.get("content") or found["tokens"]
        first = rows[0] if shape == "chat" else {}
        told = [name for name in ("id", "bytes", "top_logprobs") if first.get(name) is not None]
        n_tokens = (data.get("usage") or {}).get("completion_tokens")
        end = "told" if n_tokens == len(rows) and _choices(data)[0].get("finish_reason") == "stop" else "not seen"
        self.settings["logprobs"] = best
        value = f"{shape}-shaped, top {best}" + (f", with {', '.join(told)}" if told else "")
        return Finding("logprobs", value, {"shape": shape, "most": best, "told": told, "end_token": end})

    async def _seed(self) -> Finding:
        texts = [_text((await self._post(self._body(seed=seed, temperature=1)))[1]) for seed in (11, 11, 12)]
        same, other = texts[0] == texts[1], texts[0] != texts[2]
        value = "honoured" if same and other else "ignored" if not same else "all samples are equal, whatever the seed"
        return Finding("seed", value, {"same_seed_same_text": same, "other_seed_other_text": other})

    async def _stop(self) -> Finding:
        middle = self.greedy[len(self.greedy) // 3 :].strip()
        stop = middle[:3]
        if not stop.strip():
            return Finding("stop", "not tried: the reply is too short")
        status, data = await self._post(self._body(temperature=0, stop=[stop]))
        if status != 200 or not _choices(data):
            return Finding("stop", f"refused (status {status})")
        choice = _choices(data)[0]
        honoured = stop not in _text(data) and choice.get("finish_reason") == "stop"
        told = any(choice.get(name) == stop for name in ("stop_reason", "matched_stop"))
        value = ("honoured" if honoured else "ignored") + (", says which" if told else ", does not say which")
        return Finding("stop", value, {"honoured": honoured, "says_which": told})

    async def _continuation(self) -> Finding:
        half = await self._first_half()
        if not half.strip() or half == self.greedy:
            return Finding("continuation", "not tried: the reply is too short")
        if self.entry.api == "completions":
            status, data = await self._post({**self._body(temperature=0), "prompt": f"{_ASK}\n{half}"})
        else:
            body = self._body(temperature=0, continue_final_message=True, add_generation_prompt=False)
            body["messages"] = [*body["messages"], {"role": "assistant", "content": half}]
            status, data = await self._post(body)
        came = _text(data) if status == 200 else ""
        echoes = came.startswith(half)
        came = came.removeprefix(half)
        n = min(len(came), len(self.greedy) - len(half), 6)
        goes_on = n > 0 and (half + came)[: len(half) + n] == self.greedy[: len(half) + n]
        if goes_on:
            kind = "completions" if self.entry.api == "completions" else "echo" if echoes else "final-message"
            self.settings["continuation"] = kind
        on = "goes on, and repeats what it goes on from" if echoes else "goes on"
        value = on if goes_on else f"refused (status {status})" if status != 200 else "begins anew, or otherwise"
        return Finding("continuation", value, {"goes_on": goes_on, "echoes": echoes})

    async def _first_half(self) -> str:
        """The first half of the greedy text, up to the end of a token: the middle of one would be another text."""
        extra: dict[str, Json] = {"logprobs": True} if self.entry.api == "chat" else {"logprobs": 1}
        status, data = await self._post(self._body(temperature=0, **extra))
        found = (_choices(data)[0].get("logprobs") or {}) if status == 200 and _choices(data) else {}
        content = found.get("content")
        tokens = [str(row.get("token")) for row in content] if content else found.get("tokens") or []
        half = "".join(map(str, tokens[: len(tokens) // 2]))
        if half.strip() and self.greedy.startswith(half):
            return half
        return self.greedy[: max(0, self.greedy.find(" ", len(self.greedy) // 2))]

    async def _caching(self, context: int) -> Finding:
        rng = random.Random(os.urandom(8))
        for n_words in (min(1500, context // 5), context // 12):
            text = " ".join(f"{rng.randrange(1000)}" for _ in range(n_words)) + "\n" + _ASK
            seconds, replies = [], []
            for _ in range(2):
                began = asyncio.get_running_loop().time()
                replies.append(await self._post(self._body(text, max_tokens=1)))
                seconds.append(asyncio.get_running_loop().time() - began)
            if all(status == 200 for status, _ in replies):
                break
        else:
            return Finding("prefix caching", "not tried: a long prompt was refused")
        data = replies[1][1]
        usage = data.get("usage") or {}
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or usage.get("cache_read_input_tokens")
        cached = cached or (data.get("timings") or {}).get("cache_n")
        prompt = usage.get("prompt_tokens")
        facts = {"cached_tokens": cached, "prompt_tokens": prompt, "seconds": [round(s, 4) for s in seconds]}
        if cached:
            return Finding("prefix caching", f"{cached} of {prompt} prompt tokens came from its cache", facts)
        ratio = seconds[0] / max(1e-9, seconds[1])
        guess = "likely, by the time" if ratio > 2 else "not told, and no gain in time"
        return Finding("prefix caching", f"{guess} ({ratio:.1f}x)", facts)

    async def _closing(self) -> Finding:
        """Close a stream after a few chunks, and watch the server's own counter of generated tokens."""
        name = "stops on close"
        if await self._counter() is None:
            return Finding(name, "unknown: the server shows no counter of generated tokens (/metrics)")
        arrived, over, before = 0, True, 0.0
        for _ in range(_TRIES):
            before = await self._settled_counter()
            arrived, over = await self._leave_early()
            if not over:
                break
        if over:
            return Finding(name, "unknown: the reply ended before it could be left")
        await asyncio.sleep(0.3)
        after = await self._settled_counter()
        n_left = _LONG - arrived
        overrun = max(0, int(after - before) - arrived)
        stops = overrun < n_left / 2
        if stops:
            self.settings |= {"stops_on_close": True, "overrun_tokens": max(8, overrun)}
        value = f"yes, {overrun} tokens later" if stops else f"no: {overrun} more tokens were generated"
        return Finding(name, value, {"stops": stops, "overrun_tokens": overrun, "arrived": arrived})

    async def _context(self, listed: Sequence[Mapping[str, Any]]) -> Finding:
        mine = next((m for m in listed if m.get("id") == self.entry.model), {})
        meta = mine.get("meta") or {}
        found = next((v for v in (mine.get("max_model_len"), mine.get("context_length"), meta.get("n_ctx")) if v), None)
        if found is None:
            props = await self._get(f"{self.root}/props")
            found = (props.get("default_generation_settings") or {}).get("n_ctx") if isinstance(props, dict) else None
        return Finding("context", f"{found} tokens" if found else "not told", {"tokens": found})

    # --- asking ----------------------------------------------------------------------------------------

    def _body(self, text: str = _ASK, max_tokens: int = _SHORT, **fields: Json) -> dict[str, Json]:
        if self.entry.api == "completions":
            return {"model": self.entry.model, "prompt": f"{text}\n", "max_tokens": max_tokens, **fields}
        if self.entry.reasons:
            fields.pop("temperature", None)
        messages = [{"role": "user", "content": text}]
        return {"model": self.entry.model, "messages": messages, self.entry.limit_field: max_tokens, **fields}

    async def _post(self, body: Mapping[str, Json]) -> tuple[int, dict[str, Any]]:
        import aiohttp

        session = await self.sessions.get()
        try:
            async with session.post(self.entry.url, data=json.dumps(body)) as response:
                raw = await response.read()
                try:
                    data = json.loads(raw)
                except ValueError:
                    data = {"error": {"message": raw[:200].decode("utf-8", "replace")}}
                return response.status, data if isinstance(data, dict) else {}
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ModelError(f"{self.entry.host} does not answer at {self.entry.url}: {error}") from None

    async def _need(self, body: Mapping[str, Json]) -> dict[str, Any]:
        status, data = await self._post(body)
        if status != 200 or not _choices(data):
            failure = failures.of_status(self.entry, status, {}, json.dumps(data).encode())
            raise ModelError(failure.reason)
        return data

    async def _get(self, url: str) -> Any:
        """JSON or text; None where there is none."""
        import aiohttp

        session = await self.sessions.get()
        try:
            async with session.get(url) as response:
                text = (await response.read()).decode("utf-8", "replace")
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None
        if response.status != 200:
            return None
        try:
            return json.loads(text)
        except ValueError:
            return text

    async def _listed(self) -> list[Mapping[str, Any]]:
        data = await self._get(f"{self.entry.base_url.rstrip('/')}/models")
        rows = data.get("data") if isinstance(data, dict) else None
        return [row for row in rows or () if isinstance(row, Mapping)]

    async def _counter(self) -> float | None:
        text = await self._get(f"{self.root}/metrics")
        found = _COUNTERS.findall(text) if isinstance(text, str) else []
        return sum(map(float, found)) if found else None

    async def _settled_counter(self) -> float:
        """The counter once it has stopped growing (at most 10 s)."""
        last = -1.0
        for _ in range(50):
            now = await self._counter() or 0.0
            if now == last:
                return now
            last = now
            await asyncio.sleep(0.2)
        return last

    async def _leave_early(self) -> tuple[int, bool]:
        """Tokens that arrived of a stream that is left after four chunks, and whether it was over by then."""
        session, events, arrived = await self.sessions.get(), Events(), 0
        body = self._body(max_tokens=_LONG, temperature=1, stream=True)
        response = await session.post(self.entry.url, data=json.dumps(body))
        try:
            async for data in response.content.iter_any():
                for event in events.feed(data):
                    if event == DONE:
                        return arrived, True
                    choices = _choices(json.loads(event))
                    if choices and choices[0].get("finish_reason"):
                        return arrived, True
                    part = choices[0].get("delta") or choices[0] if choices else {}
                    arrived += bool(part.get("content") or part.get("text") or part.get("reasoning_content"))
                if arrived >= 4:
                    return arrived, False
            return arrived, True
        finally:
            response.close()


def _choices(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = data.get("choices")
    return [c for c in found if isinstance(c, dict)] if isinstance(found, list) else []


def _n_words(data: Mapping[str, Any]) -> int:
    """Words of all choices: no text has fewer tokens than about that."""
    return sum(len(_text({"choices": [choice]}).split()) for choice in _choices(data))


def _text(data: Mapping[str, Any]) -> str:
    choices = _choices(data)
    message = choices[0].get("message") or choices[0] if choices else {}
    return "".join(str(message.get(name) or "") for name in ("content", "text"))
