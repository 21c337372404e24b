"""Labelled images as torch batches, augmented."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from road_seg_ros import synthetic
from road_seg_ros.checkpoint import InputSize
from road_seg_ros.segmenter import resize
from training import augmentation
from training.kitti_road import NOT_ROAD, ROAD
from training.sampling import Draw

Sample = tuple[np.ndarray, np.ndarray]  # image uint8 (H, W, 3) BGR, label uint8 (H, W)

# Scenes that training never draws: the demo and the tests use seeds below.
FIRST_TRAINING_SEED = 100_000
# KITTI's own size, and those of other cameras: (height, width).
SYNTHETIC_SIZES = ((375, 1242), (360, 640), (480, 640), (400, 1000))


class TrainingSet(Dataset):
    """Augmented (image uint8 (3, h, w) RGB, label int64 (h, w)); indexed by a `Draw`."""

    def __init__(self, samples: Sequence[Sample], size: InputSize, kind: str) -> None:
        self.samples = samples
        self.pixels = size.height * size.width
        self.kind = kind

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, draw: Draw) -> tuple[torch.Tensor, torch.Tensor]:
        bgr, label = self.samples[draw.index]
        rng = np.random.default_rng(draw.seed)
        if self.kind in ('camera', 'weather'):
            bgr, label = augmentation.view(bgr, label, draw.size, self.pixels, rng)
            image = bgr[..., ::-1].copy()
            augmentation.looks(image, label, rng, weather=self.kind == 'weather')
            return _chw(image), torch.from_numpy(label).long()
        # Otherwise the whole image as the node sees it, mirrored or not.
        every_second = self.kind == 'flip_every_second' and draw.position % 2 == 1
        mirrored = every_second or (self.kind == 'flip' and rng.random() < 0.5)
        step = -1 if mirrored else 1
        image = resize(bgr, draw.size)[:, ::step, ::-1]
        label = cv2.resize(label, draw.size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)[
            :, ::step
        ]
        return _chw(image), torch.from_numpy(label.copy()).long()


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


def render_synthetic(count: int) -> list[Sample]:
    """Return `count` synthetic scenes with their labels, always the same ones, of many sizes."""
    scenes = (
        synthetic.render(FIRST_TRAINING_SEED + index, *SYNTHETIC_SIZES[index % 4])
        for index in range(count)
    )
    return [
        (scene.image, np.where(scene.road > 0, ROAD, NOT_ROAD).astype(np.uint8))
        for scene in scenes
    ]


def _chw(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
