"""Conditions change image and label together, and every one is scored."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from road_seg_ros.kitti import write_label
from road_seg_ros.metrics import NOT_SCORED, ROAD
from training import conditions
from training.kitti_road import Pair


@pytest.mark.parametrize('name', conditions.CONDITIONS)
def test_a_condition_repeats_and_keeps_image_and_label_together(name: str) -> None:
    image = np.full((120, 400, 3), 100, np.uint8)
    image[60:, 100:300] = 200
    label = np.zeros((120, 400), np.uint8)
    label[60:, 100:300] = ROAD
    label[:10] = NOT_SCORED
    results = [
        conditions.CONDITIONS[name](image.copy(), label.copy(), np.random.default_rng(3))
        for _ in range(2)
    ]
    (seen, truth), (again, _) = results
    assert np.array_equal(seen, again)
    assert seen.dtype == np.uint8 and seen.shape == (*truth.shape, 3)
    assert set(np.unique(truth)) == {0, ROAD, NOT_SCORED}
    gray = seen.mean(2)
    assert gray[truth == ROAD].mean() > gray[truth == 0].mean()


def test_cameras_have_their_shape() -> None:
    image, label = np.zeros((375, 1242, 3), np.uint8), np.zeros((375, 1242), np.uint8)
    rng = np.random.default_rng(0)
    assert conditions.CONDITIONS['4:3'](image, label, rng)[1].shape == (375, 500)
    assert conditions.CONDITIONS['480x360 jpeg'](image, label, rng)[0].shape == (360, 480, 3)
    narrow = np.zeros((640, 480, 3), np.uint8)
    assert conditions.CONDITIONS['16:9'](narrow, narrow[..., 0], rng)[0].shape == (270, 480, 3)


def test_every_condition_is_reported(
    tiny_model: Path, kitti_like: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(conditions, 'SYNTHETIC_SCENES', 2)
    arguments = ['--model', str(tiny_model), '--data', str(kitti_like), '--engine', 'torch']
    arguments += ['--precision', 'fp32', '--json', str(tmp_path / 'scores.json')]
    arguments += ['--pictures', str(tmp_path / 'pictures')]
    assert conditions.main(arguments) == 0
    scores = json.loads((tmp_path / 'scores.json').read_text())
    assert list(scores) == [*conditions.CONDITIONS, 'synthetic']
    table = capsys.readouterr().out.splitlines()
    assert len(table) == 2 + len(scores)
    assert f'| low sun | {scores["low sun"]["max_f"]:.2f} |' in '\n'.join(table)
    pictures = sorted((tmp_path / 'pictures').iterdir())
    assert len(pictures) == 2
    assert cv2.imread(str(pictures[0])) is not None


def test_a_condition_without_road_is_left_out(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog, capsys
) -> None:
    monkeypatch.setattr(conditions, 'SYNTHETIC_SCENES', 2)
    label = np.zeros((5, 40), np.uint8)  # and lower than any line that could be painted
    label[3:, :8] = ROAD  # at the left edge, which a narrower camera does not see
    for folder in ('image_2', 'gt_image_2'):
        (tmp_path / 'training' / folder).mkdir(parents=True)
    cv2.imwrite(str(tmp_path / 'training/image_2/a_000000.png'), np.zeros((5, 40, 3), np.uint8))
    cv2.imwrite(str(tmp_path / 'training/image_2/b_000000.png'), np.zeros((5, 40, 3), np.uint8))
    write_label(tmp_path / 'training/gt_image_2/a_road_000000.png', label)
    write_label(tmp_path / 'training/gt_image_2/b_road_000000.png', np.zeros_like(label))
    assert conditions.main(['--model', str(tiny_model), '--data', str(tmp_path)]) == 0
    assert '4:3: no image shows any road' in caplog.text
    told = capsys.readouterr().out
    assert '| as it is |' in told and '| 4:3 |' not in told


def test_pictures_that_cannot_be_written_are_told_first(
    tiny_model: Path, kitti_like: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(Pair, 'read', lambda _: pytest.fail('too late'))
    (tmp_path / 'file').touch()
    options = ['--model', str(tiny_model), '--engine', 'torch', '--data', str(kitti_like)]
    assert conditions.main([*options, '--pictures', str(tmp_path / 'file')]) == 2
    assert 'File exists' in capsys.readouterr().err


def test_a_missing_folder_is_one_line(tiny_model: Path, capsys) -> None:
    assert conditions.main(['--model', str(tiny_model), '--data', '/no/data']) == 2
    assert 'error: /no/data/training/image_2 does not exist' in capsys.readouterr().err
