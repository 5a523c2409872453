"""Answers that are one number: reader and grader. Equal numbers meet under one key, however they are written."""

from __future__ import annotations

from fractions import Fraction

from ..types import Answer, Json, Problem, Verdict
from .answer_line import answer_line

FORM = "Reason step by step. End with one line of this form: Answer: NUMBER"


def _number(text: str) -> Fraction | None:
    try:
        return Fraction(text.replace(",", "").replace(" ", ""))
    except (ValueError, ZeroDivisionError):
        return None


def read(problem: Problem, text: str) -> Answer | None:
    """The number on the answer line; None where there is no such line or no number on it.

    >>> p = Problem("p", (), "number")
    >>> read(p, "Answer: 1,200.0").key
    '1200'
    """
    line = answer_line(text)
    number = None if line is None else _number(line)
    return None if line is None or number is None else Answer(line, str(number))


def grade(problem: Problem, target: Json, answer: Answer | None) -> Verdict:
    """Correct where the number equals the target; no answer is incorrect.

    >>> grade(Problem("p", (), "number"), 7, Answer("7.0", "7")).outcome
    'correct'
    """
    expected = _number(str(target))
    if expected is None:
        return Verdict("not_judged", f"the target is no number: {target!r}")
    correct = answer is not None and answer.key == str(expected)
    return Verdict("correct" if correct else "incorrect", "" if answer else "no answer")
