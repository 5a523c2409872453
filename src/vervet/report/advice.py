"""The gap report of a pool: where accuracy and money are lost, and what the next budget should buy.

It looks at one run's declared draws (the most draws per problem), at every selector that can be replayed on them, at stopping
rules replayed on them, and at other runs on the same problems. A scorer counts where it judged every draw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from vervet.errors import Mistake
from vervet.operators import Operator, parse
from vervet.operators.generate import Generate
from vervet.pool import judged, open_pool
from vervet.pool.reports import run_named
from vervet.pool.rows import RunRow
from vervet.pool.store import SqlitePool
from vervet.report.judgements import judgements
from vervet.report.table import counted, text_table
from vervet.run.declared import counts_of, declared_draws, draws_of, expect_declared
from vervet.run.foretold import foretell
from vervet.scaling.draws import Draws, Floats
from vervet.scaling.gaps import EPSILON, Found, Gaps, gaps, selectors
from vervet.scaling.intervals import Estimate, accuracy
from vervet.scaling.purchases import OtherModel, Purchases, amount, choosing, purchases
from vervet.scaling.replayed import Agreement, FirstAccepted, StopRule, Way, replay
from vervet.tasks.stored import IMPORT

BAR = 60  # characters
_SHARES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_AT_LEAST = (2, 3, 4, 8)
_DEFAULT_AHEAD = 8  # of generate() with a rule
_ROUNDING = 1e-9
PILOT = 'vervet run {task} --with "generate(n=16) | vote()" --problems 200 --pool {path}'


@dataclass(frozen=True)
class Ran:
    """What a run as it stands has reached on these problems, and what it used for one, in the unit of the cost gap."""

    accuracy: Estimate
    cost: float


@dataclass(frozen=True)
class Advice:
    """The gaps of a run's draws, what to buy, and what else must be said.

    ``facts``: task, model, architecture, run, problems, draws. ``runs``: the run as it stands, then the other runs of the same
    model on the same problems, by architecture and id.
    """

    facts: Mapping[str, Any]
    gaps: Gaps
    purchases: Purchases
    runs: Mapping[str, Ran] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @property
    def data(self) -> dict[str, Any]:
        """As one JSON object."""
        runs = {name: asdict(one) for name, one in self.runs.items()}
        return {
            **self.facts,
            "gaps": asdict(self.gaps),
            **asdict(self.purchases),
            "runs": runs,
            "notes": list(self.notes),
        }


def advice(path: str, task: str | None = None, run: str | None = None, epsilon: float = EPSILON) -> Advice:
    """The gap report of a pool file, for a ``task`` or one ``run`` (a prefix of its id), else for the run with most draws.

    ``epsilon``: the loss of accuracy that a cheaper way may bring (.01 = one point). Coverage at 10 and 100 times the draws is
    forecast and kept with the run. Raises ``Mistake`` where no run has declared draws of the task. Cost: a few seconds for
    1,000 problems x 64 draws.
    """
    with open_pool(path) as pool:
        row = chosen_run(pool, task, run)
        draws, names = _measured(draws_of(pool, row)), list(counts_of(pool, row).problems)
        seed = int(row.identity["seed"])
        found = judgements(pool, row, names, draws.n)
        in_tokens = draws.tokens is not None
        itself, (others, models, left) = _as_run(pool, row, names, in_tokens), _others(pool, row, names, in_tokens)
        chosen_from = selectors(draws, scores=found.scores, accepted=found.accepted, asks=found.asks)
        free = {name: table for name, table in found.accepted.items() if name not in found.asks}
        ways = [*replay(draws, _rules(draws.n, list(free)), seed, accepted=free), *others.values()]
        measured = _as_drawn(gaps(draws, chosen_from, ways, epsilon=epsilon, seed=seed), row)
        forecasts = [one for one in foretell(pool, row) if one.target == "same problems"]
        bought = purchases(draws, measured, models=models, forecasts=forecasts)
        facts = {
            "task": row.identity["task"], "model": row.identity["models"]["model"],
            "architecture": row.identity["architecture"], "run": row.id, "problems": draws.n_problems, "draws": draws.n,
        }  # fmt: skip
        notes = [*found.notes, *left, *_unjudged(draws), *_more_tasks(pool, row, task or run)]
        runs = {name: _ran(way, seed) for name, way in {**itself, **others}.items()}
    return Advice(facts, measured.gaps, bought, runs, notes)


def lines(found: Advice) -> list[str]:
    """The report for a terminal."""
    g, facts = found.gaps, found.facts
    problems, draws = counted(g.n_problems, "problem"), counted(g.n, "draw")
    text = [f"{facts['task']}  {facts['model']}  run {facts['run'][:12]}  {problems} x {draws}", ""]
    if not g.coverage.value:
        said = "check the grader (vervet show POOL PROBLEM) or try another model"
        text += [f"No right answer among {draws} of {problems}: {said}.", ""]
    text += [
        *_bar(g), "", _selected_line(g), f"Selection gap  {_percent(g.selection)}: {_not_picked(g)}.",
        f"Generation gap {_percent(g.generation)}: none of the {draws} is right.", _cost_line(g), "",
        _standings(found), "", "What to buy next, the most accuracy first:",
    ]  # fmt: skip
    for i, one in enumerate(found.purchases.ranked, 1):
        cost = "" if one.cost_factor is None else f" ({one.cost_factor:.2g} x the cost)"
        text.append(f"{i}. {one.sentence}{cost}")
    text += [
        "",
        "[ ] 95 % interval over new problems; winners are chosen on one half of the problems and counted on the other.",
    ]
    return [*text, *found.notes]


def _bar(g: Gaps) -> list[str]:
    """1.0 = selected + selection gap + generation gap, in signs."""
    selected = round(BAR * g.selected.value)
    covered = max(selected, round(BAR * g.coverage.value))
    return [
        "0 " + "#" * selected + "+" * (covered - selected) + "." * (BAR - covered) + " 1",
        "  # answered right   + right answer drawn, not picked   . no right answer drawn",
    ]


def _selected_line(g: Gaps) -> str:
    chosen = ", counted on problems on which it was not chosen" if len(g.standings) > 1 else ""
    return f"The best selector here, {g.selector}, answers {_percent(g.selected)} of the problems{chosen}."


def _not_picked(g: Gaps) -> str:
    """Whose fault a selection gap is: the best selector's, or, where that picks every right answer, that of the choice."""
    if not g.coverage.value:
        return "no right answer was drawn that a selector could pick"
    if g.standings[g.selector].value < g.coverage.value - _ROUNDING:
        return f"a right answer is among the {counted(g.n, 'draw')}, and the best selector does not pick it"
    if g.selection.value < _ROUNDING:
        return f"wherever a right answer was drawn, {g.selector} picks it"
    return f"{g.selector} picks every right answer drawn here, but half of the problems do not always show that it is the best"


