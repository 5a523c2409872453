"""What comes back: choices of whole replies, and the pieces of streamed ones, into samples, failures and bills.

A whole reply is one piece, so both take one way. Knows no connection.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ...types import Bill, Delivery, Failure, Json, Sample, Trace
from ..endings import Ending, shown
from ..text import THINK, UNTHINK
from .body import Plan
from .figures import Figures
from .usage import Usage, apportion

_ENDS = {"tool_calls": "eos", "function_call": "eos", "eos": "eos", "eos_token": "eos", "length": "length"}
_STOPS = ("stop", "stop_sequence")


class Growing:
    """One sample as its pieces arrive. ``finish`` is the server's word for its end, None while there is none."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[int, dict[str, Json]] = {}
        self._refusal = ""
        self._echo: str | None = plan.echo  # what must still be repeated; None where something else came
        self.figures = Figures(plan.k or 0)
        self.finish: str | None = None
        self._stop_told: Json = ...  # what the server says of the stop; ... where it says nothing
        self.cut_at: int | None = None

    def add(self, choice: Mapping[str, Json]) -> None:
        """Read one more piece: a choice with a message, a delta or a text."""
        if not isinstance(choice.get("message"), Mapping):
            self._echo = ""  # pieces of a stream are new ones
        part = choice.get("message") or choice.get("delta") or {"content": choice.get("text")}
        if isinstance(part, Mapping):
            self._add_text(part)
        self.figures.add(choice.get("logprobs"))
        for name in ("stop_reason", "matched_stop"):
            if name in choice and choice.get("finish_reason"):
                self._stop_told = choice[name]
        if choice.get("finish_reason"):
            self.finish = str(choice["finish_reason"])

    def _add_text(self, part: Mapping[str, Json]) -> None:
        content = part.get("content")
        if isinstance(content, str):
            content = self._after_echo(content)
            self._content += [content] if content else []
        elif isinstance(content, list):
            self._content += [p["text"] for p in content if isinstance(p, Mapping) and isinstance(p.get("text"), str)]
        reasoning = part.get("reasoning_content") or part.get("reasoning")
        if isinstance(reasoning, str) and reasoning:
            self._reasoning.append(reasoning)
        if isinstance(part.get("refusal"), str):
            self._refusal += part["refusal"]
        calls = part.get("tool_calls")
        for at, call in enumerate(calls if isinstance(calls, list) else ()):
            if isinstance(call, Mapping):
                self._add_call(call["index"] if type(call.get("index")) is int else at, call)

    def _after_echo(self, content: str) -> str:
        """What is new of a piece, where a server begins by repeating the text that it goes on from."""
        if not self._echo:
            return content
        if self._echo.startswith(content):
            self._echo = self._echo[len(content) :]
            return ""
        new = content.removeprefix(self._echo)
        self._echo = None if new == content else ""
        return new

    def _add_call(self, at: int, call: Mapping[str, Json]) -> None:
        """A tool call, or a piece of one: arguments are joined, everything else is said once."""
        known = self._calls.setdefault(at, {})
        function = call.get("function")
        joined = known.get("function")
        if isinstance(joined, dict) and isinstance(function, Mapping):
            if isinstance(more := function.get("arguments"), str):
                joined["arguments"] = str(joined.get("arguments") or "") + more
            joined["name"] = joined.get("name") or function.get("name")
            return
        new = {k: v for k, v in call.items() if k != "index" and v is not None}
        known.update(new | {"function": dict(function)} if isinstance(function, Mapping) else new)

    # --- what it is by now ---

    @property
    def n_tokens(self) -> int:
        """The new tokens whose figures came."""
        return len(self.figures)

    @property
    def has_text(self) -> bool:
        """True once anything of the sample came."""
        return bool(self._content or self._reasoning or self._calls or self._refusal or self.n_tokens)

    @property
    def is_call(self) -> bool:
        """True where it holds a tool call, for which servers send no figures."""
        return bool(self._calls)

    @property
    def n_bytes(self) -> int:
        """The length of what came, in bytes: no text has more tokens than bytes."""
        calls = sum(len(str(call)) for call in self._calls.values())
        return len("".join([*self._reasoning, *self._content]).encode("utf-8", "replace")) + calls

    def check_cut(self) -> bool:
        """Whether the plan's cut rule fires within what came. Raises ``MissingFigures`` where the rule lacks some."""
        cut, known = self._plan.cut, self._plan.known
        if cut is None or not self.n_tokens:
            return False
        trace = self._trace(None)
        n_known = 0
        if known is not None and known.trace is not None:
            trace, n_known = _joined_traces(known.trace, trace, 0), len(known.trace)
        at = cut.fires_at(trace)
        if at is not None and at <= len(trace) and not (self.finish == "stop" and at == len(trace)):
            self.cut_at = max(0, at - n_known)
        return self.cut_at is not None

    def _trace(self, ends: array[int] | None) -> Trace:
        return replace(self.figures.trace, ends=ends)

    def sample(self, index: int, n_tokens: int, prompt_tokens: int) -> Sample | Failure:
        """The sample, open where no end came, or the failure that its end tells; ``n_tokens`` are the new ones."""
        ended = self._ended()
        if isinstance(ended, Failure):
            return ended
        if self._echo is None or (self._echo and ended is not None):
            return Failure("failed", 'expected the reply to repeat what it goes on from (continuation = "echo")')
        reasoning, text = _apart("".join(self._reasoning), "".join(self._content), self._plan.thinks)
        if self._refusal and not text:
            text, ended = self._refusal, "refused"
        trace = None
        if self.n_tokens:
            ends = self.figures.ends(reasoning + text, beyond=ended is not None and ended.startswith("stop:"))
            if (
                ends
                and self._plan.continues
                and self.cut_at is None
                and not _reaches(ends, ended, n_tokens, text, reasoning)
            ):
                ends = None
            trace = self._trace(ends)
        calls = tuple(self._calls[at] for at in sorted(self._calls))
        address = self._plan.stream.at(index)
        found = Sample(address, text, ended, n_tokens, prompt_tokens, reasoning, calls, trace)
        if self.cut_at is not None:
            found = self._cut(found, self.cut_at)
        return _joined(self._plan.known, found) if self._plan.known else found

    def _cut(self, sample: Sample, at: int) -> Sample:
        """The sample up to the token at which the rule fired."""
        assert self._plan.cut is not None
        assert sample.trace is not None
        ended = f"cut:{self._plan.cut.name}"
        if sample.trace.ends is not None:
            return shown(sample, Ending(at, ended))
        return replace(sample, ended=ended, n_tokens=at, trace=sample.trace.first(at))

    def _ended(self) -> str | Failure | None:
        """The word for the end, from the server's."""
        if self.finish is None or self.cut_at is not None:
            return None
        if self.finish in _STOPS:
            return self._stopped()
        if self.finish == "content_filter":
            return Failure("refused", "the server's content filter ended the sample (finish_reason content_filter)")
        if self.finish not in _ENDS:
            return Failure("failed", f"expected a known finish_reason, but got {self.finish[:80]!r}")
        return _ENDS[self.finish]

    def _stopped(self) -> str | Failure:
        """Which stop, where stops were sent: as the server tells, or as the tokens beyond the text do."""
        told = self._stop_told
        if told is ...:
            told = self._stop_seen() if self._plan.stop else None
        if told is ... and self._plan.continues:
            return Failure("fatal", "the server does not say which stop ended a sample, so none can be followed further; "
                           "remove continuation from vervet.toml, or ask without stop")  # fmt: skip
        if told is ...:
            return "stop:?"
        return f"stop:{told}" if isinstance(told, str) and told in self._plan.stop else "eos"

    def _stop_seen(self) -> Json:
        """The stop string that the tokens spell after the text, ... where they do not."""
        text = "".join(self._content)
        spelled = "".join(piece or "" for piece in self.figures.pieces)
        beyond = spelled[len(text) :] if spelled.startswith(text) else ""
        return next((stop for stop in self._plan.stop if beyond.startswith(stop)), ...)


