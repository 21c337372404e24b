"""Evaluate reports what the rules say, in JSON and in pictures."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from road_seg_ros.segmenter import RoadSegmenter
from training import evaluate
from training.kitti_road import NOT_ROAD, NOT_SCORED, ROAD, find_pairs
from training.metrics import RoadCounts

KEYS = {
    'max_f',
    'avg_precision',
    'precision',
    'recall',
    'fpr',
    'fnr',
    'threshold',
    'iou',
    'ece',
}


@pytest.fixture(scope='module')
def outputs(
    tiny_model: Path, kitti_like: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict, Path]:
    folder = tmp_path_factory.mktemp('evaluation')
    arguments = ['--model', str(tiny_model), '--data', str(kitti_like), '--engine', 'torch']
    arguments += ['--precision', 'fp32', '--device', 'cpu', '--json', str(folder / 'scores.json')]
    for _ in range(2):  # the second replaces the pictures of the first
        assert evaluate.main([*arguments, '--pictures', str(folder / 'pictures')]) == 0
    return json.loads((folder / 'scores.json').read_text()), folder / 'pictures'


def test_json_has_every_category_and_score(outputs: tuple[dict, Path], tiny_model: Path) -> None:
    report, _ = outputs
    assert set(report['perspective']) == {'urban', 'um', 'umm', 'uu'}
    for scores in report['perspective'].values():
        assert set(scores) == KEYS
        assert 0 <= scores['threshold'] <= 1
    assert (report['images'], report['bev'], report['model']) == (30, None, str(tiny_model))


def test_scores_are_those_of_the_images_of_a_category(
    outputs: tuple[dict, Path], tiny_model: Path, kitti_like: Path
) -> None:
    segmenter = RoadSegmenter.from_checkpoint(tiny_model, 'cpu', 'torch', 'fp32')
    umm, urban = RoadCounts(), RoadCounts()
    for pair in find_pairs(kitti_like):
        confidence, label = segmenter(pair.read_image()).confidence, pair.read_label()
        urban.add(confidence, label)
        if pair.category == 'umm':
            umm.add(confidence, label)
    perspective = outputs[0]['perspective']
    assert perspective['umm'] == pytest.approx(umm.scores(0.5))
    assert perspective['urban'] == pytest.approx(urban.scores(0.5))


def test_pictures_are_sorted_from_the_worst(outputs: tuple[dict, Path]) -> None:
    names = sorted(path.name for path in outputs[1].iterdir())
    assert len(names) == 30
    ranks = [int(name.split('_')[0]) for name in names]
    scores = [float(name.split('_')[2]) for name in names]
    assert ranks == list(range(30))
    assert scores == sorted(scores)
    assert cv2.imread(str(outputs[1] / names[0])).shape == (94, 310, 3)


def test_errors_have_their_colours() -> None:
    image = np.full((1, 5, 3), 100, np.uint8)
    mask = np.array([[255, 0, 255, 0, 255]], np.uint8)
    label = np.array([[ROAD, ROAD, NOT_ROAD, NOT_ROAD, NOT_SCORED]], np.uint8)
    picture = evaluate.draw_errors(image, mask, label)[0].tolist()
    assert picture == [[50, 177, 50], [50, 50, 177], [177, 50, 50], [100] * 3, [50] * 3]


def test_the_table_is_markdown(outputs: tuple[dict, Path]) -> None:
    lines = evaluate.table(outputs[0]['perspective']).splitlines()
    assert len(lines) == 6
    assert {line.count('|') for line in lines} == {10}


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['--model', '/no/model'], "'/no/model' does not exist"),
        (['--data', '/no/data'], '/no/data/training/image_2 does not exist'),
        (['--engine', 'onnx'], "engine must be one of .*, got 'onnx'"),
    ],
)
def test_errors_are_one_line(
    kitti_like: Path, tiny_model: Path, capsys, arguments: list[str], words: str
) -> None:
    import re

    options = ['--model', str(tiny_model), '--data', str(kitti_like)]
    assert evaluate.main([*options, *arguments]) == 2
    assert re.search(f'error: .*{words}', capsys.readouterr().err)


def test_the_model_that_ships_scores_what_its_card_says(kitti_road: Path, tmp_path: Path) -> None:
    report = tmp_path / 'scores.json'
    arguments = ['--data', str(kitti_road), '--validation-fold', '--json', str(report)]
    assert evaluate.main(arguments) == 0
    urban = json.loads(report.read_text())['perspective']['urban']
    assert urban['max_f'] >= 95.0
    assert urban['iou'] >= 90.5