def _cost_line(g: Gaps) -> str:
    c = g.cost
    if not g.coverage.value:
        return "Cost gap       not told: nothing drawn is right, so nothing says which draws could be spared."
    if c.ratio.value < 1 + _ROUNDING:
        return (
            f"Cost gap       1.0 x: {amount(c.paid)} {c.unit} a problem, and no way here within {100 * g.epsilon:g} points of "
            "the best selector takes less."
        )
    return (
        f"Cost gap       {c.ratio.value:.1f} x [{c.ratio.low:.1f}, {c.ratio.high:.1f}]: {amount(c.paid)} {c.unit} a problem, "
        f"where {c.way} takes {amount(c.needed.value)}; {choosing(c.loss)} on problems it was not chosen on."
    )


def _standings(found: Advice) -> str:
    g = found.gaps
    rows = [[name, _percent(one)] for name, one in g.standings.items()]
    rows += [
        [name, f"{_percent(ran.accuracy)} at {amount(ran.cost)} {g.cost.unit}"] for name, ran in found.runs.items()
    ]
    return text_table(["selector over all draws, or a run as it is", "answered right"], rows)


def _percent(one: Estimate) -> str:
    return f"{100 * one.value:.1f} % [{100 * one.low:.1f}, {100 * one.high:.1f}]"


# --- which run, and what else the pool knows of its draws ------------------------------------------------


def chosen_run(pool: SqlitePool, task: str | None, run: str | None) -> RunRow:
    """The run whose id begins so, else that with the most declared draws a problem, of a task or of all.

    Raises ``Mistake`` where there is none, with the command that draws a pilot.
    """
    rows = [row for row in pool.runs() if task in (None, row.identity["task"])]
    if run is not None:
        name = run_named(run, [row.id for row in rows], pool.path)
        row = next(row for row in rows if row.id == name)
        expect_declared(row)
        return row
    sized = [(declared_draws(row) or 0, len(pool.answers(row.id)), row) for row in rows]
    sized = [one for one in sized if one[0] and one[1]]
    if not sized:
        known = ", ".join(sorted({str(row.identity["task"]) for row in pool.runs()})) or "none"
        wanted = f"draws of {task}" if task else "draws"
        raise Mistake(
            f"expected {wanted} in {pool.path} (its tasks: {known}) by a run of generate(n=...) without until, cut or budget, "
            f"but there is none; {_pilot(rows, task, pool.path)}"
        )
    return max(sized, key=lambda one: one[:2])[2]


def _pilot(rows: Sequence[RunRow], task: str | None, path: str) -> str:
    if any(row.identity["architecture"] == IMPORT for row in rows):
        return f'for what was imported: vervet run pool:{path} --replay --with "generate(n=N) | vote()" --pool {path}'
    return f"a pilot: {PILOT.format(task=task or 'TASK', path=path)}"


