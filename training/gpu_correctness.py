"""Whether the CUDA engine gives what the CPU gives, and holds what it promises, on a GPU."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from road_seg_ros import synthetic
from road_seg_ros.checkpoint import ModelInfo
from road_seg_ros.engines import Segmentation, Tint, Wanted
from road_seg_ros.engines.cuda_engine import KEPT, CudaEngine
from road_seg_ros.engines.torch_engine import TorchEngine
from road_seg_ros.fcn8 import FCN8
from road_seg_ros.overlay import draw_overlay
from road_seg_ros.pixels import threshold_mask
from training.gpu_report import Finding, guarded

TINT = Tint((20, 200, 90), 0.37)
UNTIL_REPLAY = 3  # the first image runs as it is, the second is captured
STEP = 2  # of the 8-bit confidence, that 32 bits may be off anywhere, and 16 bits hardly anywhere
SHARE_WITHIN = {'fp16': 0.999, 'bf16': 0.99}  # of the pixels; bf16's mantissa is 3 bits shorter
LEAST_IOU = 0.985  # of the masks
# Of the convolutions that cuDNN has, some add up in another order each time.
REPEAT_STEP, REPEAT_SHARE = 1, 1e-3


@dataclasses.dataclass(frozen=True)
class Subject:
    """A model on a device, and how much of it to check. sizes: (height, width) of images."""

    network: FCN8
    info: ModelInfo
    device: torch.device
    precisions: Sequence[str]
    sizes: Sequence[tuple[int, int]]
    repeats: int

    def engine(self, precision: str) -> CudaEngine:
        """Return a new engine."""
        return CudaEngine(self.network, self.info, self.device, precision)

    @property
    def wanted(self) -> Wanted:
        """What is asked of an image where nothing else is said."""
        return Wanted(self.info.threshold)


def check_all(subject: Subject) -> Iterator[Finding]:
    """Yield the findings of every check; an exception is a finding that did not pass."""
    for check in (
        _results,
        _overlay,
        _choices,
        _changing_sizes,
        _live_threshold,
        _two_under_way,
        _given_up,
        _not_finite,
        _beyond_float16,
        _repeats,
        _close_and_open,
    ):
        yield from guarded(check.__name__.strip('_').replace('_', ' '), lambda c=check: c(subject))


def _results(subject: Subject) -> Iterator[Finding]:
    reference = TorchEngine(copy.deepcopy(subject.network), subject.info, 'fp32')
    images = [synthetic.render(5, *size).image for size in subject.sizes]
    expected = [reference.submit(image, subject.wanted)() for image in images]
    for precision in subject.precisions:
        engine = subject.engine(precision)
        for image, of_cpu in zip(images, expected, strict=True):
            for stage in ('as it is', 'replayed'):
                result = _settled(engine, image, subject.wanted, stage == 'replayed')
                what = f'{precision}, {image.shape[1]}x{image.shape[0]}, {stage}'
                yield _compare(what, result, of_cpu, SHARE_WITHIN.get(precision, 1.0))
        engine.close()


def _compare(what: str, result: Segmentation, of_cpu: Segmentation, share: float) -> Finding:
    apart = np.abs(result.confidence.astype(int) - of_cpu.confidence)
    within = np.mean(apart <= STEP)
    road, road_of_cpu = result.mask > 0, of_cpu.mask > 0
    union = np.count_nonzero(road | road_of_cpu)
    iou = np.count_nonzero(road & road_of_cpu) / union if union else 1.0
    passed = within >= share and (share == 1 or iou >= LEAST_IOU)
    return Finding(
        f'confidence and mask, {what}',
        f'off by {apart.max()} of 255 at most, {apart.mean():.4f} on average, {within:.3%} '
        f'within {STEP}; mask IoU {iou:.4f}',
        f'{STEP} at most' if share == 1 else f'{share:.1%} within {STEP}, IoU {LEAST_IOU}',
        passed,
    )


def _overlay(subject: Subject) -> Iterator[Finding]:
    engine = subject.engine('auto')
    image = synthetic.render(6, *subject.sizes[0]).image
    wrong = 0
    for alpha in (0.0, 0.37, 0.5, 1.0):
        wanted = dataclasses.replace(subject.wanted, tint=Tint((250, 3, 77), alpha))
        result = _settled(engine, image, wanted)
        expected = draw_overlay(image, result.mask, wanted.tint.color, alpha)
        wrong += np.count_nonzero(result.overlay != expected)
    engine.close()
    yield Finding('overlay', f'{wrong} bytes unlike those of the CPU', '0', wrong == 0)


def _choices(subject: Subject) -> Iterator[Finding]:
    engine = subject.engine('auto')
    image = synthetic.render(7, *subject.sizes[0]).image
    first = _settled(engine, image, subject.wanted)
    wrong = 0
    for confidence in (True, False):
        for tint in (None, TINT):
            wanted = Wanted(subject.info.threshold, confidence, tint)
            result = _settled(engine, image, wanted)
            wrong += (result.confidence is None) == confidence
            wrong += (result.overlay is None) == (tint is not None)
            wrong += not _same(result.mask, first.mask)
    engine.close()
    yield Finding('what is wanted, and nothing else', f'{wrong} wrong', '0', wrong == 0)


def _changing_sizes(subject: Subject) -> Iterator[Finding]:
    engine = subject.engine('auto')
    height, width = subject.sizes[0]
    images = [synthetic.render(seed, height, width + 2 * seed).image for seed in range(KEPT + 3)]
    expected = [_settled(engine, image, subject.wanted) for image in images]
    wrong = sum(
        not _same(engine.submit(image, subject.wanted)().confidence, result.confidence)
        for _ in range(3)
        for image, result in zip(images, expected, strict=True)
    )
    engine.close()
    yield Finding(
        f'{len(images)} sizes in turns, more than are kept', f'{wrong} wrong', '0', wrong == 0
    )


def _live_threshold(subject: Subject) -> Iterator[Finding]:
    engine = subject.engine('auto')
    image = synthetic.render(8, *subject.sizes[0]).image
    wrong = 0
    _settled(engine, image, subject.wanted)
    for threshold in np.linspace(0, 1, 41):
        result = engine.submit(image, Wanted(float(threshold)))()
        expected = threshold_mask(result.confidence, float(threshold))
        wrong += not np.array_equal(result.mask, expected)
    engine.close()
    yield Finding('threshold, changed live', f'{wrong} masks wrong', '0', wrong == 0)


def _two_under_way(subject: Subject) -> Iterator[Finding]:
    engine = subject.engine('auto')
    images = [synthetic.render(seed, *subject.sizes[0]).image for seed in range(8)]
    expected = [_settled(engine, image, subject.wanted) for image in images]
    wrong = 0
    for turn in range(subject.repeats):
        pair = (turn % 8, (3 * turn + 1) % 8)
        calls = [engine.submit(images[index], subject.wanted) for index in pair]
        for place in ((0, 1), (1, 0))[turn % 2]:
            result = calls[place]()
            wrong += not _same(result.confidence, expected[pair[place]].confidence)
    engine.close()
    yield Finding(
        f'{2 * subject.repeats} images, two under way', f'{wrong} wrong', '0', wrong == 0
    )


def _given_up(subject: Subject) -> Iterator[Finding]:
    engine = subject.engine('auto')
    images = [synthetic.render(seed, *subject.sizes[0]).image for seed in range(2)]
    expected = _settled(engine, images[0], subject.wanted)
    wrong = 0
    for _ in range(subject.repeats):
        engine.submit(images[1], subject.wanted)  # and nobody takes the result
        wrong += not _same(engine.submit(images[0], subject.wanted)().mask, expected.mask)
    engine.close()
    yield Finding('after images that were given up', f'{wrong} wrong', '0', wrong == 0)


def _not_finite(subject: Subject) -> Iterator[Finding]:
    image = synthetic.render(9, *subject.sizes[0]).image
    for value in ('nan', 'inf'):
        network = copy.deepcopy(subject.network)
        with torch.no_grad():
            network.features[0].bias[0] = float(value)
        engine = CudaEngine(network, subject.info, subject.device)
        raised = 0
        for _ in range(UNTIL_REPLAY):
            try:
                engine.submit(image, subject.wanted)()
            except ArithmeticError:
                raised += 1
        engine.close()
        yield Finding(
            f'{value} in the network',
            f'{raised} of {UNTIL_REPLAY} images raise ArithmeticError',
            'all',
            raised == UNTIL_REPLAY,
        )


def _beyond_float16(subject: Subject) -> Iterator[Finding]:
    """Activations that only fit float16 because the engine scales them."""
    network = copy.deepcopy(subject.network)
    with torch.no_grad():
        network.features[0].weight.mul_(256)
        network.features[0].bias.mul_(256)
        network.features[2].weight.div_(256)
    image = synthetic.render(9, *subject.sizes[0]).image
    engine, plain = (
        CudaEngine(network, subject.info, subject.device, 'fp16'),
        subject.engine('fp16'),
    )
    found, expected = (_settled(one, image, subject.wanted) for one in (engine, plain))
    engine.close()
    plain.close()
    apart = np.abs(found.confidence.astype(int) - expected.confidence)
    yield Finding(
        'activations beyond float16', f'off by {apart.max()} of 255', '2', apart.max() <= STEP
    )


def _repeats(subject: Subject) -> Iterator[Finding]:
    engine = subject.engine('auto')
    image = synthetic.render(10, *subject.sizes[0]).image
    expected = _settled(engine, image, subject.wanted).confidence
    results = [engine.submit(image, subject.wanted)().confidence for _ in range(subject.repeats)]
    engine.close()
    wrong = sum(not _same(result, expected) for result in results)
    other = sum(not np.array_equal(result, expected) for result in results)
    yield Finding(
        f'the same image {subject.repeats} times',
        f'{wrong} wrong, {other} not the same to the last bit',
        '0 wrong',
        wrong == 0,
    )


def _close_and_open(subject: Subject) -> Iterator[Finding]:
    images = [synthetic.render(11, *size).image for size in subject.sizes[:2]]
    reserved, masks = [], []
    for _ in range(5):
        engine = subject.engine('auto')
        for image in images:
            calls = [engine.submit(image, subject.wanted) for _ in range(2)]
            for call in calls:
                call()
            masks.append(_settled(engine, image, subject.wanted).mask)
        del call, calls
        engine.close()
        if subject.device.type == 'cuda':
            reserved.append(torch.cuda.memory_reserved(subject.device) / 1e6)
    wrong = sum(not _same(mask, masks[index % len(images)]) for index, mask in enumerate(masks))
    yield Finding('closed and opened again', f'{wrong} masks wrong', '0', wrong == 0)
    if reserved:
        yield Finding(
            'memory after each close',
            ', '.join(f'{size:.0f}' for size in reserved) + ' MB reserved by PyTorch',
            'no growth',
            reserved[-1] <= reserved[0],
        )


def _settled(
    engine: CudaEngine, image: np.ndarray, wanted: Wanted, replayed: bool = True
) -> Segmentation:
    """Return the result of an image whose size and wishes the engine has met before, or not."""
    for _ in range(UNTIL_REPLAY if replayed else 1):
        result = engine.submit(image, wanted)()
    return result


def _same(found: np.ndarray, expected: np.ndarray) -> bool:
    """Whether two confidences, or two masks, are the same but for what repeating may change."""
    apart = np.abs(found.astype(int) - expected)
    far = apart > REPEAT_STEP
    return bool(far.mean() <= REPEAT_SHARE)
