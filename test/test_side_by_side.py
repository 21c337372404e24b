"""Everything that is compared does the same job."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from road_seg_ros import checkpoint, synthetic
from road_seg_ros.segmenter import RoadSegmenter
from training import side_by_side
from training.side_by_side import _bilinear, eager, naive

CPU = torch.device('cpu')


def test_every_step_finds_the_same_road() -> None:
    image = synthetic.render(3, 188, 621).image
    segmenter = RoadSegmenter.from_checkpoint('', 'cpu', 'torch', 'fp32')
    network, info = checkpoint.load()
    expected = segmenter(image).mask > 0
    assert 0.05 < expected.mean() < 0.95
    last = torch.channels_last
    for mask, least in (
        (naive(network, info, CPU), 0.97),  # it does not average areas
        (eager(network, info, CPU), 0.999),
        (eager(network, info, CPU, memory_format=last), 0.999),
        (eager(network, info, CPU, torch.bfloat16, last), 0.98),
    ):
        got = mask(image)
        assert got.shape == image.shape[:2]
        assert got.dtype == np.uint8
        assert set(np.unique(got)) <= {0, 255}
        got = got > 0
        assert (got & expected).sum() / (got | expected).sum() > least


@pytest.mark.parametrize('size', [(7, 9), (40, 31), (20, 30)])
def test_bilinear_with_numpy_is_what_opencv_does(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).random((20, 30, 3), np.float32)
    expected = cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(_bilinear(pixels, size), expected, atol=1e-5)
    np.testing.assert_allclose(_bilinear(pixels[..., 0], size), expected[..., 0], atol=1e-5)


def test_the_command_prints_steps_and_others(
    tiny_model: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side_by_side, 'TORCHVISION', ('lraspp_mobilenet_v3_large',))
    folder = tmp_path / 'frames'
    folder.mkdir()
    cv2.imwrite(str(folder / '0.png'), synthetic.render(0, 94, 310).image)
    report = tmp_path / 'made' / 'report.json'
    arguments = ['--frames', str(folder), '--model', str(tiny_model), '--device', 'cpu']
    arguments += ['--size', '64x96', '--repeats', '2', '--json', str(report)]
    assert side_by_side.main(arguments) == 0
    output = capsys.readouterr().out
    assert '1 images of' in output
    assert '| eager fp32, numpy round it |' in output
    rows = {row['name']: row for row in json.loads(report.read_text())['rows']}
    steps = [name for name, row in rows.items() if row['step']]
    assert steps[:4] == ['eager fp32, numpy round it', 'OpenCV round it', 'channels_last', 'bf16']
    assert steps[4].startswith('RoadSegmenter, openvino')
    theirs = rows['torchvision lraspp_mobilenet_v3_large, fp32']
    assert not theirs['step']
    assert 3.0e6 < theirs['parameters'] < 3.4e6
    assert theirs['flop'] > rows['bf16']['flop'] > 1e6
    assert '| torchvision lraspp_mobilenet_v3_large, channels_last bf16 |' in output
    assert all(row['durations']['count'] == 2 for row in rows.values())


def test_a_missing_source_is_one_line(capsys) -> None:
    assert side_by_side.main(['--frames', '/no/folder']) == 2
    assert 'error: /no/folder does not exist' in capsys.readouterr().err
