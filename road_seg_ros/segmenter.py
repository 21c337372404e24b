"""
From an image to a drivable-road mask, without ROS.

    segmenter = RoadSegmenter.from_checkpoint()
    result = segmenter(cv2.imread('street.png'))
    cv2.imwrite('mask.png', result.mask)
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np

from road_seg_ros import checkpoint, engines, memory
from road_seg_ros.checkpoint import InputSize, ModelInfo
from road_seg_ros.engines import Engine, Segmentation, Tint, Wanted

__all__ = ['RoadSegmenter', 'Segmentation', 'Tint']


class RoadSegmenter:
    """
    Segments images with one engine.

    Several threads may call it, and wait for each other; `submit` and `stream` are for one alone.
    `threshold` (of the road probability, 0..1) may be set at any time, from any thread; it holds
    from the next image on.
    """

    def __init__(self, engine: Engine, info: ModelInfo, why: str = '') -> None:
        self.engine = engine
        self.why = why  # the reason for this engine, for a log
        self._closed = False
        self._lock = threading.Lock()
        self.start_s: dict[str, float] = {}  # what took how many seconds until it was ready
        self.info = info
        self.threshold = info.threshold

    @classmethod
    def from_checkpoint(
        cls,
        path: str | os.PathLike[str] = '',
        device: str = 'auto',
        engine: str = 'auto',
        precision: str = 'auto',
        input_size: InputSize | None = None,
    ) -> RoadSegmenter:
        """
        Load a model file and make it ready to run.

        path: as `checkpoint.find` takes it, '' for the default model. device, engine, precision:
        as `engines.choose` takes them. input_size: what the network is to see instead of what the
        model file says.
        CheckpointError or EngineError (both ValueErrors) say what is wrong and what to set;
        ImportError, what is not installed.
        """
        times = [time.perf_counter()]
        model = checkpoint.read(path)
        model.require_two_classes()
        if input_size is not None:
            model = replace(model, info=replace(model.info, input=input_size))
        choice = engines.choose(model, device, engine, precision)
        times.append(time.perf_counter())
        made = choice.create(model)
        times.append(time.perf_counter())
        segmenter = cls(made, model.info, choice.why)
        # The first run allocates; better now than on the first camera image. CUDA tunes and
        # captures on the second image of each size.
        segmenter(np.zeros((model.info.input.height, model.info.input.width, 3), np.uint8))
        times.append(time.perf_counter())
        how = 'from the cache' if made.from_cache else 'made'
        stages = ('model file read', f'engine {how}', 'first run')
        segmenter.start_s = dict(zip(stages, np.diff(times).tolist(), strict=True))
        return segmenter

    @property
    def threshold(self) -> float:
        """The road probability from which a pixel counts as road, 0..1."""
        return self._threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        if not 0.0 <= value <= 1.0:
            raise ValueError(f'threshold must be in [0, 1], got {value}')
        self._threshold = float(value)

    def __call__(self, image: np.ndarray) -> Segmentation:
        """
        Return the mask and the confidence of one image.

        image: uint8 (H, W, 3) BGR, any H and W of at least 1; it is not changed.
        ValueError for anything else, and after `close`; ArithmeticError if the network's answer is
        not finite.
        """
        with self._lock:
            return self.submit(image)()

    def submit(
        self, image: np.ndarray, confidence: bool = True, tint: Tint | None = None
    ) -> Callable[[], Segmentation]:
        """
        Begin to segment an image; the call that comes back waits for the result.

        image: as for `__call__`, and not to be written to until the result is there. confidence:
        whether it is wanted; tint: of the overlay, None for no overlay. At most two images may be
        under way. Errors as for `__call__`, from either call.
        """
        if self._closed:
            raise ValueError('this segmenter is closed; make another one')
        if not isinstance(image, np.ndarray):
            raise ValueError(f'image must be a numpy array, got {type(image).__name__}')
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ValueError(
                f'image must be uint8 (H, W, 3) BGR and not empty, got {image.dtype} {image.shape}'
            )
        return self.engine.submit(image, Wanted(self._threshold, confidence, tint))

    def stream(
        self, images: Iterable[np.ndarray], confidence: bool = True
    ) -> Iterator[Segmentation]:
        """Yield what `submit` gives for each image, in order, with two of them under way."""
        under_way: deque[Callable[[], Segmentation]] = deque()
        for image in images:
            under_way.append(self.submit(image, confidence))
            if len(under_way) == 2:
                yield under_way.popleft()()
        while under_way:
            yield under_way.popleft()()

    def close(self) -> None:
        """Free the memory of the network. Nothing can be segmented afterwards."""
        with self._lock:
            self._closed = True
            self.engine.close()
        memory.give_back()
