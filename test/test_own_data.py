"""A folder of images and masks becomes one that training reads."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from training import own_data
from training.kitti_road import NOT_ROAD, NOT_SCORED, ROAD, find_pairs


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    images, masks = tmp_path / 'images', tmp_path / 'masks'
    images.mkdir()
    masks.mkdir()
    for name, suffix in (('b street', '.jpg'), ('a', '.png')):
        cv2.imwrite(str(images / f'{name}{suffix}'), np.full((20, 30, 3), ord(name[0]), np.uint8))
        mask = np.zeros((20, 30), np.uint8)
        mask[10:] = 1 if name == 'a' else 255
        mask[:5] = 128
        cv2.imwrite(str(masks / f'{name}.png'), mask)
    return images, masks


def _bring_in(folders: tuple[Path, Path], out: Path, *options: str) -> int:
    images, masks = map(str, folders)
    return own_data.main(['--images', images, '--masks', masks, '--out', str(out), *options])


def test_pairs_are_found_and_mean_the_same(folders: tuple[Path, Path], tmp_path: Path) -> None:
    assert _bring_in(folders, tmp_path / 'out', '--not-scored', '128') == 0
    pairs = find_pairs(tmp_path / 'out')
    assert [(pair.name, pair.category) for pair in pairs] == [
        ('own_000000', 'own'),
        ('own_000001', 'own'),
    ]
    for pair, letter in zip(pairs, 'ab', strict=True):
        image, label = pair.read()
        assert abs(int(image[0, 0, 0]) - ord(letter)) < 3  # sorted by name
        assert (label[:5] == NOT_SCORED).all()
        assert (label[5:10] == NOT_ROAD).all()
        assert (label[10:] == ROAD).all()


def test_without_a_value_for_it_everything_is_scored(folders, tmp_path: Path) -> None:
    assert _bring_in(folders, tmp_path / 'out') == 0
    assert set(np.unique(find_pairs(tmp_path / 'out')[0].read_label())) == {NOT_ROAD, ROAD}


@pytest.mark.parametrize(
    ('break_it', 'words'),
    [
        (lambda i, m: (m / 'a.png').unlink(), '1 names are not both in .*: a'),
        (
            lambda i, m: cv2.imwrite(str(m / 'a.png'), np.zeros((9, 9))),
            'as large as its mask, 9x9',
        ),
        (lambda i, m: (i / 'a.png').write_bytes(b'no'), 'cannot be decoded'),
        (lambda i, m: (m / 'a.png').write_bytes(b'no'), 'cannot be decoded'),
        (
            lambda i, m: cv2.imwrite(str(m / 'a.png'), np.full((20, 30, 3), (1, 2, 3), np.uint8)),
            'a.png is coloured',
        ),
    ],
)
def test_what_is_wrong_is_named(folders, tmp_path: Path, capsys, break_it, words: str) -> None:
    import re

    break_it(*folders)
    assert _bring_in(folders, tmp_path / 'out') == 2
    assert re.search(f'error: .*{words}', capsys.readouterr().err)
    assert not list(tmp_path.glob('out/*'))  # nothing that looks complete


def test_nothing_is_overwritten(folders, tmp_path: Path, capsys) -> None:
    assert _bring_in(folders, tmp_path / 'out') == 0
    assert _bring_in(folders, tmp_path / 'out') == 2
    assert 'has a folder training already' in capsys.readouterr().err
