"""Readers, verifiers and graders: one kind of answer per file; add a name here and a task can use it.

A reader finds the answer in a text and its canonical key, the same for voting as for grading. A verifier is a scorer
that may be asked at inference time; a grader knows the target, and only the run holds it. A grouper says which answers
share a vote where their keys do not.
"""

from __future__ import annotations

from ..types import Grader, Grouper, Reader, Scorer
from . import block, choice, code, code_text, command, countdown, ifeval, math, number, recorded, text, text_json
from .confidence import MeanLogprob
from .judge import Judge, JudgeGrader, verdict_in
from .prefer import Prefer
from .reward import Reward

READERS: dict[str, Reader] = {
    "block": block.read,
    "choice": choice.read,
    "code": code_text.read,
    "countdown": countdown.read,
    "exact": text.read_exact,
    "expression": code_text.read_expression,
    "gsm8k": math.read_gsm8k,
    "ifeval": ifeval.read,
    "imported": recorded.read,
    "json": text_json.read,
    "math": math.read,
    "normalised": text.read_normalised,
    "number": number.read,
    "regex": text.read_regex,
}
FORMS: dict[str, str] = {  # what a reader needs, for any model
    "block": block.FORM,
    "choice": choice.FORM,
    "code": code_text.FORM,
    "countdown": countdown.FORM,
    "exact": text.FORM_EXACT,
    "expression": code_text.EXPRESSION_FORM,
    "gsm8k": math.FORM_GSM8K,
    "json": text_json.FORM,
    "math": math.FORM,
    "normalised": text.FORM_NORMALISED,
    "number": number.FORM,
}
SCORERS: dict[str, Scorer] = {
    "behaviour": code.behaviour,
    "check": Judge("check", verdict_in),
    "code": code.verify,
    "command": command.verify,
    "confidence": recorded.Confidence(),
    "countdown": countdown.verify,
    "examples": code.verify_examples,
    "ifeval": ifeval.verify,
    "judge": Judge(),
    "mean_logprob": MeanLogprob(),
    "prefer": Prefer(),
    "reward": Reward(),
}
GRADERS: dict[str, Grader] = {
    "choice": choice.grade,
    "code": code.grade,
    "command": command.grade,
    "countdown": countdown.grade,
    "exact": text.grade_exact,
    "gsm8k": math.grade_gsm8k,
    "ifeval": ifeval.grade,
    "ifeval_loose": ifeval.grade_loosely,
    "json": text_json.grade,
    "judge": JudgeGrader(),
    "math": math.grade,
    "normalised": text.grade_normalised,
    "number": number.grade,
    "recorded": recorded.grade,
    "regex": text.grade_regex,
}
GROUPERS: dict[str, Grouper] = {  # by reader, where the key of an answer does not decide with whom it votes
    "code": code.classes,
    "expression": code.classes,
    "gsm8k": math.classes,
    "imported": recorded.classes,
    "math": math.classes,
}

EXECUTING = frozenset({"behaviour", "code", "command", "examples"})  # run what they judge, so that their word is kept

__all__ = ["EXECUTING", "FORMS", "GRADERS", "GROUPERS", "READERS", "SCORERS", "MeanLogprob"]
