"""Figures of the scaling lab: the published table of Pythia's coverage, exact votes, adaptive sets, imports.

``python -m bench.lab --data FOLDER`` prints them. The recorded data are not shipped: ``VERVET_DATA`` names their folder.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.standard import FULL, QUICK, ROOT, Figure, Size, start
from vervet.errors import Mistake
from vervet.exchange.export import export
from vervet.run import Run
from vervet.scaling.counted import coverage_at_k, pass_at_k_of
from vervet.scaling.counts import Counts, Stopped
from vervet.scaling.subsets import ballot, vote_over_all_plain
from vervet.scaling.vote import tally, vote_at_k, vote_at_k_plain
from vervet.scaling.weighted import counted, levels_of

MONKEYS = "monkeys/pythia_math_n10000_counts.csv"
EARLY = "early_stopping/gpt35_last_letters_T0.7_answers.jsonl"
REWARDS = "rewards/math_odd_8samples_reward.jsonl"

KS = (1, 10, 100, 1000, 10000)
COVERAGE = {  # at KS, as published figures of Pythia on MATH have it to five places
    "Pythia 70M": (0.00065, 0.00597, 0.03610, 0.12414, 0.26562),
    "Pythia 160M": (0.00267, 0.02509, 0.16191, 0.41016, 0.57031),
    "Pythia 410M": (0.00622, 0.05172, 0.22718, 0.48180, 0.65625),
    "Pythia 1B": (0.00833, 0.06646, 0.27452, 0.54619, 0.74219),
    "Pythia 2.8B": (0.02031, 0.13475, 0.42204, 0.67779, 0.81250),
    "Pythia 6.9B": (0.01856, 0.13140, 0.43165, 0.68773, 0.83594),
    "Pythia 12B": (0.02319, 0.15682, 0.48343, 0.72325, 0.87500),
}
LOGLOG = {
    "Pythia 70M": (-7.8065, -0.1902), "Pythia 160M": (-6.5340, -0.2778), "Pythia 410M": (-5.4726, -0.2848),
    "Pythia 1B": (-5.3045, -0.3103), "Pythia 2.8B": (-4.1346, -0.3358), "Pythia 6.9B": (-4.2886, -0.3488),
    "Pythia 12B": (-4.1077, -0.3691),
}  # fmt: skip
NLS = {
    "Pythia 70M": (-8.2846, -0.1992), "Pythia 160M": (-6.2839, -0.2743), "Pythia 410M": (-5.5674, -0.2888),
    "Pythia 1B": (-5.6012, -0.3195), "Pythia 2.8B": (-4.3150, -0.3457), "Pythia 6.9B": (-4.4912, -0.3593),
    "Pythia 12B": (-4.2990, -0.3784),
}  # fmt: skip
BETA = {  # alpha, beta, nll of the scaled beta-binomial
    "Pythia 70M": (0.0546, 2.004, 1.5373), "Pythia 160M": (0.1503, 1.685, 3.3806), "Pythia 410M": (0.1534, 1.719, 4.0329),
    "Pythia 1B": (0.1861, 2.250, 4.4968), "Pythia 2.8B": (0.2174, 2.562, 5.5002), "Pythia 6.9B": (0.2324, 2.249, 5.5320),
    "Pythia 12B": (0.2500, 1.821, 5.8368),
}  # fmt: skip

VOTES = {1: 0.7860, 5: 0.8100, 10: 0.8120, 20: 0.8100, 40: 0.8160}  # the vote over the first k answers of the file
PASSES = {1: 0.78715, 2: 0.82984, 5: 0.86188, 10: 0.88242, 20: 0.90260, 40: 0.92000}

N_CASES = 400
SIMULATED = 20_000


def recorded(name: str) -> Path | None:
    """A recorded file, None where ``VERVET_DATA`` names no folder that has it."""
    folder = Path(os.environ.get("VERVET_DATA") or "/nonexistent")
    return next((path for path in (folder / name, folder / Path(name).name) if path.is_file()), None)


def missing(name: str) -> Figure:
    """The figure of what cannot be measured here."""
    return Figure(f"not measured: VERVET_DATA names no folder with {name}", False, "VERVET_DATA")


def vervet(*args: str) -> Any:
    """What a command prints with --json."""
    done = subprocess.run(
        [sys.executable, "-m", "vervet", *args, "--json"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return json.loads(done.stdout)


def monkeys(size: Size) -> Figure:
    """The published table by one command: coverage, both fits, the scaled beta-binomial."""
    path = recorded(MONKEYS)
    if path is None:
        return missing(MONKEYS)
    found = vervet("scale", str(path), "--k", ",".join(map(str, KS)))
    wrong = [
        f"{curve['name']} coverage at {k} {value:.5f}"
        for curve in found["curves"]
        for k, value, wanted in zip(KS, curve["coverage"], COVERAGE[curve["name"]], strict=True)
        if f"{value:.5f}" != f"{wanted:.5f}"
    ]
    fits = {(row["curve"], row["law"]): row for row in found["fits"]}
    for law, table in (("loglog", LOGLOG), ("nls", NLS)):
        for name, wanted in table.items():
            values = [fits[name, law]["parameters"][one] for one in ("a", "b")]
            wrong += [
                f"{name} {law} {v:.4f} for {w:.4f}" for v, w in zip(values, wanted, strict=True) if abs(v - w) > 5.1e-5
            ]
    off_shape, off_nll = 0.0, 0.0
    for name, (alpha, beta, nll) in BETA.items():
        row = fits[name, "scaled beta"]
        shape = [abs(row["parameters"][p] / w - 1) for p, w in (("alpha", alpha), ("beta", beta))]
        off_shape, off_nll = max(off_shape, *shape), max(off_nll, abs(row["nll"] - nll))
    n = len(COVERAGE) * len(KS) + 2 * sum(len(v) for v in LOGLOG.values())
    text = (
        f"{n - len(wrong)} of {n} figures to their last digit; scaled beta: alpha and beta within {100 * off_shape:.2f} %, "
        f"nll within {off_nll:.1e}"
    )
    holds = len(found["curves"]) == len(COVERAGE) and not wrong and off_shape <= 0.005 and off_nll <= 1e-3
    return Figure(text, holds, "; ".join(wrong[:3]) or "the scaled beta is further off")


def imported(size: Size) -> Figure:
    """Recorded answers by one command each: the vote over the first k, coverage, best by reward."""
    early, rewards = recorded(EARLY), recorded(REWARDS)
    if early is None or rewards is None:
        return missing(EARLY if early is None else REWARDS)
    with tempfile.TemporaryDirectory() as folder:
        pool = f"{folder}/early.sqlite"
        vervet("import", str(early), "--pool", pool, "--grader", "exact")
        curve = vervet("scale", pool, "--k", ",".join(map(str, PASSES)))["curves"][0]
        replay = ("run", f"pool:{pool}", "--pool", pool, "--replay", "--with")
        votes = {k: vervet(*replay, f"generate(n={k}) | vote()")["accuracy"] for k in VOTES}
        other = f"{folder}/rewards.sqlite"
        vervet("import", str(rewards), "--pool", other, "--grader", "math")
        again = ("run", f"pool:{other}", "--pool", other, "--replay", "--with")
        vote, best = (vervet(*again, f"generate(n=8) | {end}")["accuracy"] for end in ("vote()", "best(by='reward')"))
    covered = dict(zip(PASSES, curve["coverage"], strict=True))
    wrong = [f"vote of {k}: {votes[k]:.4f} for {w:.4f}" for k, w in VOTES.items() if abs(votes[k] - w) > 5e-5]
    wrong += [
        f"coverage at {k}: {covered[k]:.5f} for {w:.5f}" for k, w in PASSES.items() if abs(covered[k] - w) > 5.1e-6
    ]
    n = len(VOTES) + len(PASSES)
    text = f"{n - len(wrong)} of {n} published figures of GPT-3.5's answers; 50 problems with rewards: vote {vote:.3f}, best {best:.3f}"
    return Figure(text, not wrong, "; ".join(wrong[:3]))


def exact_votes(size: Size) -> Figure:
    """The exact vote and the exact weighted vote beside every subset of small random cases, ties and silence among them."""
    generator, worst, n = np.random.default_rng(0), 0.0, N_CASES if size.name == FULL.name else 40
    for _ in range(n):
        draws, classes = int(generator.integers(1, 10)), int(generator.integers(1, 5))
        codes = generator.integers(-1, classes, draws)
        keys = [None if code < 0 else str(code) for code in codes]
        right = [code == 0 for code in codes]
        weights = generator.integers(0, 6, draws).astype(float).tolist()
        one, ks = ballot(keys, right, weights), list(range(1, draws + 1))
        counted_at = counted(one, levels_of(one), ks) if any(right) else np.zeros(draws)
        for k in ks:
            worst = max(worst, abs(float(vote_at_k([tally(keys, right)], [k])[0, 0]) - vote_at_k_plain(keys, right, k)))
            worst = max(worst, abs(float(counted_at[k - 1]) - vote_over_all_plain(one, k)))
    return Figure(f"{n} cases at every k: at most {worst:.1e} apart", worst < 1e-9, f"{worst} apart")


def adaptive(size: Size) -> Figure:
    """Sets that stopped at the first success: refused by pass@k, right by path counting, wrong by c / n."""
    generator, cap, ks = np.random.default_rng(1), 60, [1, 10, 30, 60]
    chance = generator.beta(0.3, 3.0, SIMULATED)
    first = generator.geometric(np.clip(chance, 1e-12, 1))
    counts = Counts(np.minimum(first, cap), first <= cap, stopped=Stopped(1, cap))
    try:
        pass_at_k_of(counts, [1])
        refused = False
    except Mistake:
        refused = True
    truth = np.array([1 - ((1 - chance) ** k).mean() for k in ks])
    paths = coverage_at_k(counts, ks).mean(axis=0)
    naive = float((counts.correct / counts.n).mean())
    noise = 4 * np.sqrt(truth * (1 - truth) / SIMULATED)
    text = (
        f"pass@k {'refused' if refused else 'NOT refused'}; coverage at 1, 10, 30, 60 by path counting "
        f"{', '.join(f'{v:.3f}' for v in paths)}, truth {', '.join(f'{v:.3f}' for v in truth)}; c / n says {naive:.3f} for {truth[0]:.3f}"
    )
    return Figure(text, refused and bool((np.abs(paths - truth) < noise).all()), "path counting is off")


def exports(size: Size) -> Figure:
    """Real samples of the embedded model, written as training data: do `datasets` and TRL take them for what they are?"""
    try:
        import datasets
        from transformers import AutoTokenizer
        from trl.data_utils import is_conversational, maybe_apply_chat_template
    except ImportError as error:
        return Figure(f"not measured: {error}", False, "pip install trl datasets")
    tokenizer = AutoTokenizer.from_pretrained(ROOT / "src/vervet/models/embedded")
    said, wrong = [], []
    with tempfile.TemporaryDirectory() as folder:
        run = start(Run("words", "generate(n=16)", problems=20, split="train", pool=f"{folder}/p.sqlite"))
        for form in ("sft", "pairs", "groups"):
            for kind, ending in (("parquet", "parquet"), ("json", "jsonl")):
                path = f"{folder}/{form}.{ending}"
                found = export(f"{folder}/p.sqlite", path, form, run=run.run)
                rows = datasets.load_dataset(kind, data_files=path, split="train", cache_dir=f"{folder}/{form}-{kind}")
                bad = [row for row in rows if not is_conversational(row)]
                asked = {k: v for k, v in rows[0].items() if k not in ("responses", "rewards")}
                whole = "prompt" in maybe_apply_chat_template(asked, tokenizer)
                if len(rows) != found.rows or bad or not whole:
                    wrong.append(f"{form} as {kind}: {len(rows)} of {found.rows} rows, {len(bad)} no conversation")
            said.append(f"{found.rows} rows of {form}")
    return Figure(f"{', '.join(said)}, from Parquet and JSON lines, all taken", not wrong, "; ".join(wrong))


MEASURES: dict[str, Callable[[Size], Figure]] = {
    "monkeys": monkeys,
    "imported": imported,
    "exact-votes": exact_votes,
    "adaptive": adaptive,
    "exports": exports,
}


def main() -> None:
    """Print every figure."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", metavar="FOLDER", help="where the recorded data are")
    options.add_argument("--quick", action="store_true", help="fewer cases")
    args = options.parse_args()
    if args.data:
        os.environ["VERVET_DATA"] = args.data
    for name, measure in MEASURES.items():
        figure = measure(QUICK if args.quick else FULL)
        print(f"{name}: {figure.text}" + ("" if figure.holds else f" ({figure.why})"))


if __name__ == "__main__":
    main()
