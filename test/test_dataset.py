"""Samples become tensors of the right size, values and direction."""

from __future__ import annotations

import resource
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from road_seg_ros.checkpoint import InputSize
from road_seg_ros.image_files import SourceError
from road_seg_ros.metrics import NOT_SCORED, ROAD
from training import config, dataset
from training.dataset import TrainingSet, ValidationSet, read_unlabelled, render_synthetic
from training.process import Process
from training.sampling import Draw

SIZE = InputSize(64, 192)


@pytest.fixture
def sample() -> tuple[np.ndarray, np.ndarray]:
    image = np.zeros((96, 310, 3), np.uint8)
    image[..., 0] = 10  # blue
    image[:, :155, 2] = 200  # red on the left, where the road is
    label = np.zeros((96, 310), np.uint8)
    label[:, :155] = ROAD
    return image, label


@pytest.mark.parametrize('kind', config.AUGMENTATIONS)
def test_every_kind_gives_tensors_of_the_batch_size(kind: str, sample) -> None:
    data = TrainingSet([sample], SIZE, kind)
    for seed in range(8):
        image, label = data[Draw(0, seed, seed, (64, 192))]
        assert image.shape == (3, 64, 192) and image.dtype == torch.uint8
        assert label.shape == (64, 192) and label.dtype == torch.uint8
        assert set(label.unique().tolist()) <= {0, ROAD, NOT_SCORED}


def test_channels_become_rgb(sample) -> None:
    image, _ = TrainingSet([sample], SIZE, 'none')[Draw(0, 0, 0, (64, 192))]
    assert image[:, 32, 10].tolist() == [200, 0, 10]


@pytest.mark.parametrize(
    ('kind', 'mirrored'), [('none', [0] * 6), ('flip_every_second', [0, 1, 0, 1, 0, 1])]
)
def test_every_second_image_of_a_batch_is_mirrored(kind: str, mirrored: list, sample) -> None:
    data = TrainingSet([sample], SIZE, kind)
    for position, expected in enumerate(mirrored):
        image, label = data[Draw(0, position, 0, (64, 192))]
        assert bool(image[0, 32, -1] > 0) == bool(expected)
        assert bool(label[32, -1] == ROAD) == bool(expected)


def test_flip_is_a_coin(sample) -> None:
    data = TrainingSet([sample], SIZE, 'flip')
    heads = sum(int(data[Draw(0, 0, seed, (64, 192))][1][32, -1] == ROAD) for seed in range(60))
    assert 15 < heads < 45


def test_roads_change_only_at_other_cameras(sample) -> None:
    roads, weather = (TrainingSet([sample], SIZE, kind) for kind in ('roads', 'weather'))
    for seed in range(10):
        for at_home, expected in zip(
            roads[Draw(0, 0, seed, (64, 192))], weather[Draw(0, 0, seed, (64, 192))], strict=True
        ):
            assert torch.equal(at_home, expected)
    changed = sum(
        not torch.equal(roads[draw][0], weather[draw][0])
        for draw in (Draw(0, 0, seed, (96, 128), abroad=True) for seed in range(20))
    )
    assert changed > 10


def test_validation_keeps_labels_at_native_size(sample) -> None:
    image, label = ValidationSet([sample], SIZE)[0]
    assert image.shape == (3, 64, 192)
    assert label.shape == (96, 310) and label.dtype == torch.uint8
    assert image[:, 32, 10].tolist() == [200, 0, 10]


def test_synthetic_scenes_have_many_shapes_and_repeat() -> None:
    scenes, again = render_synthetic(4), render_synthetic(4)
    assert len({label.shape for _, label in scenes}) == 4
    for (image, label), (image2, label2) in zip(scenes, again, strict=True):
        assert np.array_equal(image, image2) and np.array_equal(label, label2)
        assert ROAD in label


