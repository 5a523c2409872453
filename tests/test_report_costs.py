"""What draws of a run cost, axis by axis: from its own tokens, its own bill, given prices, and the shape of its model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.riddles import riddles, start
from vervet.cli import main
from vervet.errors import Mistake
from vervet.models.fake import FakeModel, Fault
from vervet.models.laws import Iid
from vervet.models.shape import shape_of
from vervet.pool import open_pool
from vervet.pool.rows import RunRow
from vervet.report.costs import AXES, SAMPLES, chosen, costs_of
from vervet.run.declared import draws_of
from vervet.scaling.cost import Cost, Shape, flops
from vervet.types import Prices

PRICES = Prices(prompt=2.0, completion=8.0, cached_prompt=0.2, cache_write=2.5, batch=0.4)
SHAPE = Shape(1e6, 2, 64, 4, 4, 16)


def costs(folder: Path, model: str | None = None, at: int = 0, **given: object) -> dict[str, Cost]:
    """Of a run of the folder's pool; ``model``: as if it had this name."""
    with open_pool(str(folder / "pool.sqlite")) as pool:
        row = pool.runs()[at]
        if model:
            row = RunRow(row.id, {**row.identity, "models": {"model": model}}, row.seconds)
        return costs_of(pool, row, draws_of(pool, row), **given)  # type: ignore[arg-type]


def tokens_of(folder: Path) -> tuple[list[int], list[list[int]]]:
    """Prompt tokens by problem, completion tokens by problem and draw, of the first run."""
    with open_pool(str(folder / "pool.sqlite")) as pool:
        row = pool.runs()[0]
        prompts = [prompt for prompt, _ in pool.used(row.id).values()]
        return prompts, [list(tokens) for tokens in draws_of(pool, row).tokens or []]


def test_tokens_are_those_of_the_prompt_once_and_of_every_draw(tmp_path: Path) -> None:
    result = start(tmp_path, "generate(n=7) | vote()", riddles(tmp_path, 11))
    found = costs(tmp_path)["tokens"]
    assert found.fixed == 3  # a mark, "Riddle" and its number
    assert found.each == pytest.approx(result.spent["completion_tokens"] / 77)
    assert found.at(7) * 11 == pytest.approx(result.spent["completion_tokens"] + 33)
    assert (found.unit, list(costs(tmp_path))) == ("tokens", ["tokens", "seconds", "samples"])


def test_a_lost_draw_cost_no_tokens_but_is_one_of_them(tmp_path: Path) -> None:
    model = FakeModel(Iid(p=0.4), faults={2: Fault("refused")})
    result = start(tmp_path, "generate(n=5)", riddles(tmp_path, 7), model=model)
    assert costs(tmp_path)["tokens"].each == pytest.approx(result.spent["completion_tokens"] / 35)


