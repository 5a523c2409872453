"""What a request gets that cannot be served: an error object in OpenAI's shape and a faithful status."""

from __future__ import annotations

import math
import re
from typing import Any

from ..errors import Mistake, OverContext, VervetError
from ..types import Failure

_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
_KINDS = {"transient": 503, "failed": 502, "refused": 400, "fatal": 502}


class Refused(Exception):
    """A request that is answered by an error: ``param`` names the field, ``code`` is OpenAI's where it has one."""

    def __init__(
        self, message: str, param: str | None = None, code: str | None = None, status: int = 400,
        retry_after_s: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.param, self.code, self.status, self.retry_after_s = param, code, status, retry_after_s

    @property
    def body(self) -> dict[str, Any]:
        """The error object."""
        kind = _TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        """Retry-After, in whole seconds, where it is known."""
        return {} if self.retry_after_s is None else {"retry-after": str(math.ceil(self.retry_after_s))}


def refused_by(error: VervetError, fields: frozenset[str]) -> Refused:
    """How an error of the model is told; of the ``fields`` the first that the message names is its ``param``."""
    message = str(error)
    if isinstance(error, OverContext):
        return Refused(message, "messages", "context_length_exceeded")
    if isinstance(error, Mistake):
        named = (word for word in re.findall(r"\w+", message) if word in fields)
        return Refused(message, next(named, None))
    return Refused(message, status=500)


def refused_for(failure: Failure) -> Refused:
    """How a request is told that none of its samples came."""
    code = "content_filter" if failure.kind == "refused" else None
    return Refused(failure.reason, None, code, _KINDS[failure.kind], failure.retry_after_s)
