"""Every exception that Vervet raises on purpose, as one tree.

    VervetError
    |- Mistake              your mistake: the call, the expression, the option (exit status 2)
    |  |- Unsupported       the model cannot do what was asked
    |  |- MissingExtra      an optional package is not installed
    |  `- OverContext       the prompt does not fit the model's context
    |- ModelError           the model's side (exit status 1)
    |  `- NothingDrawn      every sample that was asked for failed
    |- DataError            the data is not what we wrote (exit status 1)
    |  |- PoolDamaged       damaged, foreign or of another version
    |  |- PoolFull          the store can no longer write
    |  `- MissingFigures    a stored sample lacks a figure that is needed
    `- Stopped              stopped on purpose (exit status 3)
       |- LimitReached      a wallet or a budget ended it
       `- InBatch           what comes next waits in a batch file

A message says what was expected, what came, and what to do.
"""

from __future__ import annotations


class VervetError(Exception):
    """The root: catch it to catch everything that Vervet raises on purpose."""

    status = 1


class Mistake(VervetError, ValueError):
    """Your mistake: an argument, an option, an expression. Nothing was spent."""

    status = 2


class Unsupported(Mistake):
    """The model cannot do what was asked; it never ignores it."""


class MissingExtra(Mistake):
    """An optional package is needed; the message is the command that installs it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; run: pip install 'vervet[{extra}]'")


class OverContext(Mistake):
    """The prompt, or prompt and completion together, do not fit the model's context."""


class ModelError(VervetError):
    """The model's side failed."""


class NothingDrawn(ModelError):
    """Not one of the samples that were asked for came. ``refused``: because each was refused, which is an outcome."""

    def __init__(self, message: str, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class DataError(VervetError):
    """The data is not what Vervet wrote."""


class PoolDamaged(DataError):
    """The pool is damaged, foreign, or of another version; it was not touched."""


class PoolFull(DataError):
    """The pool can no longer write; drawing stops at once. ``n_lost`` samples could not be stored."""

    def __init__(self, message: str, n_lost: int = 0) -> None:
        super().__init__(message)
        self.n_lost = n_lost


class MissingFigures(DataError):
    """A stored sample lacks a figure that is needed (logprobs, token ids); draw others with another replicate."""


class Stopped(VervetError):
    """Stopped on purpose; what was paid for is in the pool."""

    status = 3


class LimitReached(Stopped):
    """A wallet or a budget does not allow what comes next."""


class InBatch(Stopped):
    """What comes next waits in a batch file; nothing can be built on it yet. Operators let it pass."""


def first_of(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """What ended a group of tasks, out of its nested groups: the first of our own, else the first.

    >>> first_of(ExceptionGroup("tasks", [ValueError("theirs"), ExceptionGroup("inner", [Mistake("ours")])]))
    Mistake('ours')
    """
    group = errors.subgroup(VervetError) or errors
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