@pytest.mark.filterwarnings('ignore:This DataLoader will create')
def test_workers_have_room_for_what_they_prepare(
    sample, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(dataset, 'available_cores', lambda: 16)
    monkeypatch.setattr(dataset.shutil, 'disk_usage', lambda _: SimpleNamespace(free=64 * 2**20))
    settings = config.TrainingConfig(batch_size=15, input_height=160, input_width=576)
    batch_bytes = 15 * 160 * 576 * 4
    with caplog.at_level('WARNING'):
        loader = dataset.training_loader([sample] * 15, settings, Process())
    assert loader.num_workers == 4
    assert 4 * 2 * batch_bytes < 0.7 * 64 * 2**20 < 5 * 2 * batch_bytes
    assert 'has room for the batches of 4 processes, not 15' in caplog.text


@pytest.mark.filterwarnings('ignore:This DataLoader will create')
@pytest.mark.parametrize(
    ('workers', 'cores', 'processes', 'expected'),
    [(-1, 16, 1, 15), (-1, 16, 4, 3), (-1, 1, 1, 1), (0, 16, 1, 0), (3, 16, 1, 3)],
)
def test_workers_are_as_many_as_cores_less_one_unless_set(
    sample,
    monkeypatch: pytest.MonkeyPatch,
    workers: int,
    cores: int,
    processes: int,
    expected: int,
) -> None:
    monkeypatch.setattr(dataset, 'available_cores', lambda: cores)
    monkeypatch.setattr(dataset.shutil, 'disk_usage', lambda _: SimpleNamespace(free=10**12))
    settings = config.TrainingConfig(workers=workers, batch_size=4)
    process = Process(0, processes, processes)
    loader = dataset.training_loader([sample] * 4, settings, process)
    assert loader.num_workers == expected
    if expected:  # share the decoded images, whatever this Python would do
        assert loader.multiprocessing_context.get_start_method() == 'fork'


@pytest.mark.filterwarnings('ignore:This DataLoader will create')
@pytest.mark.parametrize(
    ('augmentation', 'keep_aspect_ratio', 'warned'),
    [('none', True, True), ('none', False, False), ('camera', True, False)],
)
def test_a_shape_that_the_node_would_not_show_the_network_is_told(
    caplog, augmentation: str, keep_aspect_ratio: bool, warned: bool
) -> None:
    square = np.zeros((300, 300, 3), np.uint8), np.zeros((300, 300), np.uint8)
    wide = np.zeros((100, 300, 3), np.uint8), np.zeros((100, 300), np.uint8)
    settings = config.TrainingConfig(
        augmentation=augmentation,
        keep_aspect_ratio=keep_aspect_ratio,
        input_height=64,
        input_width=192,
    )
    with caplog.at_level('WARNING'):
        dataset.training_loader([square, wide], settings, Process())
    assert ('none stretches 1 of 2 images to 64x192' in caplog.text) == warned


def test_unlabelled_images_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    for index in range(5):
        cv2.imwrite(str(tmp_path / f'{index}.png'), np.full((8, 12, 3), index, np.uint8))
    samples = read_unlabelled(tmp_path)
    assert [image[0, 0, 0] for image, _ in samples] == [0, 1, 2, 3, 4]
    assert all(np.all(label == NOT_SCORED) for _, label in samples)
    (tmp_path / '1.png').write_text('text')
    (tmp_path / '3.png').unlink()
    (tmp_path / '3.png').symlink_to('nowhere')
    (tmp_path / '4.png').unlink()
    (tmp_path / '4.png').mkdir()
    with pytest.raises(
        SourceError, match='3 of 5 images are bad:\n.*1.png .*\n.*3.png.*\n.*4.png'
    ):
        read_unlabelled(tmp_path)


def test_lack_of_memory_is_no_damage(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / 'large.png'), np.zeros((8000, 8000, 3), np.uint8))
    limits = resource.getrlimit(resource.RLIMIT_AS)
    now = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + 100_000_000, limits[1]))
    try:
        with pytest.raises(MemoryError, match='Failed to allocate 192000000 bytes'):
            read_unlabelled(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
