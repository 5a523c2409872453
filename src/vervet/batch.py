"""Batch files: what a run lacks goes out as a file of requests, and what comes back as results is recorded.

A folder holds ``NNNN.requests.jsonl``, which are written here, and results under any other name that ends in
``.jsonl``, which a provider writes, in any order and any number of files. The id of a request is the digest of its
address and the number of its file, so that a line is never taken for another attempt at the same address. Knows
neither operators nor problems. Limits: lines of OpenAI's batch format; the folder must be writable.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from .budget import Purse
from .errors import Mistake, ModelError
from .models.batch import BatchModel, Lines, Waiting, Wanted
from .types import Address, Bill, Delivery, Endings, Failure, Json, Model, Parked, Pool, Request, Sample, digest

__all__ = ["BatchFolder", "Collected", "request_id"]

_MAX_LINES = 50_000  # what OpenAI takes in one file, and how many bytes
_MAX_BYTES = 200_000_000
_LOOK_S = 0.1
_QUIET_LOOKS = 3  # everything waits where so many looks in a row see nothing move
_REQUESTS = ".requests.jsonl"
_ID = re.compile(r"[0-9a-f]{32}-[0-9]{4,}")
_NEVER_RAN = ("batch_expired", "batch_cancelled")


def request_id(address: Address, batch: int) -> str:
    """What a line of batch file number ``batch`` is called: 32 hexadecimal digits and the number.

    >>> from vervet.types import Stream
    >>> request_id(Stream("m", "q").at(3), 7)[-5:]
    '-0007'
    """
    s = address.stream
    return f"{digest([s.model, s.question, s.replicate, s.scope, address.index])}-{batch:04}"


@dataclass(slots=True)
class Collected:
    """What the results of a folder brought at this start.

    ``samples``, ``failed`` (failures that stay) and ``again`` (which go out in the next file) count draws; ``known``
    lines were recorded before; ``foreign`` lines answer no request of this folder; ``unreadable`` names the places that
    are no lines of results.
    """

    samples: int = 0
    failed: int = 0
    again: int = 0
    known: int = 0
    foreign: int = 0
    unreadable: list[str] = field(default_factory=list)
    reasons: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Reply:
    """A line of results: its id and place, and the reply's status and body, or the error that came instead."""

    id: str
    place: str
    status: int | None
    body: Json
    error: Json


