"""
Which samples make up a batch, and with what random numbers they are augmented.

All of it follows from the seed and the epoch alone: a run that is resumed, has more worker
processes or is spread over several devices sees the same batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Sampler

from road_seg_ros.checkpoint import InputSize
from road_seg_ros.geometry import network_size

# Width by height of the cameras that batches are cut for, beside KITTI's own 3.3 to 3.6.
OTHER_ASPECTS = (2.5, 16 / 9, 4 / 3)


@dataclass(frozen=True)
class Draw:
    """
    One sample of a batch: which, its place in the whole batch, seed and (height, width).

    abroad: whether the size is of another camera than the network's own.
    """

    index: int
    position: int
    seed: int
    size: tuple[int, int]
    abroad: bool = False


class Batches(Sampler[list[Draw]]):
    """
    The batches of an epoch for one device of several; every image is drawn at least once.

    The last batch is filled up from the start of the epoch's order. batch_size counts the
    images of all devices together. sizes: (height, width) of a batch's images, the first one in
    half of the batches. ValueError if batch_size is not a multiple of the number of devices.
    """

    def __init__(
        self,
        samples: int,
        batch_size: int,
        sizes: Sequence[tuple[int, int]],
        seed: int,
        rank: int = 0,
        devices: int = 1,
    ) -> None:
        if batch_size % devices:
            raise ValueError(f'batch_size {batch_size} does not divide among {devices} devices')
        self.samples = samples
        self.batch_size = batch_size
        self.sizes = tuple(sizes)
        self.seed = seed
        self.rank = rank
        self.devices = devices
        self.epoch = 0
        self.sampler = self  # where Lightning looks for set_epoch

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration draws, from 0."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.samples // self.batch_size)

    def __iter__(self) -> Iterator[list[Draw]]:
        rng = np.random.default_rng((self.seed, self.epoch))
        order = np.resize(rng.permutation(self.samples), len(self) * self.batch_size)
        for indices in order.reshape(-1, self.batch_size):
            own_size = len(self.sizes) == 1 or rng.random() < 0.5
            size = self.sizes[0 if own_size else rng.integers(1, len(self.sizes))]
            seeds = rng.integers(2**63, size=self.batch_size)
            draws = [
                Draw(int(index), position, int(seed), size, not own_size)
                for position, (index, seed) in enumerate(zip(indices, seeds, strict=True))
            ]
            yield draws[self.rank :: self.devices]


def batch_sizes(
    input_size: InputSize, crop: float, many_shapes: bool
) -> tuple[tuple[int, int], ...]:
    """
    Return the (height, width)s of training batches, the input's own shape first.

    crop: share of the input's pixels that an image of a batch has.
    """
    if crop == 1 and not many_shapes:
        return ((input_size.height, input_size.width),)
    pixels = round(crop * input_size.height * input_size.width)
    aspects = (input_size.width / input_size.height, *(OTHER_ASPECTS if many_shapes else ()))
    return tuple(network_size(1000, round(1000 * aspect), pixels) for aspect in aspects)
