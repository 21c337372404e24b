"""What is measured: images, and the engines that this machine has."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from road_seg_ros.frames import SourceError, open_frames, synthetic_frames

if TYPE_CHECKING:  # not at start: it imports torch, which takes seconds
    from road_seg_ros.segmenter import RoadSegmenter

MOST_IMAGES, MOST_BYTES = 50, 200e6  # kept in memory
SYNTHETIC_IMAGES = 20


@dataclass(frozen=True)
class Images:
    """Images to run over and over, uint8 (H, W, 3) BGR each, and where they are from."""

    description: str
    images: list[np.ndarray]

    def describe(self) -> str:
        """Return one line: how many of what, and their sizes, WIDTHxHEIGHT."""
        sizes = dict.fromkeys(f'{image.shape[1]}x{image.shape[0]}' for image in self.images)
        return f'{self.description}, the first {len(self.images)}: {", ".join(sizes)}'


@dataclass(frozen=True)
class Choice:
    """An engine and a precision as a user names them; either may be auto."""

    engine: str
    precision: str

    def __str__(self) -> str:
        return f'{self.engine} {self.precision}'


@dataclass(frozen=True)
class Model:
    """
    A model file, the device it runs on, and how large the network sees an image.

    size: (height, width), whatever the image's shape; None for what the model says.
    """

    path: str = ''
    device: str = 'auto'
    size: tuple[int, int] | None = None

    def open(self, choice: Choice) -> RoadSegmenter:
        """Make a segmenter. CheckpointError or EngineError say why there is none."""
        from road_seg_ros.checkpoint import InputSize
        from road_seg_ros.segmenter import RoadSegmenter

        return RoadSegmenter.from_checkpoint(
            self.path,
            self.device,
            choice.engine,
            choice.precision,
            InputSize(*self.size, keep_aspect_ratio=False) if self.size else None,
        )


def load_images(source: str | None) -> Images:
    """
    Read the first images of a source into memory; a synthetic drive of KITTI's size for None.

    source: as `frames.open_frames` takes it. SourceError says what is wrong with it.
    """
    frames = open_frames(source) if source else synthetic_frames(SYNTHETIC_IMAGES)
    images: list[np.ndarray] = []
    size = 0
    for frame in itertools.islice(frames.frames, MOST_IMAGES):
        images.append(frame.image)
        size += frame.image.nbytes
        if size > MOST_BYTES:
            break
    if not images:
        raise SourceError(f'{source} holds no frame')
    return Images(frames.description, images)


def open_segmenters(
    model: Model, choices: Sequence[Choice]
) -> tuple[dict[str, RoadSegmenter], dict[str, str]]:
    """
    Return segmenters by `engine precision`, and why the other choices have none.

    CheckpointError if the model file cannot be used; EngineError if no choice can be had.
    """
    from road_seg_ros.engines import EngineError

    segmenters: dict[str, RoadSegmenter] = {}
    missing: dict[str, str] = {}
    for choice in choices:
        try:
            segmenter = model.open(choice)
        except EngineError as error:
            missing[str(choice)] = str(error)
            continue
        except ImportError as error:
            missing[str(choice)] = (
                f'engine {choice.engine} needs PyTorch, which cannot be imported ({error}): '
                'pip install torch'
            )
            continue
        name = f'{segmenter.engine.name} {segmenter.engine.precision}'
        if segmenters.setdefault(name, segmenter) is not segmenter:
            segmenter.close()  # what auto has picked was also asked for by name
    if not segmenters:
        raise EngineError('; '.join(dict.fromkeys(missing.values())))
    return segmenters, missing
