"""How many problems and draws an effect needs, from the declared draws of a run, in tokens; in samples without them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vervet.errors import Mistake
from vervet.pool import open_pool
from vervet.report.advice import chosen_run
from vervet.run.declared import counts_of, draws_of
from vervet.scaling.intervals import Estimate
from vervet.scaling.power import Power, power


@dataclass(frozen=True)
class Needs:
    """What an effect needs, and the ``facts`` that it is reckoned from: run, problems, draws, and tokens per problem (its
    prompt) and per draw, None where they are not known (an import)."""

    facts: Mapping[str, Any]
    power: Power

    @property
    def data(self) -> dict[str, Any]:
        """As one JSON object."""
        return {**self.facts, **asdict(self.power)}


def needs(path: str, effect: float, run: str | None = None, budget_tokens: float | None = None) -> Needs:
    """What an ``effect`` (.01 = one point) needs, by one run of a pool (a prefix of its id), else by that with most draws.

    ``budget_tokens``: prompt and completion tokens in all, of which the best split is named. Raises ``Mistake`` where no run
    has declared draws, for an effect outside 0 to 1, and for a budget where the tokens of the draws are not known.
    """
    with open_pool(path) as pool:
        row = chosen_run(pool, None, run)
        counts, draws, used = counts_of(pool, row), draws_of(pool, row), pool.used(row.id)
        prompt, each = None, None
        if draws.tokens is not None:
            prompt = float(np.mean([used[name][0] for name in counts.problems if name in used]))
            each = float(np.mean(draws.tokens))
        seed = int(row.identity["seed"])
    if each is None and budget_tokens is not None:
        raise Mistake(
            f"--budget: expected draws whose tokens are known, but run {row.id[:12]} has none (an import says only what it was "
            "given); leave --budget out"
        )
    found = power(counts, effect, cost_per_problem=prompt or 0.0, cost_per_sample=each or 1.0,
                  budget=budget_tokens, seed=seed)  # fmt: skip
    facts = {
        "task": row.identity["task"], "model": row.identity["models"]["model"], "run": row.id, "problems": counts.n_problems,
        "draws": counts.common_n, "prompt_tokens_per_problem": prompt, "completion_tokens_per_draw": each,
    }  # fmt: skip
    return Needs(facts, found)


def lines(found: Needs) -> list[str]:
    """What is needed, in sentences."""
    facts, p = found.facts, found.power
    effect = count(100 * p.effect, "point")
    text = [
        f"{facts['task']}  {facts['model']}  run {facts['run'][:12]}  {count(facts['problems'], 'problem')} x "
        f"{count(facts['draws'], 'draw')}",
        "",
        f"One draw is right {_percent(p.accuracy)} of the time.",
        f"To know an accuracy within {effect}: {count(p.accuracy_problems, 'problem')} with one draw each.",
    ]
    if p.discordance is not None:
        text += [
            f"Two draws disagree about being right on {_percent(p.discordance)} of problems. With one draw a side:",
            f"  to know a difference of two rules that disagree as often within {effect}: {p.half_width_problems:,} problems;",
            f"  to find one of {effect} (p < .05) in 80 of 100 studies: {p.detect_problems:,} problems.",
        ]
    else:
        text.append("How often two draws disagree is not known from one draw a problem: draw twice or more.")
    text.append(
        f"Where two rules never differ on a problem, {p.floor_problems:,} problems exclude a difference of {effect}; the "
        f"{p.n_problems:,} here exclude {count(100 * p.excluded, 'point')}."
    )
    if p.best_samples is not None:
        text.append(f"Best split: {count(p.best_samples, 'draw')} a problem ({_costs(facts)}).")
    if p.bought is not None:
        text.append(
            f"The budget buys {count(p.bought.problems, 'problem')} x {count(p.bought.samples, 'draw')}: the accuracy within "
            f"{count(100 * p.bought.half_width, 'point')} (95 %)."
        )
    return [*text, "", "[ ] 95 % interval over new problems; all counts by the normal approximation."]


def _costs(facts: Mapping[str, Any]) -> str:
    """What the best split rests on, in words."""
    prompt, each = facts["prompt_tokens_per_problem"], facts["completion_tokens_per_draw"]
    if each is None:
        return "tokens are not known, so this reckons in samples: a draw costs one, a problem by itself nothing"
    return f"a problem costs {count(round(prompt), 'prompt token')}, a draw {count(round(each), 'completion token')}"


def count(value: float, name: str) -> str:
    """A number of things in words.

    >>> count(1, "draw"), count(0.368, "point"), count(1200, "draw")
    ('1 draw', '0.37 points', '1,200 draws')
    """
    number = f"{value:,}" if isinstance(value, int) else f"{value:.2g}"
    return f"{number} {name}{'' if value == 1 else 's'}"


def _percent(one: Estimate) -> str:
    return f"{100 * one.value:.1f} % [{100 * one.low:.1f}, {100 * one.high:.1f}]"
