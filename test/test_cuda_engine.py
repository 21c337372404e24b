"""The engine for CUDA: slots, graphs and errors on the CPU, everything where there is a GPU."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from road_seg_ros import synthetic
from road_seg_ros.checkpoint import InputSize, ModelInfo
from road_seg_ros.engines import EngineError, Tint, Wanted, cuda_engine
from road_seg_ros.engines.cuda_engine import CudaEngine
from road_seg_ros.engines.lanes import CpuLane, Task
from road_seg_ros.engines.torch_engine import TorchEngine
from road_seg_ros.fcn8 import FCN8

CPU = torch.device('cpu')
INFO = ModelInfo({}, InputSize(32, 64))
TINT = Tint((10, 200, 30), 0.4)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason='there is no CUDA GPU')


def network() -> FCN8:
    torch.manual_seed(0)
    net = FCN8(width=0.05, head='none').eval()
    with torch.no_grad():
        net.score3.weight.mul_(100)  # so that noise gives some road, and some not
    return net


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


class LateLane(CpuLane):
    """Does nothing before somebody waits, as a GPU may; keeps count of its graphs."""

    def __init__(self) -> None:
        self.queued: list[Task] = []
        self.captured: list[Task] = []
        self.released: list[Task] = []

    def context(self) -> nullcontext:
        return nullcontext()

    def queue(self, *tasks: Task) -> None:
        self.queued += tasks

    @torch.inference_mode()
    def wait(self) -> None:
        while self.queued:
            self.queued.pop(0)()

    def capture(self, task: Task) -> Task:
        task()
        self.captured.append(lambda: task())
        return self.captured[-1]

    def release(self, captured: Task) -> None:
        assert captured in self.captured
        assert captured not in self.released
        self.released.append(captured)


class LateEngine(CudaEngine):
    """A CudaEngine on such lanes."""

    def make_lane(self, device: torch.device) -> LateLane:
        self.lanes = [*getattr(self, 'lanes', []), LateLane()]
        return self.lanes[-1]

    def count(self, what: str) -> int:
        return sum(len(getattr(lane, what)) for lane in self.lanes)


@pytest.fixture
def engine() -> LateEngine:
    return LateEngine(network(), INFO, CPU, 'fp32')


def expected_mask(image: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    return TorchEngine(network(), INFO, 'fp32').submit(image, Wanted(threshold))().mask


def assert_same(mask: np.ndarray, expected: np.ndarray) -> None:
    assert 0.1 < np.mean(expected > 0) < 0.9
    assert np.mean(mask != expected) < 0.01


# Two under way


@pytest.mark.parametrize('order', [(0, 1), (1, 0)])
def test_two_under_way_do_not_meet_in_whatever_order_they_are_taken(
    engine: LateEngine, order: tuple[int, int]
) -> None:
    images = noise(40, 90, 1), noise(40, 90, 2)
    for _ in range(3):  # new, captured, replayed
        calls = [engine.submit(image, Wanted(0.5)) for image in images]
        results = {index: calls[index]() for index in order}
        for index, image in enumerate(images):
            assert_same(results[index].mask, expected_mask(image))


def test_a_third_image_is_refused_until_one_is_taken(engine: LateEngine) -> None:
    first, second = (engine.submit(noise(40, 90, seed), Wanted(0.5)) for seed in (1, 2))
    with pytest.raises(RuntimeError, match='2 images are under way already; take the result'):
        engine.submit(noise(40, 90, 3), Wanted(0.5))
    first()
    third = engine.submit(noise(40, 90, 3), Wanted(0.5))
    assert_same(second().mask, expected_mask(noise(40, 90, 2)))
    assert_same(third().mask, expected_mask(noise(40, 90, 3)))


def test_an_image_that_is_given_up_makes_room(engine: LateEngine) -> None:
    for seed in range(5):
        engine.submit(noise(40, 90, seed), Wanted(0.5))
    assert_same(
        engine.submit(noise(40, 90, 9), Wanted(0.5))().mask, expected_mask(noise(40, 90, 9))
    )


def test_a_result_stays_what_it_was(engine: LateEngine) -> None:
    call = engine.submit(noise(40, 90, 1), Wanted(0.5, tint=TINT))
    result = call()
    before = result.mask.copy(), result.confidence.copy(), result.overlay.copy()
    for seed in range(2, 5):
        engine.submit(noise(40, 90, seed), Wanted(0.5, tint=TINT))()
    for part, kept in zip((result.mask, result.confidence, result.overlay), before, strict=True):
        np.testing.assert_array_equal(part, kept)
    assert call() is result


def test_the_image_may_be_any_view_and_is_not_changed(engine: LateEngine) -> None:
    frame = noise(40, 100)
    view = frame[:, 5:95]
    view.flags.writeable = False
    before = view.copy()
    result = engine.submit(view, Wanted(0.5))()
    mirrored = engine.submit(view[:, ::-1], Wanted(0.5))()
    np.testing.assert_array_equal(view, before)
    assert_same(result.mask, expected_mask(before))
    assert_same(mirrored.mask, expected_mask(np.ascontiguousarray(before[:, ::-1])))


# Graphs


def test_a_size_is_captured_when_it_comes_again_and_only_then(engine: LateEngine) -> None:
    captured = []
    for _ in range(4):
        engine.submit(noise(40, 90), Wanted(0.5))()
        captured.append(engine.count('captured'))
    assert captured == [0, 1, 1, 1]


def test_threshold_and_tint_change_without_another_capture(engine: LateEngine) -> None:
    image = noise(40, 90)
    for _ in range(2):
        confidence = engine.submit(image, Wanted(0.5, tint=TINT))().confidence
    for threshold in (0.2, 0.5, 0.8):
        for tint in (TINT, Tint((255, 0, 0), 1.0)):
            result = engine.submit(image, Wanted(threshold, tint=tint))()
            np.testing.assert_array_equal(result.mask > 0, confidence >= 255 * threshold)
            road = result.overlay[result.mask > 0]
            assert np.all(road == (0, 0, 255)) == (tint is not TINT)
    assert engine.count('captured') == 1


def test_two_under_way_keep_their_own_thresholds(engine: LateEngine) -> None:
    image = noise(40, 90)
    low, high = (engine.submit(image, Wanted(threshold)) for threshold in (0.0, 1.0))
    assert low().mask.all()
    assert not high().mask.any()


def test_what_is_wanted_has_a_graph_of_its_own(engine: LateEngine) -> None:
    image = noise(40, 90)
    choices = [
        Wanted(0.5, confidence, tint) for confidence in (True, False) for tint in (TINT, None)
    ]
    for _ in range(2):
        for wanted in choices:
            result = engine.submit(image, wanted)()
            assert (result.confidence is not None) == wanted.confidence
            assert (result.overlay is not None) == (wanted.tint is not None)
    assert engine.count('captured') == len(choices)


def test_the_size_that_was_used_longest_ago_is_forgotten(engine: LateEngine) -> None:
    sizes = [(40, 60 + index) for index in range(cuda_engine.KEPT)]
    for size in [size for size in sizes for _ in range(2)]:
        engine.submit(noise(*size), Wanted(0.5))()
    graphs = list(engine.lanes[0].captured)
    engine.submit(noise(*sizes[0]), Wanted(0.5))()  # now the second is the oldest
    assert engine.count('released') == 0
    engine.submit(noise(40, 100), Wanted(0.5))()
    assert engine.lanes[0].released == [graphs[1]]
    engine.submit(noise(*sizes[0]), Wanted(0.5))()
    assert len(engine.lanes[0].captured) == cuda_engine.KEPT  # still there


def test_changing_sizes_give_the_mask_of_each(engine: LateEngine) -> None:
    for seed in range(3):
        for size in ((40, 90), (90, 40), (33, 65), (32, 64)):
            image = noise(*size, seed)
            assert_same(engine.submit(image, Wanted(0.5))().mask, expected_mask(image))


# Ends and errors


def test_close_waits_and_frees_every_graph(engine: LateEngine) -> None:
    for _ in range(3):
        calls = [engine.submit(noise(40, 90, seed), Wanted(0.5)) for seed in (1, 2)]
        masks = [call().mask for call in calls]
    engine.stage_times(noise(40, 90), Wanted(0.5, tint=TINT))
    calls = [engine.submit(noise(40, 90, seed), Wanted(0.5)) for seed in (1, 2)]
    engine.close()
    assert engine.count('queued') == 0
    assert engine.count('captured') == engine.count('released') > 2
    for call, mask in zip(calls, masks, strict=True):
        np.testing.assert_array_equal(call().mask, mask)
    with pytest.raises(RuntimeError, match='the engine is closed; make another'):
        engine.submit(noise(40, 90), Wanted(0.5))
    engine.close()  # twice does no harm


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_an_answer_that_is_not_finite_is_an_error(value: float) -> None:
    broken = network()
    with torch.no_grad():
        broken.upsample3.bias[1] = value
    engine = LateEngine(broken, INFO, CPU, 'fp32')
    for _ in range(3):
        calls = [engine.submit(noise(40, 90), Wanted(0.5)) for _ in range(2)]
        for call in [*calls, *calls]:
            with pytest.raises(
                ArithmeticError, match='not finite .*precision fp32.*try precision'
            ):
                call()


def fail(error: Exception) -> Callable:
    def failing(*_: object) -> None:
        raise error

    return failing


OUT_OF_MEMORY = torch.cuda.OutOfMemoryError('CUDA out of memory. Tried to get 2 GiB.\nMore')
REFUSALS = [
    ('blocks', OUT_OF_MEMORY, r'too little free memory for images of 90x40 pixels .*2 GiB\.\)'),
    ('queue', OUT_OF_MEMORY, 'end other programs on it, send smaller images, or set device cpu'),
    ('capture', OUT_OF_MEMORY, 'cpu has too little free memory .* with precision fp32'),
    ('capture', RuntimeError('not permitted'), r'could not prepare .* \(not permitted\); check'),
]


@pytest.mark.parametrize(('call', 'error', 'words'), REFUSALS)
def test_what_the_device_refuses_is_one_clear_error_and_it_goes_on(
    engine: LateEngine, monkeypatch: pytest.MonkeyPatch, call: str, error: Exception, words: str
) -> None:
    image = noise(40, 90)
    if call == 'capture':
        engine.submit(image, Wanted(0.5))()
    with monkeypatch.context() as broken:
        broken.setattr(LateLane, call, fail(error))
        with pytest.raises(EngineError, match=words) as raised:
            engine.submit(image, Wanted(0.5))
        assert '\n' not in str(raised.value)
    for _ in range(3):
        assert_same(engine.submit(image, Wanted(0.5))().mask, expected_mask(image))


def test_a_capture_that_always_fails_costs_one_image(
    engine: LateEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LateLane, 'capture', fail(OUT_OF_MEMORY))
    image = noise(40, 90)
    failed = 0
    for _ in range(6):
        calls = []
        for _ in range(2):
            try:
                calls.append(engine.submit(image, Wanted(0.5)))
            except EngineError:
                failed += 1
        for call in calls:
            assert_same(call().mask, expected_mask(image))
    assert failed == 1


def test_an_engine_on_a_lost_device_can_be_closed(
    engine: LateEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.submit(noise(40, 90), Wanted(0.5))()
    monkeypatch.setattr(LateLane, 'wait', fail(RuntimeError('CUDA error: launch failure')))
    engine.close()
    with pytest.raises(RuntimeError, match='the engine is closed'):
        engine.submit(noise(40, 90), Wanted(0.5))


def test_a_lost_device_is_one_clear_error_though_it_frees_nothing(
    engine: LateEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.device = 'cuda:0'
    lost = RuntimeError('CUDA error: unspecified launch failure')
    monkeypatch.setattr(torch.cuda, 'empty_cache', fail(lost))
    with monkeypatch.context() as broken:
        broken.setattr(LateLane, 'queue', fail(lost))
        with pytest.raises(EngineError, match='cuda:0 could not prepare images of 90x40 pixels'):
            engine.submit(noise(40, 90), Wanted(0.5))
    engine.close()


def test_stages_that_cannot_be_captured_are_one_clear_error(
    engine: LateEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LateLane, 'capture', fail(OUT_OF_MEMORY))
    with pytest.raises(EngineError, match='too little free memory for images of 90x40 pixels'):
        engine.stage_times(noise(40, 90), Wanted(0.5))


def test_a_model_that_does_not_fit_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LateEngine, 'pipeline_type', fail(OUT_OF_MEMORY))
    with pytest.raises(EngineError, match='too little free memory for the model with precision'):
        LateEngine(network(), INFO, CPU)


def test_a_precision_that_there_is_not_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineError, match='engine torch runs fp32, fp16 and bf16, not int8'):
        CudaEngine(network(), INFO, CPU, 'int8')
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda _: (7, 5))
    with pytest.raises(
        EngineError,
        match='bf16 needs a GPU of compute capability 8.0 or more, '
        'and cuda:0 has 7.5; set precision fp16',
    ):
        CudaEngine(network(), INFO, torch.device('cuda', 0), 'bf16')


def test_stage_times_name_what_takes_the_time() -> None:
    engine = CudaEngine(network(), INFO, CPU)
    times = engine.stage_times(noise(40, 90), Wanted(0.5, tint=TINT))
    assert list(times) == [
        'copy_in',
        'upload',
        'resize',
        'network',
        'upsample_and_threshold',
        'overlay',
        'download',
        'copy_out',
    ]
    assert all(time > 0 for time in times.values())
    assert 'overlay' not in engine.stage_times(noise(40, 90), Wanted(0.5))


# On a GPU


@pytest.fixture(scope='module')
def gpu() -> torch.device:
    return torch.device('cuda', 0)


@needs_gpu
@pytest.mark.parametrize(('precision', 'tolerance'), [('fp32', 2), ('fp16', 6), ('bf16', 12)])
@pytest.mark.parametrize('size', [(64, 64), (375, 1242), (97, 131), (2160, 3840)])
def test_a_gpu_gives_what_the_cpu_gives(
    gpu: torch.device, precision: str, tolerance: int, size: tuple[int, int]
) -> None:
    from road_seg_ros import checkpoint

    model, info = checkpoint.load()
    image = synthetic.render(5, *size).image
    engine = CudaEngine(model, info, gpu, precision)
    expected = TorchEngine(model, info, 'fp32').submit(image, Wanted(0.5))()
    for _ in range(3):  # as it is, captured, replayed
        result = engine.submit(image, Wanted(0.5, tint=TINT))()
        difference = np.abs(result.confidence.astype(int) - expected.confidence)
        assert difference.max() <= tolerance
        assert np.mean(result.mask != expected.mask) < 0.005
    engine.close()


@needs_gpu
def test_on_a_gpu_two_under_way_do_not_meet(gpu: torch.device) -> None:
    engine = CudaEngine(network(), INFO, gpu, 'fp16')
    for seed in range(0, 200, 2):
        images = noise(40, 90, seed), noise(40, 90, seed + 1)
        calls = [engine.submit(image, Wanted(0.5)) for image in images]
        for call, image in zip(calls, images, strict=True):
            assert_same(call().mask, expected_mask(image))


@needs_gpu
def test_on_a_gpu_close_frees_the_memory(gpu: torch.device) -> None:
    reserved = []
    for _ in range(5):
        engine = CudaEngine(network(), INFO, gpu)
        for size in [(375, 1242), (480, 640)] * 3:
            calls = [engine.submit(noise(*size), Wanted(0.5, tint=TINT)) for _ in range(2)]
            for call in calls:
                call()
        del call, calls
        engine.close()
        reserved.append(torch.cuda.memory_reserved(gpu))
    assert reserved[-1] <= reserved[0]  # the libraries keep their share
