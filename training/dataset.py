"""Labelled images as torch batches, augmented."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from road_seg_ros import synthetic
from road_seg_ros.checkpoint import InputSize
from road_seg_ros.engines.processor import available_cores
from road_seg_ros.image_files import list_images, read_image
from road_seg_ros.metrics import NOT_ROAD, NOT_SCORED, ROAD
from road_seg_ros.pixels import resize, resize_label
from training import augmentation, other_roads
from training.config import MOVING_CAMERAS, TrainingConfig
from training.kitti_road import read_every
from training.process import Process
from training.sampling import Batches, Draw, batch_sizes

log = logging.getLogger('training')

SHARED_MEMORY = Path('/dev/shm')  # where workers put what they have prepared
SHARE_TAKEN = 0.7  # of what is free there
PREPARED = 2  # batches that a worker is ahead

Sample = tuple[np.ndarray, np.ndarray]  # image uint8 (H, W, 3) BGR, label uint8 (H, W)

# Scenes that training never draws: the demo and the tests use seeds below.
FIRST_TRAINING_SEED = 100_000
# KITTI's own size, and those of other cameras: (height, width).
SYNTHETIC_SIZES = ((375, 1242), (360, 640), (480, 640), (400, 1000))


class TrainingSet(Dataset):
    """Augmented (image uint8 (3, h, w) RGB, label uint8 (h, w)); indexed by a `Draw`."""

    def __init__(self, samples: Sequence[Sample], size: InputSize, kind: str) -> None:
        self.pixels = size.height * size.width
        self.kind = kind
        self.moves_camera = kind in MOVING_CAMERAS
        self.samples = samples
        if not self.moves_camera:  # whole images, always of one size: resized once
            self.samples = [_resize(*sample, (size.height, size.width)) for sample in samples]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, draw: Draw) -> tuple[torch.Tensor, torch.Tensor]:
        bgr, label = self.samples[draw.index]
        rng = np.random.default_rng(draw.seed)
        if self.moves_camera:
            bgr, label = augmentation.view(bgr, label, draw.size, self.pixels, rng)
            image = bgr[..., ::-1].copy()
            if self.kind == 'roads' and draw.abroad:
                other_roads.change(image, label, rng)
            augmentation.looks(image, label, rng, weather=self.kind != 'camera')
            return _chw(image), torch.from_numpy(label)
        every_second = self.kind == 'flip_every_second' and draw.position % 2 == 1
        mirrored = every_second or (self.kind == 'flip' and rng.random() < 0.5)
        step = -1 if mirrored else 1
        return _chw(bgr[:, ::step, ::-1]), torch.from_numpy(label[:, ::step].copy())


class ValidationSet(Dataset):
    """(image uint8 (3, h, w) RGB as the node resizes it, label uint8 (H, W) at native size)."""

    def __init__(self, samples: Sequence[Sample], size: InputSize) -> None:
        self.samples = samples
        self.size = size

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        image, label = self.samples[index]
        return _chw(resize(image, self.size.fit(*label.shape))[..., ::-1]), torch.from_numpy(label)


def render_synthetic(count: int, first_seed: int = FIRST_TRAINING_SEED) -> list[Sample]:
    """Return `count` synthetic scenes with their labels, always the same ones, of many sizes."""
    samples = []
    for index in range(count):
        size = SYNTHETIC_SIZES[index % len(SYNTHETIC_SIZES)]
        scene = synthetic.render(first_seed + index, *size)
        label = np.where(scene.road > 0, ROAD, NOT_ROAD).astype(np.uint8)
        samples.append((scene.image, label))
    return samples


def read_unlabelled(folder: Path) -> list[Sample]:
    """
    Return every image directly in a folder, with a label in which nothing is scored.

    SourceError if there is none, or how many cannot be decoded and the first few of them.
    """
    images = read_every([partial(read_image, path) for path in list_images(folder)], 'images')
    return [(image, np.full(image.shape[:2], NOT_SCORED, np.uint8)) for image in images]


def training_loader(
    samples: Sequence[Sample], settings: TrainingConfig, process: Process
) -> DataLoader:
    """Return the loader of a process's share of the augmented batches."""
    cv2.setNumThreads(0)  # its pool of threads does not survive the fork to a worker
    size = settings.input_size
    _warn_of_stretched(samples, settings)
    workers = settings.workers if settings.workers >= 0 else _choose_workers(settings, process)
    batches = Batches(
        len(samples),
        settings.batch_size,
        batch_sizes(size, settings.crop, settings.many_shapes),
        settings.seed,
        process.rank,
        process.world_size,
    )
    return DataLoader(
        TrainingSet(samples, size, settings.augmentation),
        batch_sampler=batches,
        num_workers=workers,
        prefetch_factor=PREPARED if workers else None,
        persistent_workers=workers > 0,
        multiprocessing_context='fork' if workers else None,  # workers share the images
        generator=torch.Generator(),  # leaves the global one, and so dropout, alone
        pin_memory=torch.cuda.is_available(),
    )


def _warn_of_stretched(samples: Sequence[Sample], settings: TrainingConfig) -> None:
    """Say so where training shows images in another shape than the node will."""
    size = settings.input_size
    if settings.augmentation in MOVING_CAMERAS:
        return
    stretched = sum(size.fit(*label.shape) != (size.height, size.width) for _, label in samples)
    if stretched:
        log.warning(
            'augmentation %s stretches %d of %d images to %dx%d, which the node will not do: set '
            'keep_aspect_ratio=false, or augmentation=%s',
            *(settings.augmentation, stretched, len(samples), size.height, size.width),
            MOVING_CAMERAS[0],
        )


def _choose_workers(settings: TrainingConfig, process: Process) -> int:
    """Return one for every core but one, or as many as have room for the batches they prepare."""
    workers = max(1, available_cores() // process.local_world_size - 1)
    if not SHARED_MEMORY.is_dir():
        return workers
    pixels = settings.input_height * settings.input_width
    batch_bytes = 4 * pixels * settings.batch_size // process.world_size  # RGB and label
    free = SHARE_TAKEN * shutil.disk_usage(SHARED_MEMORY).free / process.local_world_size
    room = int(free / (PREPARED * batch_bytes))
    if room < workers:
        log.warning(
            '%s has room for the batches of %d processes, not %d: images are prepared more slowly '
            '(in a container, docker run --shm-size=1g)', SHARED_MEMORY, room, workers,
        )  # fmt: skip
    return min(workers, room)


def _resize(image: np.ndarray, label: np.ndarray, size: tuple[int, int]) -> Sample:
    return resize(image, size), resize_label(label, size)


def _chw(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
