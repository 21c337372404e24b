"""What the node publishes is scored by the rules that score the model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from graph import node_process
from recordings import CAMERA, compressed, image, text, write_bag

from road_seg_ros import checkpoint, synthetic
from road_seg_ros.bags.reading import GROUND_TRUTH_TOPIC as TRUTH
from road_seg_ros.bags.reading import Bag
from road_seg_ros.checkpoint import Normalization
from road_seg_ros.fcn8 import FCN8
from road_seg_ros.graph_evaluation import ANSWER_TIMEOUT_S, EvaluationError, Result, evaluate
from road_seg_ros.kitti import write_label
from road_seg_ros.metrics import NOT_ROAD, NOT_SCORED, ROAD
from road_seg_ros.node_process import prepare_environment
from road_seg_ros.segmenter import RoadSegmenter
from training.evaluate import score_images
from training.kitti_road import find_pairs
from training.report import build

PERIOD_NS = 100_000_000
IMAGES = 6
ATTACHED = ('--attach', '/front/road_seg', '--camera-topic', '/front/camera/image_raw')
LABEL = np.full((94, 310), 255, np.uint8)


def _evaluate(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, '-m', 'road_seg_ros.graph_evaluation', *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope='module')
def kitti(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a few scenes in KITTI Road's layout."""
    folder = tmp_path_factory.mktemp('kitti')
    for name in ('image_2', 'gt_image_2'):
        (folder / 'training' / name).mkdir(parents=True)
    for index in range(IMAGES):
        scene = synthetic.render(index, 94, 310)
        label = np.where(scene.road, ROAD, NOT_ROAD)
        label[:10] = NOT_SCORED
        cv2.imwrite(str(folder / f'training/image_2/um_{index:06d}.png'), scene.image)
        write_label(folder / f'training/gt_image_2/um_road_{index:06d}.png', label)
    return folder


