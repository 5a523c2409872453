"""What came from another program's files: how an imported text is read, what the file said of it, its own figures.

The reader "imported" reads as the reader of ``hints["reads"]`` does. ``hints["alone"]`` says that the texts are answers without
the work that led to them; ``hints["verdicts"]`` that the file itself said which are right: then the grader is "recorded", and
answers that are equal are still told apart by the text that they stand in. The pool keeps scores and verdicts by text,
so equal texts of one problem that the file valued differently carry a last line (``marked``) that no reader sees.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..types import Answer, Candidates, Json, Problem, Score, Verdict, text_digest
from .text import short

READER = "imported"
VERDICTS = "grader:recorded"  # under this name the pool keeps what a file said of a text; no scorer has such a name
CONFIDENCE = "confidence"

_MARK = re.compile(r"\n\[sample \d+ of problem [^\n]* of import/[^\n]*\]\Z")
_ALONE = {"math": "\\boxed{%s}", "number": "Answer: %s"}  # how an answer stands in a text, where a bare one is not read


@dataclass(frozen=True, slots=True)
class RecordedAnswer(Answer):
    """An answer that knows the text that it stands in, by its digest: the file may have said different things of equal ones."""

    of: int = 0


def marked(text: str, index: int, problem: str, model: str) -> str:
    """The text with a last line that says which sample it is of.

    >>> marked("7", 2, "5", "import/mine")
    '7\\n[sample 2 of problem 5 of import/mine]'
    """
    return f"{text}\n[sample {index} of problem {problem} of {model}]"


def unmarked(text: str) -> str:
    """The text as it was imported.

    >>> unmarked(marked("7", 2, "5", "import/mine"))
    '7'
    """
    return _MARK.sub("", text)


def read_by(problem: Problem, reader: str) -> Problem:
    """The problem with its answers found by another reader; an imported text is still taken for what it is.

    >>> read_by(Problem("p", (), "number"), "math").reader
    'math'
    >>> read_by(Problem("p", (), "imported", hints={"reads": "number"}), "math").hints
    {'reads': 'math'}
    """
    if problem.reader != READER:
        return replace(problem, reader=reader)
    return replace(problem, hints={**problem.hints, "reads": reader})


def read(problem: Problem, text: str) -> Answer | None:
    r"""What the reader of ``hints["reads"]`` finds in the text as it was imported.

    >>> p = Problem("p", (), "imported", hints={"reads": "math", "alone": True})
    >>> read(p, marked(r"\frac{1}{2}", 3, "p", "import/mine")).key
    '1/2'
    """
    from . import READERS

    body, reads = unmarked(text), str(problem.hints.get("reads", "exact"))
    inner = replace(problem, reader=reads)
    found = None
    if problem.hints.get("alone") and reads in _ALONE and body.strip():
        found = READERS[reads](inner, _ALONE[reads] % body.strip())
    found = found or READERS[reads](inner, body)
    if not problem.hints.get("verdicts"):
        return found
    of = text_digest(text)
    if found is not None:
        return RecordedAnswer(found.text, found.key, of)
    # The file may call right what our reader finds no answer in: such a text votes for itself.
    return RecordedAnswer(short(body.strip()), f"text {of}", of) if body.strip() else None


async def classes(problem: Problem, candidates: Candidates, llm: Any) -> list[str | None]:
    """The classes that the grouper of the reader ``hints["reads"]`` gives, or the keys where it has none."""
    from . import GROUPERS

    reads = str(problem.hints.get("reads", "exact"))
    grouper = GROUPERS.get(reads)
    if grouper is None:
        return [c.key for c in candidates]
    return await grouper(replace(problem, reader=reads), candidates, llm)


async def grade(problem: Problem, target: Json, answers: Sequence[Answer | None], llm: Any) -> list[Verdict]:
    """What the imported file said of the text of each answer, which the pool keeps; the target is not looked at."""
    texts = [answer.of for answer in answers if isinstance(answer, RecordedAnswer)]
    kept = llm.world.pool.scores(VERDICTS, problem.id, texts, 0) if texts and llm is not None else {}
    return [_said(kept.get(answer.of) if isinstance(answer, RecordedAnswer) else None, answer) for answer in answers]


def _said(score: Score | None, answer: Answer | None) -> Verdict:
    if answer is None:
        return Verdict("incorrect", "no answer")
    if score is None or score.accepted is None:
        return Verdict("not_judged", "no verdict was imported with this text; vervet regrade --grader NAME judges it")
    return Verdict("correct" if score.accepted else "incorrect")


class Confidence:
    """The confidence that was imported with a sample, as it is: higher is surer. It accepts nothing. Cost: none."""

    of_sample = True

    async def __call__(self, problem: Problem, candidates: Candidates, llm: Any) -> list[Score]:
        """One score per candidate; one that came without a confidence, or is no sample, is not judged."""
        models = {c.sample.address.stream.model for c in candidates if c.sample is not None}
        texts = [text_digest(c.text) for c in candidates]
        pool = llm.world.pool
        kept = {m: pool.scores(f"{CONFIDENCE}@{m}", problem.id, texts, 0) for m in models}
        none = Score(not_judged="no confidence was imported with this sample")
        return [
            none if c.sample is None else kept[c.sample.address.stream.model].get(text, none)
            for c, text in zip(candidates, texts, strict=True)
        ]
