"""Verify and grade what is stored, anew, without drawing: after a better reader, grader or verifier, or an import."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import islice

from ..errors import Mistake, VervetError, first_of
from ..llm import LLM, World
from ..models.endings import truncated
from ..models.nobody import Nobody
from ..pool import SqlitePool, open_pool
from ..scaling.imperfect import Imperfect
from ..tasks import grader_of
from ..types import Candidate, Candidates, Endings, Json, Model, Problem, Score, Scorer, Verdict, text_digest
from ..verify import FORMS, GRADERS, GROUPERS, READERS, SCORERS
from ..verify.recorded import read_by
from .grading import ANSWER_ROLES, Rows, graded, verifier_figures
from .loop import Listener, silent
from .waiting import wait

_RIGHT = "correct"


@dataclass(frozen=True, slots=True)
class Regraded:
    """What a regrading changed.

    ``changed`` counts texts by old and new outcome ("incorrect -> correct"). By run: ``accuracy`` is the share of
    correct final answers before and after, in [0, 1]; ``verifiers`` compares each verifier with the grader.
    """

    problems: int
    texts: int
    changed: Mapping[str, int]
    accuracy: Mapping[str, tuple[float, float]]
    verifiers: Mapping[str, Mapping[str, Imperfect]]

    @property
    def data(self) -> dict[str, Json]:
        """As one JSON object."""
        return asdict(self)


def judging_world(
    pool: SqlitePool, judge: Model | None = None, what: str = "regrade", note: Listener | None = None
) -> World:
    """The surroundings of work that grades and draws no answer; ``judge`` plays the roles of graders that ask a model."""
    run = ""
    if judge is not None:
        run = pool.start_run({"task": what, "architecture": "judge", "models": {"judge": judge.name}, "seed": 0})
    models = {"": judge or Nobody(), **({"judge": judge} if judge else {})}
    return World(pool, models, run, readers=READERS, scorers=SCORERS, forms=FORMS, groupers=GROUPERS,
                 note=note or silent)  # fmt: skip


def regrade(
    path: str, grader: str | None = None, verifier: str | None = None, judge: Model | None = None,
    listen: Listener | None = None, concurrency: int = 8,
) -> Regraded:  # fmt: skip
    """Read, verify and grade every stored answer of a pool again. Nothing is drawn, unless a grader asks ``judge``.

    ``grader`` and ``verifier`` replace those of the stored problems; where there is a reader of the grader's name, it reads
    the answers that are graded. What verifiers that ask a model said before stays. An interruption leaves every problem
    as it was or as it is to be. Raises ``Mistake`` for a name that is not there or does not fit.
    """
    for kind, name, known in (("grader", grader, GRADERS), ("verifier", verifier, SCORERS)):
        if name is not None and name not in known:
            raise Mistake(f"expected a {kind} ({', '.join(sorted(known))}), but got {name!r}")
    if verifier is not None and not _accepts(SCORERS[verifier]):
        raise Mistake(f"expected a verifier that accepts or rejects a text and asks no model, but got {verifier!r}")
    return wait(_Regrading(path, grader, verifier, judge, listen, concurrency).go())


def _accepts(scorer: Scorer) -> bool:
    return getattr(scorer, "asks", None) is None and not getattr(scorer, "of_sample", False)


@dataclass(slots=True)
class _Regrading:
    """One regrading of a pool."""

    path: str
    grader: str | None
    verifier: str | None
    judge: Model | None
    listen: Listener | None
    concurrency: int
    changed: Counter[str] = field(default_factory=Counter)
    n_texts: int = 0

    async def go(self) -> Regraded:
        """Every problem; then what changed."""
        with open_pool(self.path) as pool:
            world = judging_world(pool, self.judge, note=self.listen)
            names, before = pool.problems(), _accuracies(pool)
            final = _final_texts(pool)
            if self.listen:
                self.listen("run", {"run": "", "problems": len(names), "spent": None})
            waiting = iter(names)

            async def work(most: int | None = None) -> None:
                for name in islice(waiting, most):
                    n_right = await self._problem(world, pool, name, final.get(name, []))
                    if self.listen:
                        self.listen("problem", {"correct": n_right})

            try:
                await work(most=1)  # a name that does not fit these problems is told before the others are begun
                async with asyncio.TaskGroup() as group:
                    for _ in range(self.concurrency):
                        group.create_task(work())
            except* VervetError as errors:
                raise first_of(errors) from None
            finally:
                if self.judge:
                    await self.judge.close()
            if self.changed:  # forecasts rest on the verdicts that were
                pool.forget_forecasts()
            await pool.flush()
            after = _accuracies(pool)
            accuracy = {run: (before[run], after[run]) for run in after}
            verifiers = {row.id: figures for row in pool.runs() if (figures := verifier_figures(pool, row))}
        return Regraded(len(names), self.n_texts, dict(self.changed), accuracy, verifiers)

    async def _problem(self, world: World, pool: SqlitePool, name: str, final: list[tuple[str, str]]) -> float:
        """One problem: its texts, their scores and verdicts, the final answers of the runs; the share of those correct.

        Nothing is written before all is known, so that whatever breaks it leaves the problem as it was.
        """
        example = pool.problem(name)
        assert example is not None
        shown = {d: truncated(s, Endings(max_tokens=n)) or s for d, n, s in pool.used_samples(name, ANSWER_ROLES)}
        texts = {digest: Candidate(s.text, lineage=(s.address,), sample=s) for digest, s in shown.items()}
        texts |= {d: Candidate(text) for _, text in final if (d := text_digest(text)) not in texts}
        scores = await self._verified(world, example.problem, texts)
        own = grader_of(pool.task_of(name))
        grader = self.grader or own
        problem = read_by(example.problem, grader) if self.grader in READERS else example.problem
        llm = LLM.at_desk(world, problem)
        rows = await graded(grader, replace(example, problem=problem), _read(problem, texts), llm, anew=True)
        self._note(pool.verdicts(name), rows)
        for verifier, judged in scores.items():
            pool.replace_scores(verifier, name, judged)
        pool.add_verdicts(name, rows)
        pool.note_grader(name, None if grader == own else grader)
        for run, text in final:
            pool.add_answer(run, name, text, *rows[text_digest(text)])
        return sum(rows[text_digest(text)][1].correct for _, text in final) / max(len(final), 1)

    async def _verified(
        self, world: World, problem: Problem, texts: Mapping[int, Candidate]
    ) -> dict[str, dict[int, Score]]:
        """What the verifier says of each text, by its name; nothing where there is none, or where it asks a model."""
        name = self.verifier or problem.verifier
        if name is None or not texts or not _accepts(SCORERS[name]):
            return {}
        read = _read(problem, texts)
        scores = await LLM.at_desk(world, problem).scored_anew(name, problem, Candidates(tuple(read.values())))
        judged = {d: score for d, score in zip(read, scores, strict=True) if not score.not_judged}
        return {name: judged} if judged else {}

    def _note(self, before: Mapping[int, Verdict], rows: Rows) -> None:
        self.n_texts += len(rows)
        for digest, (_, verdict) in rows.items():
            old = before[digest].outcome if digest in before else "not graded"
            if old != verdict.outcome:
                self.changed[f"{old} -> {verdict.outcome}"] += 1


def _read(problem: Problem, texts: Mapping[int, Candidate]) -> dict[int, Candidate]:
    read = READERS[problem.reader]
    return {digest: replace(c, answer=read(problem, c.text)) for digest, c in texts.items()}


def _final_texts(pool: SqlitePool) -> dict[str, list[tuple[str, str]]]:
    """By problem: run and text of every final answer."""
    found: dict[str, list[tuple[str, str]]] = {}
    for row in pool.runs():
        for answer in pool.answers(row.id):
            if answer.text is not None:
                found.setdefault(answer.problem, []).append((row.id, answer.text))
    return found


def _accuracies(pool: SqlitePool) -> dict[str, float]:
    found = {}
    for row in pool.runs():
        if answers := pool.answers(row.id):
            found[row.id] = sum(a.outcome == _RIGHT for a in answers) / len(answers)
    return found
