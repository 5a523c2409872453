"""The problems of a pool as a task: named by what they are, read and graded as they are stored."""

from __future__ import annotations

import doctest
import shutil
from pathlib import Path
from typing import Any

import pytest

from vervet.errors import Mistake
from vervet.models import imported
from vervet.pool import open_pool
from vervet.run import Run
from vervet.tasks import StoredTask, TaskOptions, grader_of, task_of
from vervet.tasks import stored as tasks_stored

N = 7


@pytest.fixture
def drawn(tmp_path: Path) -> str:
    """A pool with a run of word problems."""
    path = str(tmp_path / "drawn.pool")
    Run("words", "generate(n=5) | vote()", "fake/iid", problems=N, pool=path).start()
    return path


def stored(name: str, options: TaskOptions = TaskOptions()) -> StoredTask:
    task = task_of(name, options)
    assert isinstance(task, StoredTask)
    return task


@pytest.mark.parametrize("module", [imported, tasks_stored])
def test_the_examples_of_the_modules(module: Any) -> None:
    assert doctest.testmod(module).failed == 0


def test_a_drawn_pool_is_a_task_that_replays(drawn: str) -> None:
    task = stored(f"pool:{drawn}")
    assert (task.name, task.grader, task.size, task.model) == ("pool:words", "number", N, None)
    first = Run("words", "generate(n=5) | vote()", "fake/iid", problems=N, pool=drawn).start()
    again = Run(f"pool:{drawn}", "generate(n=5) | vote()", "fake/iid", pool=drawn, replay=True).start()
    assert (again.accuracy, again.problems, again.fresh_now) == (first.accuracy, N, 0)
    assert grader_of("pool:words") == grader_of("words") and grader_of("pool:mine:exact") == "exact"


def test_the_identity_is_that_of_the_problems_and_not_of_the_file(drawn: str, tmp_path: Path) -> None:
    copy = shutil.copy(drawn, tmp_path / "copy.pool")
    one, other = stored(f"pool:{drawn}"), stored(f"pool:{copy}")
    assert (one.name, one.identity) == (other.name, other.identity)
    Run("words", "generate(n=1)", "fake/iid", problems=N + 1, pool=str(copy)).start()
    assert stored(f"pool:{copy}").identity != one.identity


def test_the_halves_are_disjoint_and_make_up_all(drawn: str) -> None:
    task = stored(f"pool:{drawn}")
    names = {split: {e.problem.id for home, _, e in task.rows if split in (home, "all")} for split in task.splits}
    assert list(task.splits) == ["all", "development", "test"]
    assert names["development"] | names["test"] == names["all"] and not names["development"] & names["test"]
    assert [e.problem.id for e in task.examples("all", 3, 0)] == [e.problem.id for e in task.examples("all", 5, 0)][:3]


def test_problems_of_several_tasks_are_chosen_by_name(drawn: str) -> None:
    Run("countdown", "generate(n=1)", "fake/iid", problems=3, pool=drawn).start()
    listed = f"pool:{drawn}#words \\(7 problems\\), pool:{drawn}#countdown \\(3 problems\\)"
    with pytest.raises(Mistake, match=f"its problems are of several; there are: {listed}"):
        task_of(f"pool:{drawn}")
    with pytest.raises(Mistake, match="got #sums; there are: "):
        task_of(f"pool:{drawn}#sums")
    assert (stored(f"pool:{drawn}#countdown").size, stored(f"pool:{drawn}#words").size) == (3, N)


def test_what_is_no_pool_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match="expected pool:FILE, a pool file, but there is no file"):
        task_of(f"pool:{tmp_path}/none.pool")
    assert not (tmp_path / "none.pool").exists()
    (tmp_path / "empty.pool").touch()
    with pytest.raises(Mistake, match="is empty: not a pool"):
        task_of(f"pool:{tmp_path}/empty.pool")
    assert (tmp_path / "empty.pool").read_bytes() == b""
    with open_pool(str(tmp_path / "empty.pool")):
        pass
    with pytest.raises(Mistake, match="holds none"):
        task_of(f"pool:{tmp_path}/empty.pool")


def test_options_of_files_do_not_apply(drawn: str) -> None:
    with pytest.raises(Mistake, match="only --where model=import/NAME applies, not grader"):
        task_of(f"pool:{drawn}", TaskOptions(grader="math"))
    with pytest.raises(Mistake, match="not where level"):
        task_of(f"pool:{drawn}", TaskOptions(where=(("level", "5"),)))
    with pytest.raises(Mistake, match="no problem has a sample of the model 'import/mine'; those imported: none"):
        task_of(f"pool:{drawn}", TaskOptions(where=(("model", "import/mine"),)))
