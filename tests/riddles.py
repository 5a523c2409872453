"""Problems whose right answer a fake model knows, so that runs of it are right as often as its law says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vervet.models.laws import truth
from vervet.run import Result, Run
from vervet.tasks import TaskOptions

MODEL = "fake/iid?p=-1"  # problems of all difficulties
OPTIONS = TaskOptions(prompt_field="prompt", target_field="target", grader="number", hints_field="hints")


def riddles(folder: Path, problems: int = 40, begin: int = 0) -> str:
    """A file of problems; the hint asks the model for nothing beyond the riddle, whose text its answer hangs on."""
    path = folder / f"riddles-{begin}-{problems}.jsonl"
    texts = [f"Riddle {i}" for i in range(begin, begin + problems)]
    rows = [{"prompt": text, "target": str(truth(text)), "hints": {"form": ""}} for text in texts]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def start(
    folder: Path, architecture: str = "generate(n=8) | vote()", file: str | None = None, **changes: Any
) -> Result:
    """A run on the riddles, in the pool of this folder."""
    settings = {"model": MODEL, "pool": str(folder / "pool.sqlite"), "options": OPTIONS, **changes}
    return Run(file or riddles(folder), architecture, **settings).start()
