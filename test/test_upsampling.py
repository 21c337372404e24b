"""The edge of a mask is measured in pixels, and the ways to upsample differ as they should."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from road_seg_ros import checkpoint
from road_seg_ros.metrics import NOT_ROAD, NOT_SCORED, ROAD
from training import upsampling
from training.boundary import BoundaryCounts


def _label(first_road_row: int) -> np.ndarray:
    label = np.full((60, 80), NOT_ROAD, np.uint8)
    label[first_road_row:] = ROAD
    return label


@pytest.mark.parametrize(
    ('shift', 'expected'),
    [
        (0, [100, 100, 100]),
        (1, [100, 100, 100]),
        (2, [0, 100, 100]),
        (4, [0, 0, 100]),
        (9, [0, 0, 0]),
    ],
)
def test_an_edge_counts_within_its_tolerance(shift: int, expected: list[int]) -> None:
    counts = BoundaryCounts()
    counts.add((_label(30 + shift) == ROAD).astype(np.uint8) * 255, _label(30))
    assert list(counts.f1().values()) == pytest.approx(expected)


def test_an_edge_too_many_costs_precision_and_one_too_few_recall() -> None:
    label = _label(30)
    two_edges = (label == ROAD).astype(np.uint8)
    two_edges[10:20] = 1
    too_many, none = BoundaryCounts(), BoundaryCounts()
    too_many.add(two_edges, label)
    assert too_many.label_hits[0] == too_many.label_edge > 0
    assert 0 < too_many.mask_hits[0] < too_many.mask_edge
    none.add(np.zeros_like(label), label)
    assert (none.mask_edge, none.label_edge) == (0, too_many.label_edge)
    assert none.f1() == {1: 0.0, 3: 0.0, 5: 0.0}


def test_the_end_of_what_is_scored_is_no_edge() -> None:
    label = _label(0)
    label[:30] = NOT_SCORED
    counts = BoundaryCounts()
    counts.add(np.full_like(label, 255), label)
    assert (counts.mask_edge, counts.label_edge) == (0, 0)


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match='mask is'):
        BoundaryCounts().add(np.zeros((2, 2), np.uint8), _label(30))


def test_ways_that_are_the_same_mathematics_agree() -> None:
    network, info = checkpoint.load()
    scores = np.random.default_rng(0).normal(0, 6, (2, 28, 96)).astype(np.float32)
    with torch.inference_mode():
        results = [way(scores, (375, 1242)) for way in upsampling.ways(network, info).values()]
    assert all((result.dtype, result.shape) == (np.uint8, (375, 1242)) for result in results)
    one, two, *others = (result.astype(int) for result in results)
    assert np.abs(one - two).max() <= 2
    assert all(np.abs(one - other).max() > 2 for other in others)


def test_the_table_has_a_row_for_each_way(tiny_model: Path, kitti_like: Path, capsys) -> None:
    arguments = ['--model', str(tiny_model), '--data', str(kitti_like), '--every', '10']
    assert upsampling.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].count('|') == len(upsampling.COLUMNS) + 2
    names = [line.split('|')[1].strip() for line in lines[2:]]
    assert names == list(upsampling.ways(*checkpoint.load(tiny_model)))


def test_errors_are_one_line(kitti_like: Path, capsys) -> None:
    assert upsampling.main(['--data', str(kitti_like), '--model', '/no']) == 2
    error = capsys.readouterr().err
    assert 'not exist' in error
    assert error.count('\n') == 1