def _reaches(ends: Sequence[int], ended: str | None, n_tokens: int, text: str, reasoning: str) -> bool:
    """Whether figures reach to the end of a sample (but for an end token), so that it may be truncated by them."""
    kind, _, stop = (ended or "").partition(":")
    n_chars = len(reasoning) + len(text) + (len(stop) if kind == "stop" else 0)
    return n_tokens - len(ends) in ((0, 1) if kind == "eos" else (0,)) and ends[-1] >= n_chars


def _apart(reasoning: str, content: str, thinks: bool) -> tuple[str, str]:
    """What was thought and what was said; a server that does not part them writes thinking marks."""
    if reasoning:
        return reasoning, content
    head = content.lstrip()
    if not thinks:
        if not head.startswith(THINK):
            return "", content
        content = head[len(THINK) :]
    thought, _, said = content.partition(UNTHINK)
    return thought, said


def _joined(known: Sample, new: Sample) -> Sample:
    """A sample that was followed further: what was known, then what is new."""
    kind, _, stop = (known.ended or "").partition(":")
    before = known.text + (stop if kind == "stop" else "")
    return replace(
        new,
        text=before + new.text,
        reasoning=known.reasoning + new.reasoning,
        n_tokens=known.n_tokens + new.n_tokens,
        prompt_tokens=known.prompt_tokens or new.prompt_tokens,
        trace=_trace_of_both(known, new, len(known.reasoning) + len(before)),
    )