def test_problems_that_were_never_drawn_have_the_mean_prompt(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    rows = [{"prompt": text, "target": "1", "hints": {"form": ""}} for text in ("one", "word " * 5000, "one two three")]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    start(tmp_path, "generate(n=4)", str(path))
    assert costs(tmp_path)["tokens"].fixed == (2 + 4) / 2
    assert {"usd", "flops"} < set(costs(tmp_path, prices=PRICES, shape=SHAPE))


def test_dollars_are_as_the_run_paid_them(tmp_path: Path) -> None:
    model = FakeModel(Iid(p=0.4), prices=PRICES, name="fake/priced")
    result = start(tmp_path, "generate(n=7)", riddles(tmp_path, 11), model=model)
    found = costs(tmp_path)
    assert result.spent["usd"] > 0
    assert found["usd"] == Cost("usd", 0.0, pytest.approx(result.spent["usd"] / 77))
    assert not {"usd-cached", "usd-batch"} & set(found)
    assert next(iter(found)) == "usd"


def test_given_prices_come_before_what_was_paid(tmp_path: Path) -> None:
    model = FakeModel(Iid(p=0.4), prices=Prices(100.0, 100.0), name="fake/priced")
    start(tmp_path, "generate(n=7)", riddles(tmp_path, 11), model=model)
    prompts, completions = tokens_of(tmp_path)
    prompt, completion = np.mean(prompts), np.mean(completions)
    found = costs(tmp_path, prices=PRICES)
    assert found["usd"].at(5) == pytest.approx(5 * (2 * prompt + 8 * completion) / 1e6)
    assert found["usd-cached"].at(5) == pytest.approx((2.5 * prompt + 4 * 0.2 * prompt + 5 * 8 * completion) / 1e6)
    assert found["usd-batch"].at(5) == pytest.approx(0.4 * found["usd"].at(5))


def test_operations_of_the_shipped_model_need_no_shape(tmp_path: Path) -> None:
    start(tmp_path, "generate(n=7)", riddles(tmp_path, 11))
    prompts, completions = tokens_of(tmp_path)
    shape = shape_of("embedded")
    assert shape is not None
    found = costs(tmp_path, "embedded")
    assert found["flops"] == flops(shape, prompts, completions)
    assert found["flops"].unit == "FLOPs"
    assert found["eflops"].at(7) > found["flops"].at(7)
    other = costs(tmp_path, "embedded", shape=SHAPE)
    assert other["flops"] == flops(SHAPE, prompts, completions)
    assert not {"flops", "eflops"} & set(costs(tmp_path))


def test_seconds_are_told_with_the_calls_at_once_and_only_by_who_drew(tmp_path: Path) -> None:
    file = riddles(tmp_path, 5)
    start(tmp_path, "generate(n=4)", file, model=FakeModel(Iid(p=0.4), delay_s=0.001, name="fake/slow"), concurrency=1)
    found = costs(tmp_path)["seconds"]
    assert found.unit == "seconds at 1.0 calls at once"
    assert found.each > 0
    replayed = start(tmp_path, "generate(n=4) | vote()", file, model=FakeModel(Iid(p=0.4), name="fake/slow"))
    assert replayed.fresh_now == 0
    with open_pool(str(tmp_path / "pool.sqlite")) as pool:
        row = pool.runs()[1]
        assert "seconds" not in costs_of(pool, row, draws_of(pool, row))


def test_an_import_without_tokens_has_samples_alone(tmp_path: Path) -> None:
    path, pool = tmp_path / "answers.jsonl", str(tmp_path / "pool.sqlite")
    rows = [{"problem": f"p{i}", "answer": str(j % 3), "gold": "1"} for i in range(3) for j in range(4)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["import", str(path), "--pool", pool, "--grader", "exact"]) == 0
    assert main(["run", f"pool:{pool}", "--replay", "--with", "generate(n=4)", "--pool", pool, "--json"]) == 0
    assert costs(tmp_path, at=-1, prices=PRICES, shape=SHAPE) == {"samples": SAMPLES}


def test_the_axis_is_the_first_that_is_known_or_the_one_asked_for() -> None:
    known = {"usd": Cost("usd", 0, 1), "samples": SAMPLES}
    assert chosen(known, None).unit == "usd"
    assert chosen(known, "samples") is SAMPLES
    assert set(known) < set(AXES)


@pytest.mark.parametrize(
    ("axis", "said"),
    [
        ("usd-batch", r"are known \(tokens, samples\), but got 'usd-batch'; it needs .*--prices prompt"),
        ("eflops", "it needs .*--shape parameters"),
        ("seconds", "it needs a run that itself drew"),
        ("dollars", r"an axis \(usd, .*samples\), but got 'dollars'$"),
    ],
)
def test_an_axis_that_is_not_known_says_what_it_needs(axis: str, said: str) -> None:
    with pytest.raises(Mistake, match=said):
        chosen({"tokens": Cost("tokens", 1, 2), "samples": SAMPLES}, axis)
