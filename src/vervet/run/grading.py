"""What answers are worth: classes, verdicts, and how far the run's verifiers agree with the grader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby

from ..errors import LimitReached, VervetError
from ..llm import LLM, Desk
from ..operators import Operator
from ..pool import SqlitePool
from ..pool.rows import RunRow
from ..scaling.imperfect import Imperfect, imperfect
from ..types import Answer, Candidate, Candidates, Example, Reader, Score, Verdict
from ..verify import EXECUTING, GRADERS
from .declared import FIRST, declared_draws

ANSWER_ROLES = ("answer", "repair")

_GRADES = "grader:{}"  # under this name the pool keeps what a grader that runs code said; no scorer has such a name
_RIGHT = {"correct": True, "incorrect": False}

Rows = dict[int, tuple[Answer | None, Verdict]]


def answers_of(desk: Desk, readers: Mapping[str, Reader]) -> dict[int, Candidate]:
    """The texts that were drawn as answers to a problem, read, by text digest."""
    read, problem = readers[desk.problem.reader], desk.problem
    return {
        use.text_digest: Candidate(sample.text, read(problem, sample.text), lineage=(sample.address,), sample=sample)
        for use, sample in {u.text_digest: (u, s) for u, s in desk.uses if u.role in ANSWER_ROLES}.values()
    }


async def graded(grader: str, example: Example, texts: Mapping[int, Candidate], llm: LLM, anew: bool = False) -> Rows:
    """The verdict of each text, and its answer under the key of the class in which it votes; no answer is incorrect.

    Cost: one grade per distinct answer, what the grouper runs, and what a grader asks of a model. What a grader that runs
    code has said of a text is looked up, unless it is to be graded ``anew``.
    """
    candidates = Candidates(tuple(texts.values()))
    keys = await llm.keys(example.problem, candidates)
    known = _kept(grader, list(texts), llm) if not anew else {}
    new = {digest: c.answer for digest, c in texts.items() if c.answer is not None and digest not in known}
    answers = list(dict.fromkeys(new.values()))
    found = dict(zip(answers, await _verdicts(grader, example, answers, llm), strict=True))
    verdicts = {**known, **{digest: found[answer] for digest, answer in new.items()}}
    _keep(grader, {digest: verdicts[digest] for digest in new}, llm, anew)
    rows: Rows = {}
    for digest, candidate, key in zip(texts, candidates, keys, strict=True):
        if candidate.answer is None:
            rows[digest] = (None, Verdict("incorrect", "no answer"))
        else:
            voting = None if key is None else replace(candidate.answer, key=key)
            rows[digest] = (voting, verdicts[digest])
    return rows


def _kept(grader: str, texts: Sequence[int], llm: LLM) -> dict[int, Verdict]:
    if grader not in EXECUTING:
        return {}
    scores = llm.world.pool.scores(_GRADES.format(grader), llm.problem.id, texts, 0)
    return {d: Verdict("correct" if s.accepted else "incorrect", s.evidence) for d, s in scores.items()}


def _keep(grader: str, verdicts: Mapping[int, Verdict], llm: LLM, anew: bool) -> None:
    if grader not in EXECUTING:
        return
    rows = {d: Score(None, v.correct, evidence=v.reason) for d, v in verdicts.items() if v.judged}
    if anew:
        llm.world.pool.replace_scores(_GRADES.format(grader), llm.problem.id, rows)
    else:
        llm.world.pool.add_scores(_GRADES.format(grader), llm.problem.id, rows, 0)


async def _verdicts(grader: str, example: Example, answers: Sequence[Answer], llm: LLM) -> list[Verdict]:
    """What the grader says; where it fails, each answer alone, so that one that breaks it takes no other with it."""
    if not answers:
        return []
    try:
        return await GRADERS[grader](example.problem, example.target, answers, llm)
    except LimitReached as limit:
        return [Verdict("not_judged", str(limit)) for _ in answers]
    except VervetError:
        raise
    except Exception as error:
        if len(answers) == 1:
            return [Verdict("not_judged", f"the grader failed: {type(error).__name__}: {error}")]
        return [v for answer in answers for v in await _verdicts(grader, example, [answer], llm)]


async def verify_all(operator: Operator, texts: Mapping[int, Candidate], llm: LLM) -> None:
    """Let every verifier that asks no model judge every answer, so that it can be compared with the grader."""
    names = {name for name in operator.scorers if name != "verifier"} | {llm.problem.verifier}
    for name in sorted(filter(None, names)):
        found = llm.world.scorer(name)
        if not getattr(found, "of_sample", False) and getattr(found, "asks", None) is None:
            await llm.score(name, llm.problem, Candidates(tuple(texts.values())))


def verifier_figures(pool: SqlitePool, row: RunRow) -> dict[str, Imperfect]:
    """Each verifier of a run against the grader, on the declared draws; none where what was drawn ended the drawing.

    A verifier that asks a model is compared only where it judged every draw: those that were judged until one was
    accepted are no fair sample of all.
    """
    n, found = declared_draws(row), dict[str, Imperfect]()
    if n is None:
        return found
    for scorer in pool.verifiers(row.id):
        rows = [list(draws) for _, draws in groupby(pool.checked(row.id, scorer, FIRST), key=lambda draw: draw[0])]
        accepted, correct = [], []
        for draws in rows:
            lost: list[bool | None] = [False] * (n - len(draws))  # failed or refused: neither accepted nor correct
            accepted.append([*(None if a is None else bool(a) for _, a, _ in draws), *lost])
            correct.append([*(_RIGHT.get(outcome or "") for _, _, outcome in draws), *lost])
        partly = any(a is None for row in accepted for a in row)
        if rows and not ("@" in scorer and partly):
            found[scorer] = imperfect(accepted, correct, row.identity["seed"])
    return found
