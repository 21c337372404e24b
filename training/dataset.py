"""Labelled images as torch batches, augmented."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from road_seg_ros import synthetic
from road_seg_ros.checkpoint import InputSize
from road_seg_ros.segmenter import resize
from training.kitti_road import NOT_ROAD, NOT_SCORED, ROAD

Sample = tuple[np.ndarray, np.ndarray]  # image uint8 (H, W, 3) BGR, label uint8 (H, W)

# Scenes that training never draws: the demo and the tests use seeds below.
FIRST_TRAINING_SEED = 100_000
SYNTHETIC_SIZE = (375, 1242)  # as KITTI's, so that both go through the same augmentation


class TrainingSet(Dataset):
    """Augmented (image uint8 (3, h, w) RGB, label int64 (h, w)) at the network's size."""

    def __init__(self, samples: Sequence[Sample], transform: v2.Transform) -> None:
        self.samples = samples
        self.transform = transform

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        image, label = self.samples[index]
        image, label = self.transform(tv_tensors.Image(_rgb_chw(image)), tv_tensors.Mask(label))
        return image.as_subclass(torch.Tensor), label.as_subclass(torch.Tensor).long()


class ValidationSet(Dataset):
    """(image uint8 (3, h, w) RGB as the node resizes it, label uint8 (H, W) at native size)."""

    def __init__(self, samples: Sequence[Sample], size: InputSize) -> None:
        self.samples = samples
        self.size = size

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        image, label = self.samples[index]
        return _rgb_chw(resize(image, self.size.fit(*label.shape))), torch.from_numpy(label)


def render_synthetic(count: int) -> list[Sample]:
    """Return `count` synthetic scenes with their labels, always the same ones."""
    scenes = (
        synthetic.render(FIRST_TRAINING_SEED + index, *SYNTHETIC_SIZE) for index in range(count)
    )
    return [
        (scene.image, np.where(scene.road > 0, ROAD, NOT_ROAD).astype(np.uint8))
        for scene in scenes
    ]


def training_transform(name: str, height: int, width: int) -> v2.Transform:
    """
    Return the joint image and label augmentation of that name; its images are height x width.

    `none` and `flip_every_second` only resize (the flip is done on whole batches); `road` varies
    scale, aspect, position, tilt, light and sharpness as another camera or hour would.
    """
    if name != 'road':
        return v2.Resize((height, width), antialias=True)
    aspect = width / height
    return v2.Compose(
        [
            v2.RandomAffine(
                degrees=3, shear=3, fill={tv_tensors.Image: 0, tv_tensors.Mask: NOT_SCORED}
            ),
            v2.RandomResizedCrop(
                (height, width), scale=(0.3, 1.0), ratio=(0.7 * aspect, 1.2 * aspect)
            ),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.04),
            v2.RandomApply([v2.GaussianBlur(5, sigma=(0.1, 1.5))], p=0.2),
            v2.RandomGrayscale(p=0.05),
        ]
    )


def flip_every_second(
    samples: list[tuple[torch.Tensor, torch.Tensor]],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Collate a batch and mirror its second, fourth, ... image left to right."""
    images = torch.stack([image for image, _ in samples])
    labels = torch.stack([label for _, label in samples])
    images[1::2] = images[1::2].flip(-1)
    labels[1::2] = labels[1::2].flip(-1)
    return images, labels


def _rgb_chw(bgr: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(bgr[..., ::-1].transpose(2, 0, 1)))
