"""Problems and some of their samples as a person looks at them: what was asked, what came, what it was worth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from vervet.pool.rows import RunRow
from vervet.pool.store import SqlitePool
from vervet.report.figures import ShownProblem, ShownSample
from vervet.run.declared import counts_of, draws_of
from vervet.scaling.draws import Draws
from vervet.types import Example, Sample, canonical_json, text_digest
from vervet.verify import READERS

MOST_PROBLEMS = 300  # with samples; the others are rows of figures alone
LOOKED_AT, SHOWN = 32, 6  # samples of a problem that are read, and that are shown: right and wrong ones
_LONGEST = 4000  # characters of a text


def shown_problems(pool: SqlitePool, row: RunRow) -> list[ShownProblem]:
    """Every finished problem of a run with its success rate and what the vote chose; samples for the first 300."""
    draws = draws_of(pool, row)
    return [_problem(pool, row, name, draws, i) for i, name in enumerate(counts_of(pool, row).problems)]


def _problem(pool: SqlitePool, row: RunRow, name: str, draws: Draws, i: int) -> ShownProblem:
    example = pool.problem(name)
    keys = [key for key in draws.keys[i] if key is not None]
    voted = Counter(keys).most_common(1)[0][0] if keys else None
    place = list(draws.keys[i]).index(voted) if keys else None
    samples = _samples(pool, row, name, example) if example is not None and i < MOST_PROBLEMS else []
    return ShownProblem(
        id=name, prompt=_prompt(example), target=_target(example), n=draws.n, correct=int(draws.right[i].sum()),
        voted=voted, voted_correct=False if place is None else draws.correct[i][place], samples=samples,
    )  # fmt: skip


def _samples(pool: SqlitePool, row: RunRow, name: str, example: Example) -> list[ShownSample]:
    """Right and wrong ones, by turns where there are both, in index order."""
    verdicts, read = pool.verdicts(name), READERS[example.problem.reader]
    rows = []
    for sample in pool.samples_of(name, LOOKED_AT, row.id):
        verdict, answer = verdicts.get(text_digest(sample.text)), read(example.problem, sample.text)
        if verdict is not None:  # else what a judge said, or a plan
            said = answer.text if answer else None
            rows.append(ShownSample(sample.address.index, _text(sample), said, verdict.outcome, sample.n_tokens))
    right = [s for s in rows if s.outcome == "correct"]
    wrong = [s for s in rows if s.outcome != "correct"]
    kept = _both(right, wrong)
    return sorted(kept, key=lambda s: s.index)


def _both(right: Sequence[ShownSample], wrong: Sequence[ShownSample]) -> list[ShownSample]:
    n_right = min(len(right), max(SHOWN // 2, SHOWN - len(wrong)))
    return [*right[:n_right], *wrong[: SHOWN - n_right]]


def _text(sample: Sample) -> str:
    text = f"{sample.reasoning}\n\n{sample.text}".strip() if sample.reasoning else sample.text
    return text if len(text) <= _LONGEST else text[:_LONGEST] + " ..."


def _prompt(example: Example | None) -> str:
    if example is None:
        return ""
    contents = [message["content"] for message in example.problem.messages]
    return "\n\n".join(content if isinstance(content, str) else canonical_json(content) for content in contents)


def _target(example: Example | None) -> str:
    if example is None or example.target is None:
        return ""
    return example.target if isinstance(example.target, str) else canonical_json(example.target)
