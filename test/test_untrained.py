"""A model with random weights runs wherever a trained one does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from road_seg_ros import checkpoint
from road_seg_ros.engines import quantization
from road_seg_ros.engines.processor import has_int8
from road_seg_ros.segmenter import RoadSegmenter
from training import untrained


def test_it_runs_in_fp32_and_int8(tmp_path: Path, capsys) -> None:
    path = tmp_path / 'made' / 'model.safetensors'
    arguments = ['--width', '0.1', '--head', 'fc1024', '--out', str(path)]
    assert untrained.main(arguments) == 0
    assert 'model.int8.safetensors' in capsys.readouterr().out
    model = checkpoint.read(path)
    assert dict(model.info.architecture) == {'width': 0.1, 'head': 'fc1024', 'classes': 2}
    shipped = quantization.read(checkpoint.read())
    assert set(quantization.read(model).ranges) == set(shipped.ranges)
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    for engine, precision in (('torch', 'fp32'), ('openvino', 'int8')):
        if precision == 'int8' and not has_int8():
            continue
        segmenter = RoadSegmenter.from_checkpoint(path, 'cpu', engine, precision)
        assert segmenter(image).mask.shape == (64, 96)


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['--out', 'model.pt'], '--out must end in .safetensors, got model.pt'),
        (['--width', '9', '--out', 'model.safetensors'], 'width must be above 0 and at most 4'),
    ],
)
def test_what_cannot_be_written_is_one_line(arguments: list[str], words: str, capsys) -> None:
    assert untrained.main(arguments) == 2
    assert words in capsys.readouterr().err
