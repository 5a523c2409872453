"""A reply that came whole, read into deliveries: by a connection, from a batch file, or at the end of a stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ...errors import MissingFigures
from ...types import Bill, Delivery, Failure, Json, Request, Sample
from . import failures
from .body import Plan
from .config import Entry
from .replies import Growing, deliveries
from .usage import Usage, read_usage

if TYPE_CHECKING:
    from . import HttpModel

_NO_BILL = Bill()


def read_whole(model: HttpModel, request: Request, plan: Plan, data: Json) -> list[Delivery]:
    """The deliveries of a reply's JSON; the model learns how many samples a request brings."""
    if (error := error_in(data)) is not None:
        return all_failed(plan, failures.of_error(model.entry, error, arrived=False))
    choices = choices_in(data)
    if not choices:
        failure = failures.of_break(model.entry, "failed", "expected choices in the reply, but there are none")
        return all_failed(plan, failure, bound(plan))
    grown = []
    for choice in choices[: len(plan.indices)]:
        grown.append(Growing(plan))
        grown[-1].add(choice)
    if len(grown) < len(plan.indices):
        model.learn_n(len(grown))
    if plan.cut is not None and (failed := check_cut(model.entry, grown[0])) is not None:
        return all_failed(plan, failed, bound(plan))
    first_alone = len(grown) > 1 and _counts_one(data, grown)
    if first_alone:
        model.learn_n(1)  # so that the next bills are exact
    return finished(model, request, plan, grown, data.get("usage"), revision_of(data), first_alone)


def _counts_one(data: Mapping[str, Json], grown: Sequence[Growing]) -> bool:
    """Whether the usage of several samples is that of one, as llama.cpp's: by its timings, or by the figures."""
    usage, timings = data.get("usage"), data.get("timings")
    told = usage.get("completion_tokens") if isinstance(usage, Mapping) else None
    if type(told) is not int or not told:
        return False
    first, others = grown[0].n_tokens, sum(g.n_tokens for g in grown[1:])
    timed = isinstance(timings, Mapping) and timings.get("predicted_n") == told
    return timed or (others > 1 and told - first in (0, 1))


def finished(
    model: HttpModel,
    request: Request,
    plan: Plan,
    grown: Sequence[Growing],
    usage: Json,
    revision: str | None,
    first_alone: bool = False,
) -> list[Delivery]:
    """The deliveries of samples that came to their ends, looked at by the guard."""
    counted = grown[:1] if first_alone else grown
    found = deliveries(plan, grown, _checked_usage(model, plan, counted, usage), len(counted))
    if plan.k is not None and any(g.has_text and not g.n_tokens and not g.is_call for g in grown):
        model.warn("it was asked for logprobs and sent none; its samples have no figures")
    samples = [d.outcome for d in found if isinstance(d.outcome, Sample)]
    if len(samples) < len(found):
        found = [
            d if isinstance(d.outcome, Sample) else replace(d, outcome=named(model.entry, d.outcome)) for d in found
        ]
    model.guard.see(request, samples, revision)
    return found


def _checked_usage(model: HttpModel, plan: Plan, grown: Sequence[Growing], data: Json) -> Usage | None:
    """The server's figures where they can be true; where they cannot, that is said once."""
    seen = sum(g.n_tokens for g in grown)
    least = max(seen, int(any(g.has_text for g in grown)))
    usage = read_usage(data, least, len(grown) * plan.n_new)
    if usage is not None and plan.known is None:
        model.learn_prompt(plan.stream.question, usage.prompt)
    if usage is None and data is not None:
        model.warn(f"its usage cannot be true, so the bound is booked: {str(data)[:200]}")
    return usage


def check_cut(entry: Entry, grown: Growing) -> Failure | None:
    """See whether the cut rule fires; where the server keeps its figures to itself, no rule can."""
    try:
        grown.check_cut()
    except MissingFigures as error:
        return failures.of_break(entry, "failed", f"the cut rule cannot see what it needs: {error}")
    if not grown.n_tokens and grown.has_text and not grown.is_call:
        return failures.of_break(entry, "fatal", "it sent no logprobs, which a cut rule needs; draw without cut")
    return None


def named(entry: Entry, outcome: Sample | Failure) -> Sample | Failure:
    """The outcome; a failure's reason begins with the server."""
    return outcome if isinstance(outcome, Sample) else replace(outcome, reason=f"{entry.host}: {outcome.reason}")


def all_failed(plan: Plan, failure: Failure, bill: Bill = _NO_BILL) -> list[Delivery]:
    """The same failure for every index; the bill of the whole request comes with the first."""
    return [Delivery(index, failure, _NO_BILL if at else bill) for at, index in enumerate(plan.indices)]


def bound(plan: Plan) -> Bill:
    """What a request may have cost at most."""
    return Bill(unsettled_tokens=plan.bound_tokens)


# --- parts of a reply ----------------------------------------------------------------------------------


def error_in(data: Json) -> Json:
    """The error that a body or an event holds, or None."""
    if not isinstance(data, Mapping):
        return None
    return data if data.get("object") == "error" else data.get("error") or None


def choices_in(data: Json) -> list[Mapping[str, Json]]:
    """The choices of a reply or an event, by their index."""
    choices = data.get("choices") if isinstance(data, Mapping) else None
    found = [c for c in choices if isinstance(c, Mapping)] if isinstance(choices, list) else []
    return sorted(found, key=lambda c: c["index"] if type(c.get("index")) is int else 0)


def revision_of(data: Mapping[str, Json]) -> str | None:
    """The model and the fingerprint that a reply names."""
    parts = [data[name] for name in ("model", "system_fingerprint") if isinstance(data.get(name), str)]
    return "/".join(parts) or None
