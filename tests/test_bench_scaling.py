"""A small run of the speed benchmark: what it times is right, and it is judged by its goals."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from bench import scaling
from bench.standard import FULL, QUICK
from vervet.scaling import weighted

TIMES = scaling.Times(1_000_000, 1.0, 2.0, 3.0, 5.5, 500.0, 0.1, 9.0, 2.0)


def test_the_ks_are_fifty_and_end_with_all_draws() -> None:
    for draws in (200, 1000):
        ks = scaling.choose_ks(draws)
        assert len(ks) == 50
        assert ks == sorted(set(ks))
        assert ks[-1] == draws
    assert scaling.choose_ks(7) == [1, 2, 3, 4, 5, 6, 7]


def test_the_plain_way_agrees_with_the_exact_vote() -> None:
    table = scaling.make(3, 31)
    ks = [1, 5, 30, 31]
    plain = scaling.plain_votes(table, ks, 3)
    for kind, found in enumerate(plain):
        exact = weighted.weighted_vote_at_k(table.ballots(bool(kind)), ks, seed=0, n_orders=4000).values
        assert np.abs(found - exact).max() < 5 * 0.5 / np.sqrt(scaling.N_SUBSETS)
        assert found[:, -1] == pytest.approx(exact[:, -1])


def test_a_small_run_in_a_process_of_its_own() -> None:
    figure = scaling.speed(QUICK)
    assert "10,000 draws, one core" in figure.text
    assert "standard errors apart" in figure.text


@pytest.mark.parametrize(
    ("changes", "why"),
    [({}, ""), ({"cpu_s": 11.0}, "11.0 s"), ({"peak_mb": 2100.0}, "2,100 MB"), ({"off": 6.0}, "6.0 standard errors")],
)
def test_the_figure_is_judged(changes: dict[str, float], why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "alone", lambda *_: dataclasses.replace(TIMES, **changes))
    figure = scaling.speed(FULL)
    assert figure.holds is not bool(why)
    assert why in figure.why
