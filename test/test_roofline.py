"""The floor is made of what the network really does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from road_seg_ros.fcn8 import FCN8
from training import roofline
from training.roofline import Peak, Work, count, part_of_fcn8


def test_convolutions_and_poolings_are_counted() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.ConvTranspose2d(8, 2, 4, 2, 1),
    )
    parts = count(network, (16, 20), lambda name: name)
    assert parts['0'] == Work(
        flop=2 * 16 * 20 * 8 * 3 * 9, weights=8 * 3 * 9 + 8, activations=16 * 20 * (3 + 8)
    )
    assert parts['2'] == Work(activations=16 * 20 * 8 * 5 // 4)
    assert parts['3'].flop == 2 * 8 * 10 * 8 * 2 * 16
    assert parts['3'].activations == 8 * 10 * 8 + 16 * 20 * 2
    assert '1' not in parts  # an activation function costs nothing


@pytest.mark.parametrize('head', ['fc1024', 'none'])
def test_every_weight_of_the_network_is_in_a_part(head: str) -> None:
    network = FCN8(width=0.1, head=head)
    parts = count(network, (64, 64), part_of_fcn8(network))
    blocks = [f'block {number}' for number in range(1, 6)]
    layers = [] if head == 'none' else ['layers 6 and 7']
    assert list(parts) == [*blocks, *layers, 'scores and upsampling']
    weights = sum(parameter.numel() for parameter in network.parameters())
    assert sum(part.weights for part in parts.values()) == weights


def test_four_times_the_pixels_are_four_times_the_work() -> None:
    network = FCN8(width=0.1, head='fc1024')
    small, large = (
        sum(part.flop for part in count(network, size, part_of_fcn8(network)).values())
        for size in ((64, 96), (128, 192))
    )
    assert large == 4 * small


def test_the_floor_is_the_slower_of_arithmetic_and_memory() -> None:
    peak = Peak({'fp32': 1e9, 'int8': 4e9}, bandwidth=1e8)
    assert peak.floor_ms(Work(flop=10**8, weights=100), 'fp32') == 100
    assert peak.floor_ms(Work(flop=10**8, weights=100), 'int8') == 25
    assert peak.floor_ms(Work(flop=10, weights=10**6, activations=10**6), 'fp32') == 80


def test_the_command_prints_peaks_and_floors(
    tiny_model: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, small in (('MATRIX', 256), ('VECTOR', 2**16), ('CONVOLUTION', (1, 32, 16, 16))):
        monkeypatch.setitem(getattr(roofline, name), 'cpu', small)
        monkeypatch.setitem(getattr(roofline, name), 'cuda', small)
    report = tmp_path / 'made' / 'report.json'
    arguments = ['--model', str(tiny_model), '--size', '64x96', '--width', '0.1']
    assert roofline.main([*arguments, '--head', 'fc1024', '--json', str(report)]) == 0
    output = capsys.readouterr().out
    assert 'FCN-8 width 0.1 head fc1024 at 64x96' in output
    assert '| together |' in output
    data = json.loads(report.read_text())
    precisions = {'fp32', 'bf16', 'int8'} | ({'fp16'} if torch.cuda.is_available() else set())
    assert set(data['peak']['flops']) == precisions
    assert min(data['peak']['flops'].values()) > 1e7
    assert data['peak']['bandwidth'] > 1e7
    total = sum(part['flop'] for part in data['parts'].values()) / 1e9
    assert f'| together | {total:.2f} |' in output


def test_a_bad_size_is_a_usage_error(capsys) -> None:
    with pytest.raises(SystemExit) as end:
        roofline.main(['--size', '160'])
    assert end.value.code == 2
    assert '--size: must be HEIGHTxWIDTH in pixels' in capsys.readouterr().err
