"""What is handed in to the KITTI road benchmark."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from straight_camera import CALIBRATION, seen_from_above

from road_seg_ros import synthetic
from road_seg_ros.image_files import read_image
from road_seg_ros.segmenter import RoadSegmenter
from training import submission


@pytest.fixture
def kitti(tmp_path: Path) -> Path:
    """Return two test images with their calibrations, as KITTI Road has them."""
    testing = tmp_path / 'kitti' / 'testing'
    for name in ('image_2', 'calib'):
        (testing / name).mkdir(parents=True)
    for seed, name in enumerate(('um_000007', 'uu_000012')):
        cv2.imwrite(str(testing / f'image_2/{name}.png'), synthetic.render(seed, 94, 310).image)
        (testing / f'calib/{name}.txt').write_text(CALIBRATION)
    return tmp_path / 'kitti'


def _submit(model: Path, kitti: Path, out: Path) -> int:
    return submission.main(['--model', str(model), '--data', str(kitti), '--out', str(out)])


def test_every_image_has_its_confidence_from_above(
    kitti: Path, tiny_model: Path, tmp_path: Path
) -> None:
    assert _submit(tiny_model, kitti, tmp_path / 'out') == 0
    names = {'um_road_000007.png': 'um_000007', 'uu_road_000012.png': 'uu_000012'}
    assert {path.name for path in (tmp_path / 'out').iterdir()} == set(names)
    segmenter = RoadSegmenter.from_checkpoint(tiny_model)
    for name, image in names.items():
        written = cv2.imread(str(tmp_path / 'out' / name), cv2.IMREAD_UNCHANGED)
        confidence = segmenter(read_image(kitti / f'testing/image_2/{image}.png')).confidence
        np.testing.assert_array_equal(written, seen_from_above(confidence, outside=0))


@pytest.mark.parametrize(
    ('lost', 'words'),
    [
        ('testing/calib/uu_000012.txt', 'uu_000012.txt cannot be read: No such file'),
        ('testing/image_2', 'testing/image_2 does not exist'),
    ],
)
def test_what_is_missing_is_named(
    kitti: Path, tiny_model: Path, tmp_path: Path, capsys, lost: str, words: str
) -> None:
    (kitti / lost).rename(tmp_path / 'elsewhere')
    assert _submit(tiny_model, kitti, tmp_path / 'out') == 2
    assert words in capsys.readouterr().err.splitlines()[-1]
    assert not list((tmp_path / 'out').glob('*'))  # told before the work


def test_two_images_of_one_name_are_refused(
    kitti: Path, tiny_model: Path, tmp_path: Path, capsys
) -> None:
    images = kitti / 'testing' / 'image_2'
    cv2.imwrite(str(images / 'um_000007.jpg'), np.zeros((94, 310, 3), np.uint8))
    assert _submit(tiny_model, kitti, tmp_path / 'out') == 2
    assert 'um_000007 is there twice' in capsys.readouterr().err


def test_nothing_is_written_among_the_data(kitti: Path, tiny_model: Path, capsys) -> None:
    assert _submit(tiny_model, kitti, kitti / 'training' / 'gt_image_2') == 2
    assert 'gt_image_2 is inside of --data' in capsys.readouterr().err
    assert not (kitti / 'training').exists()