@pytest.fixture(scope='module')
def bag(kitti: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the same scenes as a bag, compressed ones too, one of each without ground truth."""
    records = []
    for index, pair in enumerate(find_pairs(kitti)):
        pixels, label = pair.read()
        mask = np.where(label == ROAD, 255, 0).astype(np.uint8)
        mask[label == NOT_SCORED] = 127
        records += [image(pixels, index * PERIOD_NS), image(mask, index * PERIOD_NS, TRUTH)]
        records.append(compressed(pixels, index * PERIOD_NS))
    records.append(image(pixels, IMAGES * PERIOD_NS))
    return write_bag(tmp_path_factory.mktemp('bags') / 'bag', records)


@pytest.fixture(scope='module')
def node() -> Iterator[None]:
    """Run a node with the model that ships."""
    with node_process('-r', '__ns:=/front', '-p', 'engine:=torch'):
        yield


def test_the_scores_are_those_of_training_evaluate(
    node: None, kitti: Path, bag: Path, tmp_path: Path
) -> None:
    file = tmp_path / 'new' / 'report.json'
    result = _evaluate(bag, *ATTACHED, '--json', file)
    assert result.returncode == 0, result.stderr
    report = json.loads(file.read_text())
    segmenter = RoadSegmenter.from_checkpoint(engine='torch')
    offline = build(score_images(segmenter, find_pairs(kitti)), segmenter.threshold)
    expected, scores = offline['perspective']['um'], report['perspective']['all']
    assert expected['max_f'] > 50  # a score that means something
    for name in ('max_f', 'avg_precision', 'precision', 'recall', 'fpr', 'fnr', 'iou'):
        assert scores[name] == pytest.approx(expected[name], abs=0.1)
    counts = [report[key] for key in ('images', 'scored', 'unlabelled', 'unanswered', 'rejected')]
    assert counts == [IMAGES, IMAGES, 1, 0, 0]
    assert 0 < report['latency_ms']['median'] <= report['latency_ms']['p95']
    assert report['node']['engine'] == 'torch'
    for words in (f'| all | {scores["max_f"]:.2f} |', 'Latency', f'{IMAGES} scored', 'Model: '):
        assert words in result.stdout


def test_images_that_are_sent_too_fast_are_reported_as_dropped(node: None, bag: Path) -> None:
    with Bag(bag) as opened:
        result = evaluate(opened, rate=1000.0, attach=ATTACHED[1], camera_topic=ATTACHED[3])
    assert result.images == IMAGES
    assert 1 <= result.scored < IMAGES
    report = result.report()
    assert report['dropped'] >= 1
    assert report['dropped'] + report['unseen'] == report['unanswered'] == IMAGES - result.masks
    assert 0 < report['perspective']['all']['max_f'] <= 100


def test_an_answer_of_another_size_than_the_ground_truth_is_told(
    node: None, tmp_path: Path
) -> None:
    records = [image(LABEL[:50], 0), image(LABEL, 0, TRUTH)]
    result = _evaluate(write_bag(tmp_path / 'bag', records), *ATTACHED)
    assert result.returncode == 1
    assert 'error: an answer cannot be scored: confidence is (50, 310), label is (94, 310)' in (
        result.stderr
    )


def test_a_model_that_fails_ends_it_at_once(bag: Path, tmp_path: Path) -> None:
    network = FCN8(width=0.05, head='none')
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.fill_(0 if name.endswith('bias') else 6e4)
    # Of a black image, the first that any node sees, the scores are 0; of others not finite.
    unchanged = Normalization(scale=1.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    info = checkpoint.ModelInfo({}, normalization=unchanged)
    checkpoint.save(tmp_path / 'm.safetensors', network, info)
    began = time.monotonic()
    arguments = ('-p', f'model_path:={tmp_path}/m.safetensors', '-p', 'engine:=torch')
    result = _evaluate(bag, '--', *arguments)
    assert result.returncode == 1
    assert 'road_seg has stopped: failing: ArithmeticError: ' in result.stderr
    assert time.monotonic() - began < IMAGES * ANSWER_TIMEOUT_S / 2


def test_only_a_node_of_its_own_is_kept_to_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for only_here, expected in ((False, None), (True, 'LOCALHOST')):
        monkeypatch.delenv('ROS_AUTOMATIC_DISCOVERY_RANGE')
        prepare_environment(only_here)
        assert os.environ.get('ROS_AUTOMATIC_DISCOVERY_RANGE') == expected
        os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'


def test_compressed_images_go_to_a_node_of_its_own(bag: Path, tiny_model: Path) -> None:
    arguments = ('--topic', f'{CAMERA}/compressed', '--rate', '2', '--')
    result = _evaluate(bag, *arguments, '-p', f'model_path:={tiny_model}', '-p', 'engine:=torch')
    assert result.returncode == 0, result.stderr
    assert f'{IMAGES} sent, ' in result.stdout
    assert checkpoint.load(tiny_model)[1].describe() in result.stdout


def _write(path: Path, *records: object) -> Path:
    return write_bag(path / 'bag', records)


@pytest.mark.parametrize(
    ('records', 'arguments', 'words'),
    [
        ([image(LABEL, 0)], [], 'has no ground truth on /ground_truth/mask'),
        ([image(LABEL, 0, TRUTH), text('/chat', 0, '')], [], 'has no images on any topic'),
        (
            [image(LABEL, 0), image(LABEL, 0, TRUTH)],
            ['--topic', '/front'],
            'has no images on /front: /camera/image_raw',
        ),
        (
            [image(LABEL, 0), image(LABEL // 2 + 3, 0, TRUTH)],
            [],
            'has pixels of value 130; 255 is road, 0 is not, and 127 is not scored',
        ),
        (
            [image(LABEL, 0), image(LABEL, 0, TRUTH)],
            ['--rate', '0'],
            '--rate: must be a number above 0',
        ),
        ([image(LABEL, 0)], ['--attach', '--', '-p', 'device:=cpu'], '--attach starts none'),
        (
            [image(LABEL, 0)],
            ['--camera-topic', '/front'],
            '--camera-topic is of the node of',
        ),
        ([image(LABEL, 0)], ['--json', '/proc/no/report.json'], '--json: /proc/no cannot be made'),
    ],
)
def test_a_bag_that_cannot_be_scored_ends_with_one_line(
    tmp_path: Path, records: list, arguments: list[str], words: str
) -> None:
    result = _evaluate(_write(tmp_path, *records), *arguments)
    assert result.returncode in (1, 2)
    assert 'Traceback' not in result.stderr
    assert words in result.stderr.splitlines()[-1]


def test_a_bag_that_is_not_there_is_named() -> None:
    result = _evaluate('/no/bag')
    assert (result.returncode, result.stderr.strip()) == (1, 'error: /no/bag does not exist')


def test_a_node_that_cannot_start_is_reported(bag: Path) -> None:
    result = _evaluate(bag, '--', '-p', 'model_path:=/no/model')
    assert result.returncode == 1
    assert 'error: road_seg_node ended at start' in result.stderr


def test_without_an_answer_there_is_no_score() -> None:
    with pytest.raises(EvaluationError, match='answered none of the images'):
        Result().scores()
    result = Result(scored=1)
    with pytest.raises(EvaluationError, match='cannot be scored: there is no road pixel'):
        result.scores()
