"""Problems and samples to look at: a table that stands without JavaScript, and a few lines that sort, filter and open it.

What a row opens to (prompt, target, samples) lies in the page as JSON. It is capped: at most ``MOST_PROBLEMS`` rows, and texts
cut until all of it stays within ``MOST_BYTES``; the page says so.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from vervet.report.figures import ShownProblem, ShownSample

MOST_PROBLEMS = 2000
MOST_BYTES = 4_000_000
OUTCOMES = {"correct": "✓ correct", "incorrect": "✗ incorrect", "not_judged": "? not judged"}
KINDS = {
    "all": "all",
    "solved": "solved at least once",
    "never": "never solved",
    "missed": "vote wrong though covered",
}

STYLE = """
.controls { display: flex; flex-wrap: wrap; gap: .5rem .9rem; align-items: end; margin: .8rem 0 .2rem; }
.controls[hidden] { display: none; }
.controls label { display: grid; font-size: .85rem; color: var(--muted); flex: 1 1 12rem; max-width: 20rem; }
.controls input, .controls select { font: inherit; font-size: 1rem; color: var(--ink); background: var(--paper);
  border: 1px solid var(--grid); border-radius: 4px; padding: .3rem .45rem; width: 100%; box-sizing: border-box; }
.list { max-height: 38rem; overflow: auto; border-bottom: 1px solid var(--grid); }
.list table { margin-top: 0; table-layout: fixed; min-width: 0; }
.list thead th { position: sticky; top: 0; background: var(--paper); z-index: 1; }
.list th, .list td { text-align: left; white-space: normal; overflow-wrap: anywhere; vertical-align: top; }
.list th:nth-child(2), .list td:nth-child(2) { width: 9.5rem; } .list th:nth-child(3), .list td:nth-child(3) { width: 28%; }
.list button { font: inherit; font-weight: 600; color: inherit; background: none; border: 0; padding: 0; text-align: left;
  cursor: pointer; overflow-wrap: anywhere; }
.list button:hover { text-decoration: underline; }
.list button:focus-visible { outline: 2px solid var(--series-1); outline-offset: 2px; }
.list tbody tr:not(.opened) { cursor: pointer; }
.list .asked { display: block; color: var(--muted); font-weight: 400; font-size: .85rem; overflow: hidden; max-height: 3em; }
.bar { display: block; height: .4rem; background: var(--grid); border-radius: 2px; margin: .15rem 0 .1rem; }
.bar i { display: block; height: 100%; background: var(--series-1); border-radius: 2px; }
.good { color: var(--series-3); } .bad { color: var(--series-2); }
.opened td { background: color-mix(in srgb, var(--grid) 30%, var(--paper)); padding: .6rem .7rem 1rem; }
.opened h4 { margin: .7rem 0 .15rem; font-size: .85rem; color: var(--muted); font-weight: 600; }
.opened pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; max-height: 18rem; overflow: auto;
  font: .85rem/1.45 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
.sample { border-left: 3px solid var(--series-2); padding: .1rem 0 .1rem .7rem; margin-top: .6rem; }
.sample.correct { border-color: var(--series-3); } .sample.not_judged { border-color: var(--muted); }
@media (max-width: 640px) { .list th:nth-child(2), .list td:nth-child(2) { width: 6rem; }
  .list th, .list td { padding: .32rem .35rem; } }
