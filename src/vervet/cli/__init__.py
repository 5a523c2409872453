"""The command line: one file per verb. To add one, write its file (``add`` and ``main``) and list it in ``VERBS``.

A verb that changes something before it ends says in ``INTERRUPTED`` what stays where it is interrupted.

Exit status: 0 done, 1 failed, 2 your mistake, 3 a limit ended it, 130 interrupted.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Sequence
from types import ModuleType

from .. import __version__
from ..errors import VervetError
from . import (
    advise,
    check_server,
    compare,
    export,
    grade,
    import_,
    models,
    operators,
    pool,
    power,
    regrade,
    run,
    scale,
    serve,
    show,
    tasks,
)

VERBS = (
    run, scale, advise, compare, power, show, grade, regrade, import_, export, pool, models, check_server, serve, tasks,
    operators,
)  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    top = argparse.ArgumentParser(
        prog="vervet", description="Better answers out of any language model, at a known cost."
    )
    top.add_argument("--version", action="version", version=f"vervet {__version__}")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb in VERBS:
        name = name_of(verb)
        about = (verb.__doc__ or "").split("\n\n")[0].replace("``", "'").strip()
        one = verbs.add_parser(name, help=about.split(": ")[0].rstrip("."), description=about)
        verb.add(one)
        one.set_defaults(main=verb.main, interrupted=getattr(verb, "INTERRUPTED", "nothing was changed"))
    return top


def name_of(verb: ModuleType) -> str:
    """How a verb is called: by its file.

    >>> name_of(check_server)
    'check-server'
    """
    return verb.__name__.rsplit(".", 1)[-1].rstrip("_").replace("_", "-")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status. An error is one message on standard error."""
    args = parser().parse_args(argv)
    # This process draws and does little else: what is loaded by now is never looked through again, and new objects
    # seldom: with many requests at once the collector would else take a good part of the time.
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    try:
        return int(args.main(args))
    except VervetError as error:
        print(f"vervet: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print(f"vervet: interrupted; {args.interrupted}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 1
