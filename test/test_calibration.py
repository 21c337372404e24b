"""The temperature is the one that makes logits honest."""

from __future__ import annotations

import numpy as np
import pytest

from training.calibration import LogitCounts, move_threshold


@pytest.mark.parametrize('temperature', [0.5, 1.0, 1.7, 3.0])
def test_an_overconfident_model_is_cooled_by_as_much(temperature: float) -> None:
    rng = np.random.default_rng(0)
    honest = rng.normal(0, 2, 400_000)
    is_road = rng.random(honest.size) < 1 / (1 + np.exp(-honest))
    counts = LogitCounts()
    counts.add(honest * temperature, is_road)
    assert counts.temperature() == pytest.approx(temperature, rel=0.03)


def test_the_loss_is_least_at_the_temperature_found() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(1, 4, 20_000)
    is_road = rng.random(logits.size) < 1 / (1 + np.exp(-logits / 2.2))
    counts = LogitCounts()
    counts.add(logits, is_road)

    def loss(temperature: float) -> float:
        signed = np.where(is_road, logits, -logits) / temperature
        return float(np.logaddexp(0, -signed).sum())

    found = counts.temperature()
    assert loss(found) < min(loss(found * 0.95), loss(found * 1.05))


def test_log_odds_beyond_the_bins_are_counted_in_the_last() -> None:
    counts = LogitCounts()
    counts.add(np.array([-30.0, 0.0, 2.0]), np.array([False, True, True]))
    counts.add(np.array([30.0]), np.array([True]))
    assert (counts.not_road[0], counts.road[-1]) == (1, 1)
    assert (counts.not_road.sum(), counts.road.sum()) == (1, 3)


def test_a_threshold_moves_with_its_log_odds() -> None:
    assert move_threshold(0.5, 3.0) == pytest.approx(0.5)
    assert move_threshold(0.9, 1.0) == pytest.approx(0.9)
    assert move_threshold(0.9, 2.0) == pytest.approx(0.75)  # odds of 9 become odds of 3
    assert 0 < move_threshold(0.0, 2.0) < move_threshold(1.0, 2.0) < 1


def test_confidences_are_those_of_the_cooled_log_odds() -> None:
    counts = LogitCounts()
    counts.add(np.array([0.0, 2.0, -4.0, 4.0]), np.array([True, True, False, False]))
    at_two = counts.confidences(2.0)
    expected = [round(255 / (1 + np.exp(-z / 2))) for z in (0.0, 2.0, -4.0, 4.0)]
    assert np.flatnonzero(at_two.road).tolist() == expected[:2]
    assert np.flatnonzero(at_two.not_road).tolist() == sorted(expected[2:])
