"""KITTI Road is read by its own rules, and every fault of a data folder is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from pngs import png

from road_seg_ros.image_files import SourceError
from road_seg_ros.metrics import NOT_ROAD, NOT_SCORED, ROAD
from training.kitti_road import Pair, find_pairs, has_kitti, read_all, split_fold


@pytest.fixture
def folder(kitti_like: Path, tmp_path: Path) -> Path:
    """Return a copy that a test may spoil."""
    return Path(shutil.copytree(kitti_like, tmp_path / 'kitti'))


def test_labels_follow_the_devkit_colours(folder: Path) -> None:
    path = folder / 'training' / 'gt_image_2' / 'um_road_000000.png'
    bgr = np.zeros((94, 310, 3), np.uint8)  # black: not scored
    bgr[:, 100:] = (0, 0, 255)  # red: not road
    bgr[:, 200:] = (255, 0, 255)  # magenta: road
    cv2.imwrite(str(path), bgr)
    label = find_pairs(folder)[0].read_label()
    assert set(np.unique(label[:, :100])) == {NOT_SCORED}
    assert set(np.unique(label[:, 100:200])) == {NOT_ROAD}
    assert set(np.unique(label[:, 200:])) == {ROAD}


def test_pairs_are_sorted_and_know_their_category(folder: Path) -> None:
    pairs = find_pairs(folder)
    assert [pair.name for pair in pairs] == sorted(pair.name for pair in pairs)
    assert {pair.category for pair in pairs} == {'um', 'umm', 'uu'}
    assert len(pairs) == 30


def test_lane_labels_and_other_files_are_left_out(folder: Path) -> None:
    labels = folder / 'training' / 'gt_image_2'
    shutil.copy(labels / 'um_road_000000.png', labels / 'um_lane_000000.png')
    (folder / 'training' / 'image_2' / 'notes.txt').write_text('hello')
    assert len(find_pairs(folder)) == 30


@pytest.mark.parametrize('folds', [2, 3, 5])
def test_folds_share_no_image_and_cover_all(folder: Path, folds: int) -> None:
    pairs = find_pairs(folder)
    seen = []
    for fold in range(folds):
        training, validation = split_fold(pairs, folds, fold)
        assert not {p.name for p in training} & {p.name for p in validation}
        assert len(training) + len(validation) == len(pairs)
        assert {p.category for p in validation} == {'um', 'umm', 'uu'}
        seen += [p.name for p in validation]
    assert sorted(seen) == [p.name for p in pairs]


def test_a_fold_is_a_run_of_neighbours(folder: Path) -> None:
    _, validation = split_fold(find_pairs(folder), 5, 4)
    numbers = [int(p.name[-6:]) for p in validation if p.category == 'um']
    assert numbers == [8, 9]


def test_fold_minus_one_trains_on_everything(folder: Path) -> None:
    training, validation = split_fold(find_pairs(folder), 5, -1)
    assert (len(training), len(validation)) == (30, 0)


def test_one_image_of_kitti_among_others_is_enough_for_its_licence() -> None:
    own, theirs = (Pair('', category, Path(), Path()) for category in ('own', 'uu'))
    assert has_kitti([own, theirs])
    assert not has_kitti([own])


def test_endings_may_be_capitals(folder: Path) -> None:
    for name in ('image_2/um_000000.png', 'gt_image_2/um_road_000000.png'):
        path = folder / 'training' / name
        path.rename(path.with_suffix('.PNG'))
    assert len(find_pairs(folder)) == 30


def test_no_category_may_be_called_as_all_of_them_are(folder: Path) -> None:
    shutil.copy(
        folder / 'training' / 'image_2' / 'um_000000.png',
        folder / 'training' / 'image_2' / 'urban_000000.png',
    )
    with pytest.raises(SourceError, match='urban_000000: urban stands for all categories'):
        find_pairs(folder)


def test_the_real_data_is_complete(kitti_road: Path) -> None:
    pairs = find_pairs(kitti_road)
    assert len(pairs) == 241
    image, label = pairs[0].read()
    assert image.shape[:2] == label.shape
    assert 0.05 < np.mean(label == ROAD) < 0.5


def _no_images(folder: Path) -> None:
    shutil.rmtree(folder / 'training' / 'image_2')


def _empty_images(folder: Path) -> None:
    _no_images(folder)
    (folder / 'training' / 'image_2').mkdir()


def _image_without_label(folder: Path) -> None:
    (folder / 'training' / 'gt_image_2' / 'um_road_000003.png').unlink()


def _label_without_image(folder: Path) -> None:
    (folder / 'training' / 'image_2' / 'uu_000004.png').unlink()


@pytest.mark.parametrize(
    ('spoil', 'words'),
    [
        (shutil.rmtree, 'image_2 does not exist; --data takes the folder'),
        (_no_images, 'image_2 does not exist; --data takes the folder'),
        (_empty_images, 'holds no image'),
        (_image_without_label, '1 files have no label in .*gt_image_2: um_000003'),
        (_label_without_image, '1 files have no image in .*image_2: uu_000004'),
    ],
)
def test_a_bad_folder_is_named(folder: Path, spoil, words: str) -> None:
    spoil(folder)
    with pytest.raises(SourceError, match=words):
        find_pairs(folder)


def test_bad_files_are_counted_and_named_together(folder: Path) -> None:
    images, labels = folder / 'training' / 'image_2', folder / 'training' / 'gt_image_2'
    (images / 'um_000001.png').write_bytes(b'no picture')
    (images / 'um_000002.png').write_bytes(b'')
    cv2.imwrite(str(images / 'um_000003.png'), np.zeros((5, 6, 3), np.uint8))
    (images / 'um_000004.png').write_bytes(png(10**5, 10**5))  # OpenCV raises
    cv2.imwrite(str(labels / 'uu_road_000001.png'), np.zeros((94, 310, 3), np.uint8))
    green = np.full((94, 310, 3), (0, 128, 0), np.uint8)
    cv2.imwrite(str(labels / 'uu_road_000002.png'), green)
    faded = cv2.imread(str(labels / 'uu_road_000003.png'))
    faded[50, 60] = (0, 0, 254)  # as a lossy format would leave it
    cv2.imwrite(str(labels / 'uu_road_000003.png'), faded)
    with pytest.raises(SourceError) as error:
        read_all(find_pairs(folder))
    text = str(error.value)
    assert '7 of 30 pairs are bad' in text
    for words in (
        'um_000001.png cannot be decoded',
        'um_000002.png cannot be decoded',
        'um_000004.png cannot be decoded',
        'um_road_000003.png is 310x94, its image 6x5',
        'uu_road_000001.png has no pixel with red > 0',
        'uu_road_000002.png has 29140 pixels of unexpected colours, the first #008000',
        'uu_road_000003.png has 1 pixels of unexpected colours, the first #fe0000',
    ):
        assert words in text