def _measured(draws: Draws) -> Draws:
    """The draws without their tokens where none is known (an import): then draws are what costs."""
    return draws if np.any(draws.tokens) else replace(draws, tokens=None)


def _rules(n: int, verifiers: Sequence[str]) -> list[StopRule]:
    agree = [Agreement(share, least) for share in _SHARES for least in _AT_LEAST if least < n]
    return [*agree, *(FirstAccepted(name) for name in verifiers)]


def _as_drawn(found: Found, row: RunRow) -> Found:
    """The cheapest way as an architecture that asks what the run asked: with its temperature and the like."""
    try:
        way, drew = parse(found.gaps.cost.way), parse(str(row.identity["architecture"])).parts[0]
    except Mistake:  # another run, by its architecture and id
        return found
    first, *rest = way.parts
    assert isinstance(first, Generate) and isinstance(drew, Generate)
    asked: Operator = replace(drew, n=first.n, until=first.until, ahead=first.ahead)
    for part in rest:
        asked = asked | part
    return replace(found, gaps=replace(found.gaps, cost=replace(found.gaps.cost, way=repr(asked))))


def _others(
    pool: SqlitePool, row: RunRow, names: Sequence[str], in_tokens: bool
) -> tuple[dict[str, Way], list[OtherModel], list[str]]:
    """Other runs: of the same model on all these problems, as ways; of other models; and what must be said of them."""
    ways, models, notes = dict[str, Way](), list[OtherModel](), list[str]()
    for other in pool.runs():
        way = _way(pool, other, names, in_tokens)
        n_shared = int(np.isfinite(way.right).sum())
        if other.id == row.id or not n_shared or not way.cost.any():
            continue
        if other.identity["models"] != row.identity["models"]:
            who = ", ".join(sorted(set(map(str, other.identity["models"].values()))))
            models.append(OtherModel(f"{who}, {way.name}", way.right, _found(pool, other, names), way.cost))
        elif n_shared < len(names):
            notes.append(f"Left out: {way.name}, which has finished only {n_shared:,} of these problems.")
        else:
            ways[way.name] = way
            if (ahead := _in_flight(other)) > 1:
                notes.append(
                    f"{way.name}: its cost leaves out up to {counted(ahead - 1, 'draw')} in flight behind what its rule saw."
                )
    return ways, models, notes


def _as_run(pool: SqlitePool, row: RunRow, names: Sequence[str], in_tokens: bool) -> dict[str, Way]:
    way = _way(pool, row, names, in_tokens)
    return {f"{way.name}, this run": way}


def _way(pool: SqlitePool, row: RunRow, names: Sequence[str], in_tokens: bool) -> Way:
    """A run as a way to answer: its final answers, NaN where it has none yet, and what it used."""
    answers = {a.problem: a.outcome == "correct" for a in pool.answers(row.id)}
    used, n_used = pool.used(row.id), judged.n_used(pool, row.id)
    right = np.array([float(answers[name]) if name in answers else np.nan for name in names])
    samples = np.array([float(n_used.get(name, (0, 0))[0]) for name in names])
    tokens = np.array([float(used.get(name, (0, 0))[1]) for name in names])
    return Way(f"{row.identity['architecture']} ({row.id[:8]})", right, samples, tokens if in_tokens else None)


def _ran(way: Way, seed: int) -> Ran:
    found = accuracy([bool(right) for right in way.right], seed)
    return Ran(Estimate(found.value, found.low, found.high), float(way.cost.mean()))


def _in_flight(row: RunRow) -> int:
    """How many draws a run had in flight while a rule decided; 1 where none did."""
    try:
        first = parse(str(row.identity["architecture"])).parts[0]
    except Mistake:
        return 1
    return (first.ahead or _DEFAULT_AHEAD) if isinstance(first, Generate) and first.until else 1


def _found(pool: SqlitePool, row: RunRow, names: Sequence[str]) -> Floats:
    """Whether any answer that a run drew, its final one among them, is right: (problems,)."""
    right = {use.problem for use in pool.answer_uses(row.id) if use.outcome == "correct"}
    right |= {answer.problem for answer in pool.answers(row.id) if answer.outcome == "correct"}
    return np.array([float(name in right) for name in names])


def _unjudged(draws: Draws) -> list[str]:
    if not draws.n_not_judged:
        return []
    most = draws.right_at_most.any(axis=1).mean()
    return [
        f"{counted(draws.n_not_judged, 'draw')} without a verdict, counted as incorrect; if all were correct, coverage would "
        f"be {100 * most:.1f} %."
    ]


def _more_tasks(pool: SqlitePool, row: RunRow, asked: str | None) -> list[str]:
    more = {str(other.identity["task"]) for other in pool.runs() if declared_draws(other)} - {str(row.identity["task"])}
    if asked or not more:
        return []
    return [f"This pool holds other tasks too ({', '.join(sorted(more))}): vervet advise TASK --pool {pool.path}"]
