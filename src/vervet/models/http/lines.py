"""Requests as lines of a batch file, and what a provider writes for them: the same bodies and tables as live."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ...types import Delivery, Json, Request, Sample, Stream
from ..batch import Line
from . import failures
from .body import Plan, plan_of
from .reading import read_whole

if TYPE_CHECKING:
    from . import HttpModel

_PATHS = {"chat": "/v1/chat/completions", "completions": "/v1/completions"}  # batch files name them so, on any server


def line_of(model: HttpModel, request: Request, stream: Stream, index: int, so_far: Sample | None) -> Line:
    """The request of one index, with the index's own seed."""
    return Line(_PATHS[model.entry.api], json.loads(_plan(model, request, stream, index, so_far).data))


def delivery_of(
    model: HttpModel, request: Request, stream: Stream, index: int, so_far: Sample | None, status: int, body: Json
) -> Delivery:
    """What a status and a body bring for one index."""
    if status != 200:
        told = body if isinstance(body, str) else json.dumps(body)
        return Delivery(index, failures.of_status(model.entry, status, {}, told.encode("utf-8", "replace")))
    (delivery,) = read_whole(model, request, _plan(model, request, stream, index, so_far), body)
    return delivery


def _plan(model: HttpModel, request: Request, stream: Stream, index: int, so_far: Sample | None) -> Plan:
    return plan_of(model.entry, model.supports, request, stream, [index], so_far)
