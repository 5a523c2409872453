"""Out of a pool: the samples that runs used, in the forms that training libraries read.

Only draws that are answers go out (roles "answer" and "repair"), as they were used: a sample of which a run used fewer tokens
than are stored goes out as that run saw it. One problem at a time is in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from ..errors import Mistake
from ..models.endings import truncated
from ..pool import SqlitePool, open_pool
from ..pool.draws import DrawRow, draws_of, has_reasoning, problems_of, scorers, scores_of, values_steps
from ..pool.rows import RunRow
from ..run.grading import ANSWER_ROLES
from ..types import Endings, Example, Json, Question, Sample, Score, text_digest
from .forms import FORMS, Asked, Choice, Draw
from .written import Types, expect_path, write

_LONGEST_STOP: Final = 256  # characters: a text that ended at a stop string is shorter than its tokens by at most these
_MESSAGES: Final = [{"role": "text", "content": "text"}]
_TYPES: Final[Mapping[str, Types]] = {
    "samples": {
        **dict.fromkeys(("problem", "task", "split"), "text"), "prompt": _MESSAGES,
        "model": "text", "question": "text", "replicate": "int", "scope": "text", "index": "int",
        **dict.fromkeys(("role", "text", "reasoning", "tool_calls", "answer", "key", "outcome"), "text"),
        "tokens": "int", "prompt_tokens": "int", "mean_logprob": "float", "ended": "text",
        "scores": [{"scorer": "text", "value": "float", "accepted": "bool", "steps": ["float"]}],
    },
    "sft": {"prompt": _MESSAGES, "completion": _MESSAGES},
    "pairs": {"prompt": _MESSAGES, "chosen": _MESSAGES, "rejected": _MESSAGES},
    "steps": {"prompt": "text", "completions": ["text"], "labels": ["bool"], "values": ["float"]},
    "groups": {
        "data_source": "text", "prompt": _MESSAGES, "ability": "text",
        "reward_model": {"style": "text", "ground_truth": "text"},
        "extra_info": {"split": "text", "index": "int", "problem": "text", "model": "text"},
        "responses": ["text"], "rewards": ["float"],
    },
}  # fmt: skip
_REPLIES: Final = ("completion", "chosen", "rejected")


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: rows, of how many problems, and how many draws (of an excluded split: problems) were left out, and why."""

    path: str
    form: str
    rows: int
    problems: int
    draws: int
    left_out: Mapping[str, int]

    @property
    def data(self) -> dict[str, Json]:
        """As one JSON object."""
        return asdict(self)


def export(
    pool: str, path: str, form: str, *, run: str | None = None, task: str | None = None, scorer: str | None = None,
    limit: int | None = None, exclude: Collection[str] = (), margin: float = 0.0, threshold: float = 0.5, seed: int = 0,
    force: bool = False,
) -> Exported:  # fmt: skip
    """Write the samples of a pool to a Parquet or JSON lines file, in one of ``FORMS``.

    ``run``: only draws that it used (the beginning of its id is enough); ``task``: only its problems; ``exclude``: no problem
    that any run took from one of these splits. ``scorer``: its word counts in the place of the grader's. ``limit``: rows a
    problem at the most (of ``groups``: responses a group), the first by index; of ``pairs`` the ``seed`` draws which.
    ``margin``: how far two scores must lie apart for a pair; ``threshold``: from which value on a step is labelled right.
    Raises ``Mistake``, and writes nothing, for a name that is not there, for an existing file without ``force``, and where
    nothing is left to write; ``MissingExtra`` for Parquet without pyarrow.
    """
    if form not in FORMS:
        raise Mistake(f"expected a form ({', '.join(FORMS)}), but got {form!r}")
    if limit is not None and limit < 1:
        raise Mistake(f"expected a limit of at least 1, but got {limit}")
    expect_path(path, force)
    with open_pool(pool) as opened:
        chosen = None if run is None else opened.run_of(run)
        known = scorers(opened)
        judge = _scorer_of(opened, form, scorer, known)
        choice = Choice(judge, limit, margin, threshold, seed, form in ("sft", "pairs") and has_reasoning(opened))
        left: Counter[str] = Counter()
        source = _Source(opened, chosen, known if form == "samples" and judge is None else [judge] if judge else [])
        wanted = source.wanted(task, exclude, left)
        counts = Counter[str]()
        n = write(path, _rows(source, wanted, form, choice, left, counts), _types(form, choice), force)
    left_out = {why: count for why, count in left.most_common() if count}
    if not n:
        listed = "; ".join(f"{why}: {count:,}" for why, count in left_out.items()) or "no answer was drawn"
        raise Mistake(f"nothing of {pool} can be exported as {form} ({listed}); no file was written")
    return Exported(path, form, n, counts["problems"], counts["draws"], left_out)


def _rows(
    source: _Source, wanted: Sequence[str], form: str, choice: Choice, left: Counter[str], counts: Counter[str]
) -> Iterator[dict[str, Any]]:
    for problem in wanted:
        asked = source.asked(problem, left)
        counts["draws"] += len(asked.draws)
        empty = True
        for row in FORMS[form](asked, choice, left):
            empty = False
            if "extra_info" in row:
                row["extra_info"]["index"] = counts["rows"]
            counts["rows"] += 1
            yield row
        counts["problems"] += not empty


