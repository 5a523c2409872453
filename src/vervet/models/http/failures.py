"""What went wrong, as a typed failure with what to do: by status, by the server's own code, by what broke.

``transient``: the cause cannot depend on the text. ``failed``: it may. ``refused``: the server will not answer this.
``fatal``: no request to this server can succeed. Every message names the server and is free of the key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from math import isfinite

from ...types import Failure, FailureKind, Json
from .config import Entry

_MOST_CHARS = 300


@dataclass(frozen=True, slots=True)
class Row:
    """What a status or a code means, and the remedy."""

    kind: FailureKind
    remedy: str = ""


_KEY = Row("fatal", "check the key{key}")
_PAID = Row("fatal", "the account has no credit left; add some, or draw elsewhere")
_UNKNOWN = Row("fatal", "check the model's name, and that base_url ends as the server wants it (often /v1)")
_REFUSED = Row("refused", "change the request, or leave out in vervet.toml what this server does not know")
_LONG = Row("refused", "ask with a shorter prompt or fewer max_tokens")
_FILTER = Row("refused", "the content filter refuses this prompt")
_BUSY = Row("transient", "give requests_per_minute in vervet.toml if this goes on")
_SICK = Row("transient", "look at the server's log if this goes on")

STATUS: Mapping[int, Row] = {
    400: _REFUSED, 401: _KEY, 402: _PAID, 403: _KEY, 404: _UNKNOWN, 405: _UNKNOWN, 408: _SICK, 409: _SICK, 410: _UNKNOWN,
    413: _LONG, 422: _REFUSED, 425: _SICK, 429: _BUSY, 503: _BUSY, 529: _BUSY,
}  # fmt: skip
CODES: Mapping[str, Row] = {
    "insufficient_quota": _PAID, "billing_hard_limit_reached": _PAID, "billing_not_active": _PAID,
    "invalid_api_key": _KEY, "authentication_error": _KEY, "permission_denied": _KEY,
    "model_not_found": _UNKNOWN, "context_length_exceeded": _LONG, "exceed_context_size_error": _LONG,
    "content_filter": _FILTER, "content_policy_violation": _FILTER, "invalid_request_error": _REFUSED,
    "invalid_prompt": _FILTER, "rate_limit_exceeded": _BUSY, "rate_limit_error": _BUSY, "overloaded_error": _BUSY,
    "overloaded": _BUSY, "server_error": _SICK, "internal_server_error": _SICK, "api_error": _SICK,
    "service_unavailable": _BUSY, "timeout": _SICK,
}  # fmt: skip
_SETTLING = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "invalid_api_key",
             "model_not_found", "context_length_exceeded", "content_filter"}  # they say more than any status  # fmt: skip


@dataclass(frozen=True, slots=True)
class Told:
    """What the body of an error says: a message, and the codes that it carries."""

    message: str = ""
    codes: tuple[str, ...] = ()
    param: str = ""


def of_status(entry: Entry, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """The failure of a reply that is not 200."""
    told = read_error(body)
    row = next((CODES[code] for code in told.codes if code in _SETTLING), None) or _row(status)
    try:
        words = f"status {status} {HTTPStatus(status).phrase}"
    except ValueError:
        words = f"status {status}"
    if 300 <= status < 400:
        told = Told(f"it redirects to {headers.get('Location', 'nowhere')}")
    wait_s = retry_after_s(headers) if row.kind == "transient" else None
    return _failure(entry, row, words, told.message, wait_s)


def _row(status: int) -> Row:
    if status in STATUS:
        return STATUS[status]
    if status >= 500:
        return _SICK
    if status >= 400:
        return _REFUSED
    return Row("fatal", "set base_url to where the server really is") if status >= 300 else Row("failed")


def of_error(entry: Entry, error: Json, arrived: bool) -> Failure:
    """The failure of an error object inside a reply that began as 200; ``arrived``: tokens came before it."""
    told = _told(error if isinstance(error, Mapping) else {"message": error})
    row = next((_row_of_code(code) for code in told.codes if _row_of_code(code) is not None), None) or Row("failed")
    if arrived and row.kind == "transient":
        row = Row("failed")
    return _failure(entry, row, "an error inside the reply", told.message)


def _row_of_code(code: str) -> Row | None:
    if code.isdigit() and 400 <= int(code) < 600:
        return _row(int(code))
    return CODES.get(code)


def of_break(entry: Entry, kind: FailureKind, what: str) -> Failure:
    """The failure of a connection that broke, or of a body that cannot be read."""
    remedy = {
        "transient": "check that the server runs there",
        "failed": "look at the server's log; what came of it is kept as a failure",
    }
    return _failure(entry, Row(kind, remedy.get(kind, "")), what, "")


def _failure(entry: Entry, row: Row, what: str, message: str, wait_s: float | None = None) -> Failure:
    key = f" in {entry.key.name}" if entry.key.name else ""
    remedy = row.remedy.format(key=key if entry.key else f"{key}: none was sent")
    parts = [f"{entry.host}: {shortened(entry, what)}", shortened(entry, message), remedy]
    return Failure(row.kind, "; ".join(part for part in parts if part), wait_s)


def shortened(entry: Entry, message: str) -> str:
    """A server's words on one line, without the key."""
    line = " ".join(entry.key.scrub(message).split())
    return line if len(line) <= _MOST_CHARS else f"{line[:_MOST_CHARS]}..."


def read_error(body: bytes) -> Told:
    """What the body of an error says, in any of the shapes that servers have."""
    text = body.decode("utf-8", "replace")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return Told(re.sub(r"<[^>]*>", " ", text))
    if not isinstance(data, Mapping):
        return Told(str(data))
    error = data.get("error", data)
    return _told(error) if isinstance(error, Mapping) else Told(str(error))


def _told(error: Mapping[str, Json]) -> Told:
    message = error.get("message", error.get("detail", ""))
    codes = tuple(str(error[name]) for name in ("code", "type") if error.get(name) is not None)
    text = message if isinstance(message, str) else json.dumps(message)
    return Told(text, codes, str(error.get("param") or ""))


def names_n(body: bytes) -> bool:
    """Whether an error says that the server takes no ``n``."""
    told = read_error(body)
    return (
        told.param == "n"
        or re.search(r"(?<![\w\\])[`'\"]n[`'\"]|\bn\s*(=|>|must|is not|should)", told.message) is not None
    )


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from ``retry-after-ms`` or ``Retry-After`` (seconds or a date); None where nothing is said.

    >>> retry_after_s({"Retry-After": "2"}), retry_after_s({"retry-after-ms": "50"}), retry_after_s({"Retry-After": "soon"})
    (2.0, 0.05, None)
    """
    for name, unit_s in (("retry-after-ms", 0.001), ("Retry-After", 1.0)):
        try:
            wait_s = float(headers[name]) * unit_s
        except (KeyError, ValueError):
            continue
        if isfinite(wait_s):
            return max(0.0, wait_s)
    try:
        at = parsedate_to_datetime(headers["Retry-After"])
    except (KeyError, ValueError):
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())
