"""Write the pages that follow from the code: ``reference.md`` from the lists, ``papers.md`` from the Reference lines.

python docs/make.py          write both pages
python docs/make.py --check  say which of them is not what the code gives
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
REFERENCE = re.compile(r"^Reference: (.+?)(?=\n\n|\Z)", re.DOTALL | re.MULTILINE)
SOURCE = DOCS.parent / "src" / "vervet"


def reference() -> str:
    """Operators, rules, tasks and command line as a page."""
    from vervet.operators import OPERATORS
    from vervet.rules import RULES
    from vervet.tasks import LOADERS, TASKS
    from vervet.verify import GRADERS, READERS, SCORERS

    parts = [
        "# Reference",
        "Made from the code by `python docs/make.py`. What an expression is made of, and on what it can be run.",
    ]
    parts += ["## Operators", *_calls(OPERATORS), "## Rules", *_calls(RULES), "## Tasks"]
    for name, task in TASKS.items():
        problem = task.examples("development", 1, seed=0)[0].problem
        about = " ".join((inspect.getdoc(type(task)) or "").split("\n\n")[0].split())
        levels = f"levels {min(task.levels)} to {max(task.levels)}, verifier: {problem.verifier or 'none'}"
        parts.append(f"### {name}\n\n{about} ({levels})\n\n> {problem.messages[0]['content']}")
    parts.append("### From files\n\nSee [data.md](data.md).")
    parts.append("\n".join(f"- `{name}:FILE`: {one.about}" for name, one in LOADERS.items()))
    parts.append("## Readers, verifiers, graders\n\nSee [verifiers.md](verifiers.md).")
    for kind, listed in (("Readers", READERS), ("Scorers and verifiers", SCORERS), ("Graders", GRADERS)):
        parts.append(f"- {kind}: {', '.join(f'`{name}`' for name in sorted(listed))}")
    return "\n\n".join([*parts, "## Command line", *_verbs()]) + "\n"


def _calls(listed: Mapping[str, Callable[..., Any]]) -> Iterator[str]:
    for name, one in sorted(listed.items()):
        empty = inspect.Parameter.empty
        parameters = [p.replace(annotation=empty) for p in inspect.signature(one).parameters.values()]
        text = re.sub(r"\n*>>>.*", "", inspect.getdoc(one) or "", flags=re.DOTALL).replace("``", "`")
        yield f"### {name}\n\n`{name}{inspect.Signature(parameters)}`\n\n{text}"


def _verbs() -> Iterator[str]:
    from vervet.cli import VERBS, name_of

    for verb in VERBS:
        about = " ".join((verb.__doc__ or "").split()).replace("``", "`")
        yield f"- `vervet {name_of(verb)}`: {about}"


def papers() -> str:
    """Every Reference line of the package with the place it stands in, by first author."""
    rows = sorted({(text, place) for text, place in _references() if not text.lower().startswith("none")})
    lines = [f"| {text} | `{place}` |" for text, place in rows]
    head = [
        "# Papers",
        "",
        "Made from the `Reference:` lines of the code by `python docs/make.py`.",
        "",
        "| paper | used in |",
        "|---|---|",
    ]
    return "\n".join([*head, *lines]) + "\n"


def _references() -> Iterator[tuple[str, str]]:
    for file in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                for match in re.finditer(
                    r"^Reference: (.+?)(?=\n\n|\Z)", ast.get_docstring(node) or "", re.DOTALL | re.MULTILINE
                ):
                    place = str(file.relative_to(SOURCE)) + (
                        f": {node.name}" if not isinstance(node, ast.Module) else ""
                    )
                    yield " ".join(match[1].split()).replace("|", "\\|").replace("``", "`"), place


def picture(pool: str) -> str:
    """The figure of the first run with a forecast that came, else of the first, as a picture for light and dark pages."""
    from vervet.report import lab
    from vervet.report.figure import svg
    from vervet.report.html import STYLE

    colours = STYLE[: STYLE.index("body {")]
    runs = lab.of_pool(pool)
    shown = next((one for one in runs if any(told.truth is not None for told in one.forecasts)), runs[0])
    head, rest = svg(shown).split(">", 1)
    return f"{head}><style>{colours}</style>{rest}"


PAGES: dict[str, Callable[[], str]] = {"reference.md": reference, "papers.md": papers}


def main() -> int:
    """Write, or check."""
    if "--picture" in sys.argv:
        (DOCS / "demo.svg").write_text(picture(sys.argv[-1]), encoding="utf-8")
        return 0
    stale = [name for name, make in PAGES.items() if not (DOCS / name).exists() or (DOCS / name).read_text() != make()]
    if "--check" in sys.argv:
        print("\n".join(f"docs/{name} is not what the code gives: python docs/make.py" for name in stale), end="")
        return 1 if stale else 0
    for name in stale:
        (DOCS / name).write_text(PAGES[name](), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