def _trace_of_both(known: Sample, new: Sample, n_chars: int) -> Trace | None:
    if known.trace is None or (new.trace is None and new.n_tokens):
        return None
    return known.trace if new.trace is None else _joined_traces(known.trace, new.trace, n_chars)


def _joined_traces(old: Trace, more: Trace, n_chars: int) -> Trace:
    """The columns of a sample and of what follows it after ``n_chars`` characters."""
    ends = None
    if old.ends is not None and more.ends is not None:
        ends = array("i", [min(end, n_chars) for end in old.ends] + [end + n_chars for end in more.ends])
    same = old.k == more.k and old.source == more.source
    return Trace(
        old.ids + more.ids, ends, _column(old.logprob, more.logprob),
        _column(old.topk, more.topk) if same else None, None, old.k, old.source,
    )  # fmt: skip


def _column(old: array[float] | None, more: array[float] | None) -> array[float] | None:
    return None if old is None or more is None else old + more


# --- what it cost --------------------------------------------------------------------------------------


def deliveries(plan: Plan, grown: Sequence[Growing], usage: Usage | None, n_counted: int) -> list[Delivery]:
    """The samples of a reply that came whole, for the first indices of the plan, each with its bill.

    ``n_counted``: so many of them are what the usage counts; the others are booked by their figures or their bound.
    """
    counts: list[int] = []
    bills: list[Bill] = []
    if usage is not None:
        counts = [usage.completion] if n_counted == 1 else _counts(grown, usage.completion, plan.n_new)
        first = Bill(usage.prompt, counts[0], usage.cached, usage.written, usage.reasoning)
        bills = [first, *(Bill(completion_tokens=n) for n in counts[1:])]
    for g in grown[len(counts) :]:
        counts.append(_guess(g, plan.n_new))
        bills.append(_bound(g, plan.n_new))
    if usage is None:
        bills[0] += Bill(unsettled_tokens=plan.n_prompt)
    prompt_tokens = usage.prompt if usage else plan.n_prompt
    found = []
    for index, g, n, bill in zip(plan.indices, grown, counts, bills, strict=False):
        outcome = g.sample(index, n, prompt_tokens)
        if isinstance(outcome, Sample) and outcome.ended is None:
            outcome = Failure("failed", "expected a finish_reason, but none came")
        elif plan.known is not None and not n and not g.has_text and g.finish == "length":
            outcome = Failure("refused", "the sample cannot be followed further: no token more fits the context")
        found.append(Delivery(index, outcome, bill))
    return found


def _counts(grown: Sequence[Growing], total: int, most: int) -> list[int]:
    """The tokens of each of several samples: the figures tell all but end tokens, else the texts' lengths do."""
    known = [g.n_tokens for g in grown]
    missing = total - sum(known)
    room = [i for i, n in enumerate(known) if n < most]
    if all(known) and 0 <= missing <= len(room):
        likely = sorted(room, key=lambda i: (grown[i].finish not in _STOPS, i))[:missing]
        return [n + (i in likely) for i, n in enumerate(known)]
    return apportion(total, [g.n_tokens or g.n_bytes for g in grown], [most] * len(grown))


def _bound(grown: Growing, most: int) -> Bill:
    """What a sample cost where the server does not tell: its figures, and the end token that they may lack."""
    if not grown.n_tokens:
        return Bill(unsettled_tokens=most)
    n_end = int(grown.finish != "length" and grown.n_tokens < most)
    return Bill(completion_tokens=grown.n_tokens, unsettled_tokens=n_end)


def _guess(grown: Growing, most: int) -> int:
    """How many tokens a sample has at most, where the server does not tell."""
    if grown.n_tokens:
        return grown.n_tokens
    return most if grown.finish == "length" else min(most, grown.n_bytes + 1)
