"""A folder of images and masks becomes one that training reads."""

from __future__ import annotations

import re
import shutil
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from pngs import png

from road_seg_ros.metrics import NOT_ROAD, NOT_SCORED, ROAD
from training import own_data
from training.kitti_road import find_pairs


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


def turn(path: Path) -> None:
    """Give a JPEG or PNG the Exif orientation of one taken upside down."""
    upper_half = np.arange(20)[:, None, None] < 10
    cv2.imwrite(str(path), np.broadcast_to(np.where(upper_half, 0, 255), (20, 30, 3)))
    orientation = struct.pack('>HHIHH', 0x112, 3, 1, 3, 0)
    tiff = b'MM\0*' + struct.pack('>IH', 8, 1) + orientation + bytes(4)
    data = path.read_bytes()
    if path.suffix == '.png':
        end = 8 + 25  # of signature and header
        chunk = b'eXIf' + tiff
        chunk = struct.pack('>I', len(tiff)) + chunk + struct.pack('>I', zlib.crc32(chunk))
    else:
        end = 2  # of the first marker
        exif = b'Exif\0\0' + tiff
        chunk = b'\xff\xe1' + struct.pack('>H', len(exif) + 2) + exif
    path.write_bytes(data[:end] + chunk + data[end:])


def cut_short(path: Path) -> None:
    """Take the second half of a file away."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


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


def test_wide_pairs_are_shrunk_together(tmp_path: Path, capsys, monkeypatch) -> None:
    images, masks = tmp_path / 'images', tmp_path / 'masks'
    images.mkdir()
    masks.mkdir()
    for name, width in (('1', 400), ('2', 60)):
        mask = np.zeros((width // 2, width), np.uint8)
        mask[:, width // 4 :] = 255
        cv2.imwrite(str(masks / f'{name}.png'), mask)
        cv2.imwrite(str(images / f'{name}.jpg'), np.dstack([mask] * 3))
    monkeypatch.setattr(own_data, 'MUCH_GB', 1e-5)
    assert _bring_in((images, masks), tmp_path / 'out', '--max-width', '100') == 0
    wide, narrow = (pair.read() for pair in find_pairs(tmp_path / 'out'))
    for (image, label), shape in ((wide, (50, 100)), (narrow, (30, 60))):
        assert label.shape == shape
        expected = np.arange(shape[1]) >= shape[1] // 4
        assert ((label == ROAD) == expected).all()
        assert np.abs(image[..., 0] - 255.0 * expected).max() < 25
    assert 'training keeps 0 GB of pixels in memory; --max-width 1280' in capsys.readouterr().out


def test_names_that_are_no_utf8_are_kept(folders, tmp_path: Path) -> None:
    for folder, suffix in zip(folders, ('.jpg', '.png'), strict=True):
        (folder / f'b street{suffix}').rename(folder / f'stra\udcdfe{suffix}')
    out = tmp_path / 'o\udcdft'
    assert _bring_in(folders, out) == 0
    assert b'own_000001,stra\xdfe.jpg' in (out / 'names.csv').read_bytes()
    assert find_pairs(out)[1].read_label().any()


def test_without_a_value_for_it_everything_is_scored(folders, tmp_path: Path) -> None:
    assert _bring_in(folders, tmp_path / 'out') == 0
    assert set(np.unique(find_pairs(tmp_path / 'out')[0].read_label())) == {NOT_ROAD, ROAD}


@pytest.mark.parametrize(
    ('break_it', 'words'),
    [
        (lambda i, m: (m / 'a.png').unlink(), '1 names are not both in .*: a'),
        (lambda i, m: shutil.copy(i / 'a.png', i / 'a.jpg'), 'have the same name'),
        (
            lambda i, m: cv2.imwrite(str(m / 'a.png'), np.ones((20, 30), np.uint16)),
            'a.png has 1 channels of uint16',
        ),
        (
            lambda i, m: cv2.imwrite(str(m / 'a.png'), np.ones((20, 30, 4), np.uint8)),
            'a.png has 4 channels of uint8',
        ),
        (
            lambda i, m: cv2.imwrite(str(m / 'a.png'), np.zeros((9, 9))),
            'as large as its mask, 9x9',
        ),
        (lambda i, m: (i / 'a.png').write_bytes(b'no'), 'cannot be decoded'),
        (lambda i, m: (m / 'a.png').write_bytes(b'no'), 'cannot be decoded'),
        (lambda i, m: (m / 'a.png').write_bytes(b''), 'a.png cannot be decoded'),
        (lambda i, m: (m / 'a.png').write_bytes(png(10**5, 10**5)), 'a.png cannot be decoded'),
        (lambda i, m: turn(i / 'b street.jpg'), 'b street.jpg is turned by its Exif orientation'),
        (lambda i, m: turn(i / 'a.png'), 'a.png is turned by its Exif orientation'),
        (lambda i, m: cut_short(i / 'b street.jpg'), 'b street.jpg cannot be decoded'),
        (
            lambda i, m: (cut_short(i / 'b street.jpg'), (m / 'a.png').write_bytes(b'no')),
            '2 of 2 pairs are bad:\n.*a.png cannot .*\n.*b street.jpg cannot',
        ),
        (
            lambda i, m: cv2.imwrite(str(m / 'a.png'), np.full((20, 30, 3), (1, 2, 3), np.uint8)),
            'a.png has 3 channels of uint8; a mask is a grey PNG',
        ),
    ],
)
def test_what_is_wrong_is_named(folders, tmp_path: Path, capsys, break_it, words: str) -> None:
    break_it(*folders)
    assert _bring_in(folders, tmp_path / 'out') == 2
    assert re.search(f'error: .*(\n.*)?{words}', capsys.readouterr().err)
    assert not list(tmp_path.glob('out/*'))  # nothing that looks complete


def test_names_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for kind in ('images', 'masks'):
        (tmp_path / kind).mkdir()
        for number in (1, 2, 10):
            picture = np.full((4, 4), number, np.uint8)
            cv2.imwrite(str(tmp_path / kind / f'frame_{number}.png'), picture)
    assert _bring_in((tmp_path / 'images', tmp_path / 'masks'), tmp_path / 'out') == 0
    grays = [pair.read_image()[0, 0, 0] for pair in find_pairs(tmp_path / 'out')]
    assert grays == [1, 2, 10]


@pytest.mark.parametrize('value', ['0', '256'])
def test_a_value_that_no_mask_can_have_is_refused(folders, tmp_path: Path, capsys, value) -> None:
    assert _bring_in(folders, tmp_path / 'out', '--not-scored', value) == 2
    assert f'--not-scored must be in [1, 255], got {value}' in capsys.readouterr().err


def test_a_value_that_no_mask_has_is_refused(folders, tmp_path: Path, capsys) -> None:
    assert _bring_in(folders, tmp_path / 'out', '--not-scored', '2') == 2
    assert 'error: --not-scored 2 is in no mask; they have 0, 1, 128, 255, and all but 0' in (
        capsys.readouterr().err
    )
    assert not list(tmp_path.glob('out/*'))


def test_a_mask_in_which_nothing_is_scored_is_refused(folders, tmp_path: Path, capsys) -> None:
    cv2.imwrite(str(folders[1] / 'a.png'), np.full((20, 30), 128, np.uint8))
    assert _bring_in(folders, tmp_path / 'out', '--not-scored', '128') == 2
    assert 'a.png is 128 everywhere' in capsys.readouterr().err


def test_it_is_said_what_was_brought_in(folders, tmp_path: Path, capsys) -> None:
    assert _bring_in(folders, tmp_path / 'out', '--not-scored', '128') == 0
    said = capsys.readouterr().out
    assert '2 images; of their pixels 50.0 % are road, 25.0 % not road and 25.0 % not sc' in said
    height, width = map(int, re.search(r'input_height=(\d+) input_width=(\d+)', said).groups())
    assert (height / width, height * width) == (
        pytest.approx(20 / 30, rel=0.1),
        pytest.approx(224 * 768, rel=0.1),
    )
    names = (tmp_path / 'out' / 'names.csv').read_text().splitlines()
    assert names[1:] == ['own_000000,a.png,a.png', 'own_000001,b street.jpg,b street.png']


def test_nothing_is_overwritten(folders, tmp_path: Path, capsys) -> None:
    assert _bring_in(folders, tmp_path / 'out') == 0
    assert _bring_in(folders, tmp_path / 'out') == 2
    assert 'has a names.csv already' in capsys.readouterr().err