"""

SCRIPT = """
"use strict";
for (const box of document.querySelectorAll(".browser")) {
  const data = JSON.parse(box.querySelector("script").textContent);
  const body = box.querySelector("tbody"), rows = [...body.rows], heads = box.querySelectorAll("thead th");
  const find = box.querySelector("input"), kind = box.querySelector("select"), said = box.querySelector("[role=status]");
  const words = { correct: "\\u2713 correct", incorrect: "\\u2717 incorrect", not_judged: "? not judged" };
  const make = (name, text, kind) => {
    const one = document.createElement(name);
    if (text !== undefined) one.textContent = text;
    if (kind) one.className = kind;
    return one;
  };
  const told = (cell, title, text) => {
    const pre = make("pre", text);
    pre.dir = "auto";
    cell.append(make("h4", title), pre);
  };
  const opened = row => {
    const [prompt, target, samples] = data[row.dataset.i], cell = make("td"), line = make("tr", undefined, "opened");
    cell.colSpan = 3;
    told(cell, "prompt", prompt);
    if (target) told(cell, "target", target);
    cell.append(make("h4", samples.length ? samples.length + " of " + row.dataset.n + " draws" : "no draws are kept here"));
    for (const [index, text, answer, outcome, tokens] of samples) {
      const one = make("div", undefined, "sample " + outcome), head = make("div"), pre = make("pre", text), got = make("bdi", answer);
      head.append(make("b", words[outcome] || outcome, outcome === "correct" ? "good" : "bad"), " \\u00b7 draw " + index + " \\u00b7 ");
      if (answer === null) head.append("no answer"); else head.append("answer ", got);
      head.append(" \\u00b7 " + tokens.toLocaleString("en") + " tokens");
      pre.dir = "auto";
      one.append(head, pre);
      cell.append(one);
    }
    line.append(cell);
    return line;
  };
  const close = row => {
    if (row.detail) { row.detail.remove(); row.detail = null; row.button.setAttribute("aria-expanded", "false"); }
  };
  const toggle = row => {
    if (row.detail) return close(row);
    row.detail = opened(row);
    row.after(row.detail);
    row.button.setAttribute("aria-expanded", "true");
  };
  const show = () => {
    const text = find.value.trim().toLowerCase();
    let n = 0;
    for (const row of rows) {
      const fits = kind.value === "all" || row.dataset.kind.split(" ").includes(kind.value);
      row.hidden = !(fits && row.text.includes(text));
      if (row.hidden) close(row); else n += 1;
    }
    said.textContent = n.toLocaleString("en") + " of " + rows.length.toLocaleString("en") + " problems";
  };
  const sort = (head, value) => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    rows.sort((a, b) => (up ? 1 : -1) * (value(a) - value(b)) || a.dataset.i - b.dataset.i);
    for (const row of rows) { close(row); body.append(row); }
  };
  const visible = () => rows.filter(row => !row.hidden);
  for (const row of rows) {
    const name = row.cells[0].firstElementChild;
    row.button = make("button", name.textContent);
    row.button.type = "button";
    row.button.setAttribute("aria-expanded", "false");
    name.replaceWith(row.button);
    row.text = (row.textContent + " " + data[row.dataset.i].slice(0, 2).join(" ")).toLowerCase();
    row.addEventListener("click", () => { if (!String(getSelection())) toggle(row); });
    row.button.addEventListener("click", event => { event.stopPropagation(); toggle(row); });
    row.button.addEventListener("keydown", event => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key], seen = visible();
      if (step) { event.preventDefault(); seen[seen.indexOf(row) + step]?.button.focus(); }
      if (event.key === "Escape") close(row);
    });
  }
  [row => row.dataset.i, row => row.dataset.rate].forEach((value, column) => {
    const head = heads[column], button = make("button", head.textContent);
    button.type = "button";
    button.addEventListener("click", () => sort(head, value));
    head.replaceChildren(button);
  });
  find.addEventListener("input", show);
  kind.addEventListener("change", show);
  box.querySelector(".controls").hidden = false;
  show();
}
"""


@dataclass(frozen=True)
class Cut:
    """What of the problems goes into the page: how many rows, samples of each, and characters of a text."""

    problems: int
    samples: int
    characters: int


def browser(problems: Sequence[ShownProblem], most_bytes: int = MOST_BYTES) -> str:
    """The table of problems with its data, as HTML; "" where there are none. The page needs ``STYLE`` and ``SCRIPT`` once."""
    if not problems:
        return ""
    cut, data = _fitting(problems, most_bytes)
    shown = problems[: cut.problems]
    kinds = [_kinds(problem) for problem in shown]
    options = "".join(
        f'<option value="{kind}">{words} ({sum(kind in one for one in kinds):,})</option>'
        for kind, words in KINDS.items()
    )
    body = "\n".join(_row(i, problem, kinds[i]) for i, problem in enumerate(shown))
    return f"""<div class="browser">