class BatchFolder:
    """A folder of batch files of one pool, and the models that write and read its lines, by their names.

    Raises ``Mistake`` where no model of the run can write lines.
    """

    def __init__(self, path: str, pool: Pool, models: Mapping[str, Model]) -> None:
        self.path = Path(path).absolute()
        self.pool, self.waiting = pool, Waiting()
        self.models = {name: BatchModel(m, self.waiting) if isinstance(m, Lines) else m for name, m in models.items()}
        self._lines = {m.name: m for m in models.values() if isinstance(m, Lines)}
        if not self._lines:
            named = ", ".join(sorted(m.name for m in models.values()))
            raise Mistake(f"--batch needs a model that is asked over HTTP, but got {named}; draw without --batch")

    # --- collecting ---

    async def collect(self) -> Collected:
        """Record what the results in the folder brought; ``ModelError`` where they say that nothing can succeed."""
        await asyncio.to_thread(self._prepare, [b.number for b in self.pool.batches()])
        waits = {request_id(p.address, p.batch): p for p in self.pool.parked() if p.address.stream.model in self._lines}
        found, came, fatal = Collected(), [], ""
        ours: set[str] | None = None
        for result in self._results(found.unreadable):
            parked = waits.pop(result.id, None)
            if parked is None:
                ours = self._ids() if ours is None else ours
                found.known += result.id in ours
                found.foreign += result.id not in ours
                continue
            delivery = self._delivery(parked, result)
            came.append((parked, delivery))
            fatal = _count(found, delivery, result) or fatal
            if len(came) == 1_000:
                await self.pool.collect(came)
                came = []
        await self.pool.collect(came)
        if fatal:
            raise ModelError(f"{fatal}; what could be read is in the pool; mend this and run the same command again")
        return found

    def _prepare(self, numbers: Sequence[int]) -> None:
        """Make the folder; finish what a kill left between parking the draws and naming their file."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Mistake(f"expected a folder that can be written for batch files, got {self.path}: {error}") from None
        for file in (self.path / f"{number:04}{_REQUESTS}" for number in numbers):
            part = _part(file)
            if part.exists() and not file.exists():
                part.replace(file)

    def _results(self, unreadable: list[str]) -> Iterator[_Reply]:
        for file in sorted(self.path.glob("*.jsonl")):
            if file.name.endswith(_REQUESTS):
                continue
            with file.open(encoding="utf-8", errors="replace") as lines:
                for number, text in enumerate(lines, 1):
                    result = _read(text, f"{file.name}, line {number}") if text.strip() else None
                    if result is not None:
                        yield result
                    elif text.strip():
                        unreadable.append(f"{file.name}, line {number}: {text.strip()[:60]}")

    def _ids(self) -> set[str]:
        """The ids of all requests that were ever written here."""
        ids: set[str] = set()
        for file in self.path.glob(f"*{_REQUESTS}"):
            with file.open(encoding="utf-8", errors="replace") as lines:
                ids.update(name for line in lines for name in _ID.findall(line))
        return ids

    def _delivery(self, parked: Parked, result: _Reply) -> Delivery:
        """What came for a parked draw, with its bill at the batch price."""
        stream, index = parked.address.stream, parked.address.index
        if result.status is None:
            return _unanswered(parked, result.error)
        model, endings = self._lines[stream.model], dict(parked.endings)
        endings["stop"] = tuple(endings.get("stop", ()))
        request = Request(self.pool.question(stream.question), Endings(**endings))
        known = self.pool.find(stream, [index]).get(index)
        so_far = known if isinstance(known, Sample) else None
        delivery = model.from_line(request, stream, index, so_far, result.status, result.body)
        prices = model.supports.prices
        return delivery if prices is None else replace(
            delivery, bill=replace(delivery.bill, usd=prices.usd(delivery.bill) * prices.batch)
        )  # fmt: skip

    # --- sending ---

    async def send_when_all_waits(self, purse: Purse, workers: Sequence[asyncio.Task[None]]) -> None:
        """Write what is wanted as soon as nothing moves any more, and end the waiting; ends with the workers.

        Who was only slow to ask (a long check of an answer) asks in the next file.
        """
        before, n_quiet = None, 0
        try:
            while n_quiet < _QUIET_LOOKS and not all(w.done() for w in workers):
                await asyncio.sleep(_LOOK_S)
                n_done = sum(w.done() for w in workers)
                now = (n_done, len(self.waiting.wanted), len(self.waiting.parked), purse.spent_calls)
                waits = len(self.waiting) > 0 and purse.n_open == len(self.waiting.wanted)
                n_quiet = n_quiet + 1 if waits and now == before else 0
                before = now
            while fresh := [w for w in self.waiting.wanted.values() if not w.sent]:
                for part in list(_files(fresh)):
                    await self._write(part)
        finally:
            self.waiting.end()

    async def _write(self, part: list[Wanted]) -> None:
        """One file: whole on disk under a passing name, its draws parked, then named."""
        for wanted in part:
            wanted.sent = True
        while True:
            number = await self.pool.new_batch(str(self.path))
            file = self.path / f"{number:04}{_REQUESTS}"
            with suppress(FileExistsError):  # of another pool, which counts for itself
                await asyncio.to_thread(_write_new, file, (_line(wanted, number) for wanted in part))
                break
        model = self._lines[part[0].model]
        draws = {w.address: (_reserve(model, w.request), _endings(w.request)) for w in part}
        await self.pool.park(number, draws, model.supports.continuation)
        await asyncio.to_thread(_name, file)


def _read(text: str, place: str) -> _Reply | None:
    """A line of results, or None where it is none."""
    try:
        data = json.loads(text)
        name, response, error = data["custom_id"], data.get("response") or {}, data.get("error")
        status, body = response.get("status_code"), response.get("body")
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    if type(name) is not str or (type(status) is not int and not (status is None and error)):
        return None
    return _Reply(name, place, status, error if body is None else body, error)


def _unanswered(parked: Parked, error: Json) -> Delivery:
    """A line without a reply: what never ran goes out again; of anything else the text may be the cause, at its bound."""
    told = error if isinstance(error, Mapping) else {"message": error}
    reason = ": ".join(str(told[k]) for k in ("code", "message") if told.get(k)) or "no reply and no reason"
    index, reserve = parked.address.index, parked.reserve
    if told.get("code") in _NEVER_RAN:
        return Delivery(index, Failure("transient", f"batch: {reason}"))
    return Delivery(
        index, Failure("failed", f"batch: {reason}"), Bill(unsettled_tokens=reserve.tokens, usd=reserve.usd)
    )


def _count(found: Collected, delivery: Delivery, result: _Reply) -> str:
    """Count what came; the reason, with its place, where it says that nothing can succeed."""
    outcome = delivery.outcome
    if not isinstance(outcome, Failure):
        found.samples += 1
        return ""
    found.reasons[outcome.reason] = found.reasons.get(outcome.reason, 0) + 1
    if outcome.kind in ("refused", "failed"):
        found.failed += 1
    else:
        found.again += 1
    return f"{result.place}: {outcome.reason}" if outcome.kind == "fatal" else ""


def _reserve(model: Model, request: Request) -> Bill:
    """What one line may cost at the batch price."""
    prompt, new, prices = model.count(request.question), request.endings.max_tokens or 0, model.supports.prices
    return Bill(prompt, new, usd=prices.worst(prompt, new) * prices.batch if prices else 0.0)


def _endings(request: Request) -> dict[str, Json]:
    """All that ``Endings`` needs, as data; ``logprobs`` does not change where a text ends, but what is read of it."""
    k = request.endings.logprobs
    return request.endings.data if k is None else {**request.endings.data, "logprobs": k}


def _line(wanted: Wanted, number: int) -> str:
    row = {"custom_id": request_id(wanted.address, number), "method": "POST", "url": wanted.line.url}
    return json.dumps({**row, "body": wanted.line.body}, separators=(",", ":"), allow_nan=False) + "\n"


def _files(wanted: Sequence[Wanted]) -> Iterator[list[Wanted]]:
    """Groups that may share a file: one endpoint, one model, no more lines and bytes than a provider takes."""
    groups: dict[tuple[str, str], list[Wanted]] = {}
    for one in wanted:
        groups.setdefault((one.line.url, one.model), []).append(one)
    for group in groups.values():
        part: list[Wanted] = []
        n_bytes = 0
        for one in sorted(group, key=lambda w: w.address):
            size = len(_line(one, 0))
            if part and (len(part) == _MAX_LINES or n_bytes + size > _MAX_BYTES):
                yield part
                part, n_bytes = [], 0
            part.append(one)
            n_bytes += size
        yield part


def _part(file: Path) -> Path:
    return file.with_name(f"{file.name}.part")


def _write_new(file: Path, lines: Iterator[str]) -> None:
    """Write the lines under the passing name, on disk when this returns."""
    if file.exists():
        raise FileExistsError
    with _part(file).open("x", encoding="utf-8") as opened:
        opened.writelines(lines)
        opened.flush()
        os.fsync(opened.fileno())


def _name(file: Path) -> None:
    """Give a whole file its name, on disk when this returns."""
    _part(file).replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
