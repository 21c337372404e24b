"""Losses do what their papers say, by slow references."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from road_seg_ros.metrics import NOT_ROAD, NOT_SCORED, ROAD
from training import losses


@pytest.fixture
def case() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 2, 3, 4, generator=generator)
    labels = torch.randint(0, 2, (2, 3, 4), generator=generator)
    labels[0, 0] = NOT_SCORED
    labels[1, 2, 1] = NOT_SCORED
    return logits, labels


def _pixels(logits: torch.Tensor, labels: torch.Tensor) -> list[tuple[float, float, int]]:
    return [
        (float(logits[0, y, x]), float(logits[1, y, x]), int(labels[y, x]))
        for y, x in itertools.product(range(3), range(4))
        if labels[y, x] != NOT_SCORED
    ]


def _log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x))


@pytest.mark.parametrize('name', losses.SUPERVISED)
def test_the_loss_of_an_image_is_the_mean_over_its_scored_pixels(name: str, case) -> None:
    logits, labels = case
    measured = losses.SUPERVISED[name](logits, labels, losses.pixel_weight(labels, 0.0))
    for image in range(2):
        terms = []
        for not_road, road, truth in _pixels(logits[image], labels[image]):
            if name == 'softmax':
                right = road - not_road if truth == ROAD else not_road - road
                terms.append(-_log_sigmoid(right))
            else:
                sign = 1 if truth == ROAD else -1
                terms.append(-(_log_sigmoid(sign * road) + _log_sigmoid(-sign * not_road)) / 2)
        assert float(measured[image]) == pytest.approx(sum(terms) / len(terms), rel=1e-5)


def test_lovasz_hinge_is_the_jaccard_loss_where_the_scores_are_whole() -> None:
    # With scores of +-1 the hinge is 0 or 2, and the extension is twice the set function itself.
    for pattern in itertools.product((0, 1), repeat=4):
        truth = torch.tensor([[1, 1, 0, 0]])
        called = torch.tensor([pattern])
        score = called * 2.0 - 1
        logits = torch.stack([torch.zeros_like(score), score], 1)[:, :, None]
        both = int((called & truth).sum())
        either = int((called | truth).sum())
        loss = float(losses.lovasz_hinge(logits, truth[:, None]))
        assert loss == pytest.approx(2 * (1 - both / either))


def test_lovasz_hinge_leaves_out_what_is_not_scored(case) -> None:
    logits, labels = case
    changed = logits.clone()
    changed[:, :, labels[0] == NOT_SCORED] += 5
    before = losses.lovasz_hinge(logits[:1], labels[:1])
    assert torch.equal(before, losses.lovasz_hinge(changed[:1], labels[:1]))
    nothing = torch.full_like(labels, NOT_SCORED)
    assert losses.lovasz_hinge(logits, nothing).tolist() == [0, 0]


def test_imitation_is_zero_for_the_teacher_and_pulls_towards_it(case) -> None:
    logits, labels = case
    weight = torch.ones(2, 3, 4)
    same = losses.imitation(logits, losses.log_odds(logits), weight, 2.0)
    torch.testing.assert_close(same, torch.zeros(2))
    teacher = losses.log_odds(logits) + 1
    logits.requires_grad_(True)
    losses.imitation(logits, teacher, weight, 2.0).sum().backward()
    assert (logits.grad[:, 1] < 0).all()  # descent raises the road's score


def test_imitation_scales_its_gradient_as_hinton_says(case) -> None:
    logits, _ = case
    gradients = []
    for temperature in (1.0, 100.0):
        leaf = (logits * 1e-3).requires_grad_(True)
        loss = losses.imitation(leaf, torch.full((2, 3, 4), 0.1), torch.ones(2, 3, 4), temperature)
        gradients.append(torch.autograd.grad(loss.sum(), leaf)[0])
    torch.testing.assert_close(*gradients, rtol=0.05, atol=1e-4)


def test_the_edge_of_the_road_weighs_more() -> None:
    labels = torch.full((1, 1, 30), NOT_ROAD)
    labels[..., 10:] = ROAD
    labels[..., 25:] = NOT_SCORED
    weight = losses.pixel_weight(labels, 2.0, radius=3)[0, 0].tolist()
    assert weight[:7] == [1] * 7
    assert weight[7:13] == [3] * 6
    assert weight[13:25] == [1] * 12  # where nobody labelled, no road ends
    assert weight[25:] == [0] * 5
    assert losses.pixel_weight(labels, 0.0)[0, 0].tolist() == [1] * 25 + [0] * 5