<p class="muted">{escape(_told(problems, cut))}</p>
<div class="controls" hidden><label>find<input type="search" autocomplete="off"></label>
<label>show<select>{options}</select></label><span class="muted" role="status"></span></div>
<div class="list" tabindex="0" role="region" aria-label="problems"><table>
<thead><tr><th>problem</th><th>right draws</th><th>vote</th></tr></thead><tbody>
{body}
</tbody></table></div>
<script type="application/json">{data}</script></div>"""


def vote_outcome(problem: ShownProblem) -> str:
    """What the voted answer is worth: correct, incorrect, not_judged, or none (no vote)."""
    if problem.voted is None:
        return "none"
    return {True: "correct", False: "incorrect", None: "not_judged"}[problem.voted_correct]


def _kinds(problem: ShownProblem) -> list[str]:
    kinds = ["all", "solved" if problem.correct else "never"]
    return [*kinds, "missed"] if problem.correct and vote_outcome(problem) == "incorrect" else kinds


def _row(i: int, problem: ShownProblem, kinds: Sequence[str]) -> str:
    rate = problem.correct / problem.n if problem.n else 0.0
    asked = escape(_start(problem.prompt))
    return (
        f'<tr data-i="{i}" data-n="{problem.n}" data-rate="{rate:.6g}" data-kind="{" ".join(kinds)}">'
        f'<td><b dir="auto">{escape(problem.id)}</b><span class="asked" dir="auto">{asked}</span></td>'
        f'<td><span class="bar"><i style="width:{100 * rate:.3g}%"></i></span>{problem.correct:,} of {problem.n:,}</td>'
        f"<td>{_vote(problem)}</td></tr>"
    )


def _vote(problem: ShownProblem) -> str:
    outcome = vote_outcome(problem)
    if problem.voted is None:
        return '<span class="muted">–</span>'
    answer = f"<bdi>{escape(_start(problem.voted, 60))}</bdi>"
    if outcome not in OUTCOMES:
        return answer
    return f'<b class="{"good" if outcome == "correct" else "bad"}">{OUTCOMES[outcome]}</b> {answer}'


def _start(text: str, most: int = 90) -> str:
    line = " ".join(text[: 4 * most].split())
    return line if len(line) <= most else line[: most - 1] + "…"


def _told(problems: Sequence[ShownProblem], cut: Cut) -> str:
    n, held = len(problems), max((len(problem.samples) for problem in problems), default=0)
    samples = f", up to {min(held, cut.samples):,} samples each" if held and cut.samples else ""
    rows = f"{n:,} problems" if cut.problems >= n else f"The first {cut.problems:,} of {n:,} problems"
    texts = [
        t for p in problems[: cut.problems] for t in (p.prompt, p.target, *(s.text for s in p.samples[: cut.samples]))
    ]
    longer = sum(len(text) > cut.characters for text in texts)
    cuts = f" Texts over {cut.characters:,} characters are cut ({longer:,})." if longer else ""
    return f"{rows}{samples}.{cuts}"


def _fitting(problems: Sequence[ShownProblem], most_bytes: int) -> tuple[Cut, str]:
    """The most that fits: shorter texts first, then fewer samples, then fewer problems."""
    n, most = min(len(problems), MOST_PROBLEMS), max((len(problem.samples) for problem in problems), default=0)
    tries = [Cut(n, most, characters) for characters in (8000, 4000, 2000, 1000, 500)]
    tries += [
        Cut(n, min(most, few), characters) for few, characters in ((3, 500), (1, 500), (1, 200), (0, 100), (0, 0))
    ]
    tries += [Cut(max(1, n // 2**i), 0, 0) for i in range(1, 12)]
    for cut in tries:
        data = _json(problems, cut)
        if len(data.encode(errors="replace")) <= most_bytes:
            break
    return cut, data


def _json(problems: Sequence[ShownProblem], cut: Cut) -> str:
    """For a script tag: no "<" can end it or open another."""
    rows = [_data(problem, cut) for problem in problems[: cut.problems]]
    return json.dumps(rows, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def _data(problem: ShownProblem, cut: Cut) -> list[Any]:
    short = [_sample(sample, cut.characters) for sample in problem.samples[: cut.samples]]
    return [_head(problem.prompt, cut.characters), _head(problem.target, cut.characters), short]


def _sample(sample: ShownSample, characters: int) -> list[Any]:
    answer = None if sample.answer is None else _head(sample.answer, min(200, characters))
    return [sample.index, _head(sample.text, characters), answer, sample.outcome, sample.tokens]


def _head(text: str, characters: int) -> str:
    if len(text) <= characters:
        return text
    return f"{text[:characters]} … ({len(text) - characters:,} characters more)"
