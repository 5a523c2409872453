"""What an operator is given: its only way to a model, and the only place that spends, retries and hands out indices.

Knows the pool, the budgets, the roles and the models; knows no target, no task and no operator.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from ..budget import Budget, Meter, expect_prices
from ..errors import LimitReached, Mistake, NothingDrawn, OverContext, Unsupported, VervetError, first_of
from ..models.endings import truncated
from ..prompts import role, roles
from ..types import (
    Address,
    Answer,
    Candidate,
    Candidates,
    Drawn,
    Endings,
    Failure,
    Model,
    Problem,
    Request,
    Sample,
    Score,
    Stored,
    Stream,
    Supports,
    Use,
    canonical_json,
    text_digest,
)
from .asking import ENDING_FIELDS, QUESTION_FIELDS, Ask, build_request, is_long, merged
from .attempt import Attempt
from .drawing import Drawing
from .world import Retry, World

__all__ = ["LLM", "Ask", "Desk", "Retry", "World", "build_request"]


@dataclass(slots=True)
class Desk:
    """What one problem's questions in one run share: who asked what how often, what is being asked, what failed.

    ``uses`` are the draws that were used, with what was seen of them; ``scores`` what models said of texts; ``ended``
    is the limit that ended a drawing.
    """

    problem: Problem
    occurrences: dict[Stream, int] = field(default_factory=dict)
    active: set[Stream] = field(default_factory=set)
    failures: dict[Address, Failure] = field(default_factory=dict)
    uses: list[tuple[Use, Sample]] = field(default_factory=list)
    scores: dict[tuple[str, int], Score] = field(default_factory=dict)
    ended: str | None = None


@dataclass(frozen=True, slots=True)
class LLM:
    """An operator's only way to the world. Frozen: ``on``, ``within``, ``branch`` and ``named`` give another view.

    >>> from vervet.testing import llm_for
    >>> llm = llm_for("iid")
    >>> len(asyncio.run(llm.draw(llm.ask("answer", llm.problem).request, 3)))
    3
    """

    world: World
    desk: Desk
    model: Model
    meters: tuple[Meter, ...] = ()
    branches: tuple[str, ...] = ()
    operator: str = ""

    @classmethod
    def at_desk(cls, world: World, problem: Problem, budget: Budget | None = None) -> LLM:
        """The first view of a problem: the default model, the problem's whole budget."""
        return cls(world, Desk(problem), world.model(None), (Meter(budget or Budget()),))

    # --- views ---

    @property
    def problem(self) -> Problem:
        """The problem that this view works on."""
        return self.desk.problem

    @property
    def supports(self) -> Supports:
        """What the model of this view can do."""
        return self.model.supports

    @property
    def left(self) -> dict[str, float]:
        """What the limits still allow: draws, tokens, calls and usd of the budgets, tokens and usd of the wallet."""
        budget = {n: min(m.left(n) for m in self.meters) for n in ("draws", "tokens", "calls", "usd")}
        purse = self.world.purse
        return {**budget, "wallet_tokens": purse.left_tokens, "wallet_usd": purse.left_usd}

    def on(self, model: str | None) -> LLM:
        """The same view with another model of the run; None keeps this one."""
        return self if model is None else replace(self, model=self.world.model(model))

    def within(self, budget: Budget) -> LLM:
        """A view that may use no more than this, besides the limits it has already."""
        return replace(self, meters=(*self.meters, Meter(budget)))

    def branch(self, name: str) -> LLM:
        """A view for an arm that runs beside others: its draws are its own, under its name."""
        if not name or set(name) & set("/;="):
            raise Mistake(f"branch: expected a name without '/', ';' and '=', but got {name!r}")
        return replace(self, branches=(*self.branches, name))

    def named(self, operator: str) -> LLM:
        """A view whose uses are noted under this operator."""
        return replace(self, operator=f"{self.operator}.{operator}" if self.operator else operator)

    def note(self, kind: str, **facts: Any) -> None:
        """Tell whoever follows the run."""
        self.world.note(kind, {"problem": self.problem.id, "operator": self.operator, **facts})

    # --- asking ---

    def ask(self, role_name: str, problem: Problem, candidates: Candidates | None = None, **parts: Any) -> Ask:
        """The request of a role in this model's dialect. ``parts`` are texts for the template, or options of the request.

        The role "answer" asks the problem as it stands, with the form that its reader needs (or its hint "form") behind it
        in dialects that are not trained on it. What the asker fixed is merged only where the text is an answer.
        """
        if role_name not in self.model.supports.roles:
            known = ", ".join(sorted(self.model.supports.roles))
            raise Unsupported(f"{self.model.name} plays the roles {known}, but {role_name!r} was asked of it")
        texts = {k: parts.pop(k) for k in list(parts) if k not in QUESTION_FIELDS | ENDING_FIELDS}
        if role_name == "answer":
            form = problem.hints.get("form", self.world.forms.get(problem.reader))
            if not form or role_name not in roles(self.model.dialect):
                return Ask(build_request(problem.messages, merged(parts, problem)))
            texts["form"] = form
        found = role(self.model.dialect, role_name)
        if candidates:
            texts = {"candidate": candidates[0].text.strip(), **texts}
        options = merged(parts, problem) if found.answer else parts
        return Ask(build_request(found.messages(problem.messages, **texts), options, found.name), found)

    @asynccontextmanager
    async def stream(
        self, request: Request, n: int, ahead: int | None = None, role: str = "answer"
    ) -> AsyncIterator[Drawing]:
        """Samples of a request in index order, ``ahead`` of them in flight (default: all). Leaving the block ends it.

        Cost: at most ``n`` samples; leaving early pays for those that were in flight. Raises ``Mistake`` where the same
        question is already being asked, ``OverContext`` where the prompt leaves no room.
        """
        if n < 0 or (ahead is not None and ahead < 1):
            raise Mistake(f"expected n of 0 or more and ahead of 1 or more, but got {n=}, {ahead=}")
        max_tokens = self._max_tokens(request)
        row = Stream(self.model.name, request.question.digest, self.world.replicate, "/".join(self.branches))
        if row in self.desk.active:
            raise Mistake(
                "an equal question is already being asked: give arms that run at once their own llm.branch(name)"
            )
        self._expect_prices()
        allowed = self._charge_call()
        self._keep_failures()
        stream = self._hand_out(row, request, max_tokens)
        self.desk.active.add(row)
        try:
            async with self._drawing(request, stream, max_tokens, n, ahead or max(n, 1), role) as drawing:
                drawing.ended = None if allowed else "budget"
                yield drawing
        finally:
            self.desk.active.discard(row)

    async def draw(self, request: Request, n: int, role: str = "answer") -> Drawn:
        """``n`` samples in index order with the failures; nothing at all is an error, unless a limit ended it.

        Cost: ``n`` samples, less what the pool holds. Raises ``NothingDrawn``, ``LimitReached``.
        """
        async with self.stream(request, n, role=role) as drawing:
            samples = tuple([sample async for sample in drawing])
        drawing.expect_some()
        if not samples and n:
            raise LimitReached(f"the {drawing.ended} ended the drawing before its first sample")
        return Drawn(samples, drawing.failures, drawing.ended, drawing.n_void)

    async def follow(self, sample: Sample, **endings: Any) -> Sample:
        """The same sample further, to other endings; ``Unsupported`` where the model cannot continue. Cost: the new tokens."""
        if not self.model.supports.continuation:
            raise Unsupported(f"{self.model.name} cannot continue a sample")
        stream = sample.address.stream
        if stream.model != self.model.name:
            raise Mistake(f"expected a sample of {self.model.name}, but got one of {stream.model}")
        if unknown := set(endings) - ENDING_FIELDS:
            raise Mistake(
                f"expected endings ({', '.join(sorted(ENDING_FIELDS))}), but got {', '.join(sorted(unknown))}"
            )
        request = Request(self.world.pool.question(stream.question), Endings(**endings))
        outcomes: dict[int, Stored] = {}
        prices = self.model.supports.prices
        left = min(m.tokens_left(prices, 0) for m in self.meters)
        if left < 1 or not self._charge_call():
            raise LimitReached("the budget has no call or no token left")
        max_tokens = int(min(self._max_tokens(request), sample.n_tokens + left))
        attempt = self._attempt(request, stream, max_tokens, outcomes.__setitem__)
        await attempt.fetch([sample.address.index])
        outcome = outcomes[sample.address.index]
        if not isinstance(outcome, Sample):
            raise NothingDrawn(f"{sample.address} could not be followed: {outcome}")
        new_tokens = max(0, outcome.n_tokens - sample.n_tokens)
        usd = prices.worst(0, new_tokens) if prices else 0.0
        for meter in self.meters:
            meter.add(tokens=new_tokens, usd=usd)
        return outcome

    # --- judging ---

    def read(self, problem: Problem, text: str) -> Answer | None:
        """The answer in a text and its canonical key, or None where there is none."""
        return self.world.readers[problem.reader](problem, text)

    def candidate(self, problem: Problem, sample: Sample) -> Candidate:
        """A sample as a candidate."""
        return Candidate(sample.text, self.read(problem, sample.text), lineage=(sample.address,), sample=sample)

    async def keys(self, problem: Problem, candidates: Candidates) -> list[str | None]:
        """The class in which each candidate votes: its answer's key, or what the reader's grouper says; None votes not."""
        grouper = self.world.groupers.get(problem.reader)
        return [c.key for c in candidates] if grouper is None else await grouper(problem, candidates, self)

    async def score(self, scorer: str, problem: Problem, candidates: Candidates) -> list[Score]:
        """Scores in the order of the candidates, looked up first. Cost: what the scorer draws for the texts that are new.

        "verifier" is the problem's own verifier. A scorer that asks a model (``asks``: its name in the run) draws again
        what the pool holds, since what a run uses must not depend on what the pool held; within a problem it is asked once.
        """
        name = problem.verifier if scorer == "verifier" else scorer
        if name is None:
            raise Mistake(f"expected a problem with a verifier, but {problem.id} has none; select with vote()")
        found = self.world.scorer(name)
        if getattr(found, "of_sample", False):
            return await found(problem, candidates, self)
        digests, kept = [text_digest(c.text) for c in candidates], self.world.kept_under(name, found)
        asks = getattr(found, "asks", None) is not None
        memo = {d: self.desk.scores[kept, d] for d in digests if (kept, d) in self.desk.scores}
        known = memo if asks else self.world.pool.scores(kept, problem.id, digests, self.world.replicate)
        new = {d: c for d, c in zip(digests, candidates, strict=True) if d not in known}
        if new:
            fresh = dict(zip(new, await self.scored_anew(name, problem, Candidates(tuple(new.values()))), strict=True))
            judged = {d: s for d, s in fresh.items() if not s.not_judged}
            self.world.pool.add_scores(kept, problem.id, judged, self.world.replicate)
            self.desk.scores.update({(kept, d): s for d, s in judged.items()} if asks else {})
            known = {**known, **fresh}
        return [known[d] for d in digests]

    async def scored_anew(self, name: str, problem: Problem, candidates: Candidates) -> list[Score]:
        """What a scorer says now, looked up nowhere; where a limit ends it, or it breaks, that is noted: not judged."""
        try:
            scores = await self.world.scorer(name)(problem, candidates, self)
        except LimitReached as limit:
            scores = [Score(not_judged=str(limit)) for _ in candidates]
        except VervetError:
            raise
        except Exception as error:
            scores = [Score(not_judged=f"the scorer failed: {type(error).__name__}: {error}") for _ in candidates]
        for reason in {s.not_judged for s in scores if s.not_judged}:
            self.note("not_judged", scorer=name, reason=reason, n=sum(s.not_judged == reason for s in scores))
        return scores

    # --- inside ---

    def _max_tokens(self, request: Request) -> int:
        prompt, context = self.model.count(request.question), self.model.supports.context
        asked = request.endings.max_tokens
        if asked is not None and asked < 1:
            raise Mistake(f"expected max_tokens of 1 or more, but got max_tokens={asked!r}")
        if context is None:
            if asked is None:
                raise Mistake(f"the context of {self.model.name} is unknown: say max_tokens")
            return asked
        if prompt >= context:
            raise OverContext(f"{self.model.name} has a context of {context} tokens, but the prompt takes {prompt}")
        return min(asked or context, context - prompt)

    def _hand_out(self, row: Stream, request: Request, max_tokens: int) -> Stream:
        """The stream of this occurrence of the question: the first carries no number, so that others share it."""
        count = self.desk.occurrences[row] = self.desk.occurrences.get(row, 0) + 1
        self.world.pool.add_question(request.question)
        parts = [row.scope] if row.scope else []
        if count > 1:
            parts.append(f"occurrence={count}")
        if request.endings.min_tokens and self.model.supports.continuation:
            parts.append(f"min_tokens={request.endings.min_tokens}")  # it masks the end token: another trajectory
        if not self.model.supports.continuation:
            parts.append(f"endings={canonical_json({**request.endings.data, 'max_tokens': max_tokens})}")
        return replace(row, scope=";".join(parts))

    def _expect_prices(self) -> None:
        expect_prices(self.model.name, self.supports.prices, self.world.purse.wallet)
        for meter in self.meters:
            expect_prices(self.model.name, self.supports.prices, meter.budget)

    def _charge_call(self) -> bool:
        """Count a call, unless the budget has none left."""
        allowed = min(m.left("calls") for m in self.meters) >= 1
        for meter in self.meters if allowed else ():
            meter.add(calls=1)
        return allowed

    def _keep_failures(self) -> None:
        """A later question is being built: what failed before stays failed in this run."""
        if self.desk.failures:
            self.world.pool.keep_failures(self.world.run, self.problem.id, self.desk.failures)
            self.world.kept.update(self.desk.failures)
            self.desk.failures.clear()

    def _view(self, request: Request, max_tokens: int, stored: Stored) -> Stored | None:
        if not isinstance(stored, Sample):
            return stored
        if not self.model.supports.continuation:
            return None if stored.ended is None else stored
        return truncated(stored, replace(request.endings, max_tokens=max_tokens))

    def _attempt(self, request: Request, stream: Stream, max_tokens: int, resolve: Any) -> Attempt:
        def view(stored: Stored) -> Stored | None:
            return self._view(request, max_tokens, stored)

        return Attempt(self.world, self.model, request, stream, resolve, view, max_tokens)

    @asynccontextmanager
    async def _drawing(
        self, request: Request, stream: Stream, max_tokens: int, n: int, ahead: int, role: str
    ) -> AsyncIterator[Drawing]:
        attempt = self._attempt(request, stream, max_tokens, None)
        prompt = self.model.count(request.question)
        try:
            async with asyncio.TaskGroup() as group:
                drawing = Drawing(
                    attempt, n, ahead, self.meters, prompt,
                    used=lambda sample, order: self._use(sample, order, role),
                    shorten=self._shorten, group=group,
                    kept=lambda index: self.world.kept.get(stream.at(index)),
                    warm_first=self.world.waiting is None and is_long(request.question),
                )  # fmt: skip
                attempt.resolve = drawing.resolve
                try:
                    yield drawing
                finally:
                    drawing.close()
        except BaseExceptionGroup as errors:
            raise first_of(errors) from None
        finally:
            drawing.void_broken()
            transient = {i: f for i, f in drawing.failures.items() if f.kind == "transient"}
            self.desk.failures.update({stream.at(i): f for i, f in transient.items()})
        if drawing.ended == "wallet":
            self.desk.ended = "wallet"

    def _shorten(self, sample: Sample, n_tokens: int) -> Sample | None:
        if not self.model.supports.continuation:
            return None
        shown = truncated(sample, Endings(max_tokens=n_tokens))
        return None if shown is None else replace(shown, ended="cut:budget")

    def _use(self, sample: Sample, order: int, role: str) -> None:
        use = Use(
            self.problem.id, self.operator, sample.address, order, role, sample.n_tokens, text_digest(sample.text)
        )
        self.desk.uses.append((use, sample))
        self.note("sample", role=role, order=order, tokens=sample.n_tokens, ended=sample.ended)
