"""Readers, verifiers and graders: one kind of answer per file; add a name here and a task can use it.

A reader finds the answer in a text and its canonical key, the same for voting as for grading. A verifier is a scorer
that may be asked at inference time; a grader knows the target, and only the run holds it.
"""

from __future__ import annotations

from ..types import Reader, Scorer
from . import countdown, number
from .confidence import MeanLogprob

READERS: dict[str, Reader] = {"countdown": countdown.read, "number": number.read}
FORMS: dict[str, str] = {"countdown": countdown.FORM, "number": number.FORM}  # what a reader needs, for any model
SCORERS: dict[str, Scorer] = {"countdown": countdown.verify, "mean_logprob": MeanLogprob()}

__all__ = ["FORMS", "READERS", "SCORERS", "MeanLogprob"]