def _types(form: str, choice: Choice) -> Types:
    types = dict(_TYPES[form])
    if choice.reasoning:
        types |= {name: [{**_MESSAGES[0], "reasoning_content": "text"}] for name in _REPLIES if name in types}
    return types


@dataclass(slots=True)
class _Source:
    """A pool, problem by problem."""

    pool: SqlitePool
    run: RunRow | None
    scorers: Sequence[str]
    splits: dict[str, str] | None = None

    def wanted(self, task: str | None, exclude: Collection[str], left: Counter[str]) -> list[str]:
        """The problems that are asked for and in no excluded split."""
        found = problems_of(self.pool, self.run.id) if self.run else self.pool.problems()
        tasks = {problem: self.pool.task_of(problem) for problem in found}
        if task is not None and task not in tasks.values():
            raise Mistake(f"expected a task ({', '.join(sorted(set(tasks.values())))}), but got {task!r}")
        rows = self.pool.runs()
        known = sorted({str(split) for row in rows if (split := row.identity.get("split"))})
        if missing := sorted(set(exclude) - set(known)):
            raise Mistake(f"expected a split that a run used ({', '.join(known) or 'none'}), but got {missing[0]!r}")
        without = {p for row in rows if row.identity.get("split") in exclude for p in problems_of(self.pool, row.id)}
        wanted = [problem for problem in found if task in (None, tasks[problem])]
        chosen = [problem for problem in wanted if problem not in without]
        left["problems of an excluded split"] += len(wanted) - len(chosen)
        return chosen

    def asked(self, problem: str, left: Counter[str]) -> Asked:
        """A problem with its draws."""
        example = self.pool.problem(problem)
        assert example is not None
        scores = scores_of(self.pool, problem, self.scorers) if self.scorers else {}
        questions: dict[str, Question] = {}
        draws = []
        for row in draws_of(self.pool, problem, ANSWER_ROLES, self.run.id if self.run else None):
            shown = as_used(row.sample, row.n_tokens, row.text)
            if shown is None:
                left["the text as it was used is not stored"] += 1
                continue
            stream = shown.address.stream
            if stream.question not in questions:
                questions[stream.question] = self._question(stream.question, example)
            of = scores.get((stream.replicate, row.text), {})
            draws.append(_draw(row, shown, questions[stream.question], of))
        return Asked(example, self.pool.task_of(problem), self._split(problem), draws)

    def _question(self, digest: str, example: Example) -> Question:
        """What was asked; where the question is not stored, the problem."""
        try:
            return self.pool.question(digest)
        except Mistake:
            return Question(example.problem.messages)

    def _split(self, problem: str) -> str:
        """The split that a run took the problem from."""
        if self.splits is None:
            rows = [self.run] if self.run else self.pool.runs()
            self.splits = {
                p: str(split)
                for row in rows
                if (split := row.identity.get("split"))
                for p in problems_of(self.pool, row.id)
            }
        return self.splits.get(problem, "")


def as_used(sample: Sample, n_tokens: int, text: int) -> Sample | None:
    """A stored sample as a run used it, whose text has this digest; None where it cannot be told any more.

    >>> from vervet.types import Stream
    >>> whole = Sample(Stream("m", "q").at(0), "aabbcc", "eos", 3)
    >>> as_used(whole, 3, text_digest("aabbcc")) is whole, as_used(whole, 3, text_digest("aab")).text
    (True, 'aab')
    >>> as_used(whole, 3, text_digest("other")) is None
    True
    """
    shown = sample if n_tokens >= sample.n_tokens else truncated(sample, Endings(max_tokens=n_tokens))
    if shown is None or text_digest(shown.text) == text:
        return shown
    for length in range(len(shown.text) - 1, max(0, len(shown.text) - _LONGEST_STOP) - 1, -1):
        if text_digest(shown.text[:length]) == text:
            return replace(shown, text=shown.text[:length], ended="stop:")
    return None


def _draw(row: DrawRow, shown: Sample, asked: Question, scores: Mapping[str, Score]) -> Draw:
    mean = row.mean_logprob if row.n_tokens >= row.sample.n_tokens else None
    if shown.trace is not None and shown.trace.logprob and mean is None:
        mean = sum(shown.trace.logprob) / len(shown.trace.logprob)
    return Draw(shown, row.role, asked.messages, asked.prefill or "", mean, row.answer, row.key, row.outcome, scores)


def _scorer_of(pool: SqlitePool, form: str, name: str | None, known: Sequence[str]) -> str | None:
    """The scorer of this name, with its model or without; for steps the one that gives any."""
    if name is not None:
        found = [scorer for scorer in known if name in (scorer, scorer.partition("@")[0])]
        if len(found) != 1:
            listed = ", ".join(found or known) or "none: let a run use one, as in generate(n=8) | best(by='reward')"
            raise Mistake(f"expected a scorer of {pool.path} ({listed}), but got {name!r}")
        return found[0]
    if form != "steps":
        return None
    giving = [scorer for scorer in known if values_steps(pool, scorer)]
    if len(giving) > 1:
        raise Mistake(f"several scorers value steps: say which with --scorer ({', '.join(giving)})")
    if not giving:
        raise Mistake(
            f"no scorer of {pool.path} values steps: run an architecture that scores with a process reward model first, as in "
            "vervet run TASK --with \"generate(n=8) | best(by='reward')\" --reward MODEL"
        )
    return giving[0]
