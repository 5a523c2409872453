"""Cut rules for a whole batch: they fire where the rule for one sample fires, and the engine ends the sequence there."""

from __future__ import annotations

import random
from array import array

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.local

from tests.test_engine import columns, fresh, random_llama, run, two_threads  # noqa: E402, F401
from vervet.engine import Engine, Sequence  # noqa: E402
from vervet.engine.cut import Windows  # noqa: E402
from vervet.models.endings import stored_precision  # noqa: E402
from vervet.rules.cut import LowConfidence  # noqa: E402
from vervet.types import Trace  # noqa: E402


def fires_at(rule: LowConfidence, topk: list[float]) -> int | None:
    """What the rule for one sample says, which is the plain twin."""
    return rule.fires_at(stored_precision(Trace(array("i", range(len(topk))), topk=array("f", topk))))


def test_windows_fire_where_the_rule_for_one_sample_fires() -> None:
    rng, n_fired = random.Random(0), 0
    windows = Windows(40)
    rows: list[tuple[LowConfidence | None, list[float]]] = []
    for step in range(1000):
        while len(rows) < 40 and (step < 5 or rng.random() < 0.3):  # joins, with some tokens known already
            rule = rng.choice([None, LowConfidence(rng.randint(1, 30), rng.uniform(1.0, 4.0))])
            known = [float(np.float32(-rng.expovariate(0.5))) for _ in range(rng.choice([0, 0, 3, 50]))]
            if rule is not None and fires_at(rule, known) is not None:
                continue
            windows.start(len(rows), rule, known)
            rows.append((rule, known))
        new = np.array([-rng.expovariate(0.5) * rng.choice([1, 1, 1e-4, 1e6]) for _ in rows], np.float32)
        fired = windows.push(new)
        for (_, topk), value in zip(rows, new.tolist(), strict=True):
            topk.append(value)
        for (rule, topk), fires in zip(rows, fired.tolist(), strict=True):
            want = None if rule is None else fires_at(rule, topk)
            assert fires == (want == len(topk)), (rule, topk)
        n_fired += int(fired.sum())
        for row in sorted({*np.flatnonzero(fired).tolist(), *(i for i in range(len(rows)) if rng.random() < 0.01)})[
            ::-1
        ]:
            windows.move(len(rows) - 1, row)
            rows[row] = rows[-1]
            rows.pop()
    assert n_fired > 40


def test_a_cut_ends_a_sequence_at_its_token_and_changes_no_other() -> None:
    llama = random_llama()
    free = run(Engine(llama, 20), (Sequence((4, 2), i, 120) for i in range(20)))
    rules = [LowConfidence(8, -sum(s.topk[40:48]) / 8 + 1e-3) if i % 2 else None for i, s in enumerate(free)]
    cut = run(Engine(llama, 7), (fresh(s, cut=rule) for s, rule in zip(free, rules, strict=True)))
    for whole, s, rule in zip(free, cut, rules, strict=True):
        n = len(whole.ids) if rule is None else fires_at(rule, list(whole.topk))
        assert n is not None and (rule is None or n <= 48)
        assert columns(s) == tuple(c[:n] for c in columns(whole))


def test_a_cut_sees_the_tokens_that_a_sequence_came_with() -> None:
    llama = random_llama()
    (whole,) = run(Engine(llama), [Sequence((4, 2), 1, 120)])
    rule = LowConfidence(20, 1e9)  # fires as soon as its window is full
    for n in (5, 19):
        first = Sequence((4, 2), 1, n)
        run(Engine(llama), [first])
        after = first.heir(1, 120)
        after.cut = rule
        run(Engine(llama), [after])
        assert after.ids == whole.ids[:20]
