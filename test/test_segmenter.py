"""RoadSegmenter turns any image into a confidence and a mask of its size."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import SHARED
from graph import ReplacedEngine

from road_seg_ros import checkpoint, engines, synthetic
from road_seg_ros.checkpoint import CheckpointError, InputSize, ModelInfo, Normalization
from road_seg_ros.engines import Engine, EngineError, Segmentation, Tint, Wanted, devices
from road_seg_ros.engines.on_cpu import CpuEngine
from road_seg_ros.engines.processor import has_int8
from road_seg_ros.engines.torch_engine import TorchEngine
from road_seg_ros.fcn8 import FCN8
from road_seg_ros.overlay import draw_overlay
from road_seg_ros.pixels import resize, threshold_mask
from road_seg_ros.segmenter import RoadSegmenter

DEMO_SEEDS = range(12)


@pytest.fixture(scope='module')
def segmenter() -> RoadSegmenter:
    return RoadSegmenter.from_checkpoint()


@pytest.fixture
def tiny(tiny_model: Path) -> RoadSegmenter:
    return RoadSegmenter.from_checkpoint(tiny_model, engine='torch', precision='fp32')


def test_default_model_segments_synthetic_streets(segmenter: RoadSegmenter) -> None:
    hits = union = 0
    for seed in DEMO_SEEDS:
        scene = synthetic.render(seed)
        mask, road = segmenter(scene.image).mask > 0, scene.road > 0
        hits += np.count_nonzero(mask & road)
        union += np.count_nonzero(mask | road)
    assert hits / union >= 0.85


# Two engines that go in the order in which they came, then a signal.
ENGINES_COME_AND_GO = """
import faulthandler, os, signal
from road_seg_ros.segmenter import RoadSegmenter

faulthandler.enable()
signal.signal(signal.SIGUSR1, lambda *_: print('still alive', flush=True))
options = dict(engine='openvino', device='cpu')
first = RoadSegmenter.from_checkpoint({model!r}, **options)
second = RoadSegmenter.from_checkpoint({model!r}, **options)
first.close()
del first
second.close()
del second
os.kill(os.getpid(), signal.SIGUSR1)
"""


def test_a_process_survives_signals_after_its_engines_are_gone(tiny_model: Path) -> None:
    pytest.importorskip('openvino', reason='pip install openvino to test this engine')
    script = ENGINES_COME_AND_GO.format(model=str(tiny_model))
    result = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, 'still alive\n'), result.stderr


def test_openvino_reports_nothing_to_anybody(tiny_model: Path, tmp_path: Path) -> None:
    pytest.importorskip('openvino', reason='pip install openvino to test this engine')
    script = (
        'import sys; from road_seg_ros.segmenter import RoadSegmenter; '
        f'RoadSegmenter.from_checkpoint({str(tiny_model)!r}, device="cpu", engine="openvino"); '
        'assert sys.modules["openvino_telemetry"] is None'
    )
    home = {'HOME': str(tmp_path), 'XDG_CACHE_HOME': str(tmp_path / 'cache')}
    environment = {k: v for k, v in os.environ.items() if k != 'CI'} | home
    subprocess.run([sys.executable, '-c', script], env=environment, check=True)
    assert [path.name for path in tmp_path.iterdir()] == ['cache']


@pytest.mark.parametrize('size', [(1, 1), (7, 300), (375, 1242), (480, 360), (721, 33)])
def test_result_has_the_size_of_the_image(tiny: RoadSegmenter, size: tuple[int, int]) -> None:
    result = tiny(np.zeros((*size, 3), np.uint8))
    for pixels in (result.mask, result.confidence):
        assert pixels.shape == size
        assert pixels.dtype == np.uint8
    assert set(np.unique(result.mask)) <= {0, 255}


def test_mask_is_where_the_confidence_reaches_the_threshold(tiny: RoadSegmenter) -> None:
    image = synthetic.render(0, 160, 320).image
    for threshold in (0.0, 0.2, 0.5, 1.0):
        tiny.threshold = threshold
        result = tiny(image)
        expected = np.where(result.confidence / 255 >= threshold, 255, 0)
        np.testing.assert_array_equal(result.mask, expected)


@pytest.mark.parametrize('level', [0, 1, 3, 100, 254, 255])
def test_a_threshold_of_an_exact_level_includes_it(level: int) -> None:
    confidence = np.arange(256, dtype=np.uint8).reshape(16, 16)
    mask = threshold_mask(confidence, level / 255)
    np.testing.assert_array_equal(mask, np.where(confidence >= level, 255, 0))


def test_confidence_is_the_probability_of_a_plain_pytorch_run(tiny_model: Path) -> None:
    network, info = checkpoint.load(tiny_model)
    image = synthetic.render(1, 160, 576).image  # the network's own size: no resizing
    rgb = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)[None].double()
    mean = torch.tensor(info.normalization.mean).double()[:, None, None]
    std = torch.tensor(info.normalization.std).double()[:, None, None]
    with torch.inference_mode():
        logits = network.double()((rgb * info.normalization.scale - mean) / std)
        expected = logits.softmax(1)[0, 1] * 255
    ours = RoadSegmenter.from_checkpoint(tiny_model, engine='torch', precision='fp32')
    assert np.abs(ours(image).confidence - expected.numpy()).max() <= 0.51  # rounded


def test_channel_order_and_scale_come_from_the_model(tmp_path: Path) -> None:
    network = FCN8(width=0.05, head='none')
    rgb = ModelInfo({}, normalization=Normalization('RGB', 1 / 255, (0.1, 0.2, 0.3), (1, 2, 3)))
    bgr = ModelInfo({}, normalization=Normalization('BGR', 1 / 255, (0.3, 0.2, 0.1), (3, 2, 1)))
    swapped = FCN8(width=0.05, head='none')
    swapped.load_state_dict(network.state_dict())
    with torch.no_grad():
        swapped.features[0].weight.copy_(network.features[0].weight.flip(1))
    checkpoint.save(tmp_path / 'rgb.safetensors', network, rgb)
    checkpoint.save(tmp_path / 'bgr.safetensors', swapped, bgr)
    image = synthetic.render(2, 64, 128).image
    results = [
        RoadSegmenter.from_checkpoint(tmp_path / name, engine='torch', precision='fp32')
        for name in ('rgb.safetensors', 'bgr.safetensors')
    ]
    difference = results[0](image).confidence.astype(int) - results[1](image).confidence
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize('engine', ['torch', 'openvino'])
def test_a_result_stays_when_the_next_image_is_segmented(tiny_model: Path, engine: str) -> None:
    if engine == 'openvino':
        pytest.importorskip('openvino')
    segmenter = RoadSegmenter.from_checkpoint(tiny_model, 'cpu', engine)
    size = segmenter.info.input.height, segmenter.info.input.width  # nothing is resized
    first = segmenter(synthetic.render(0, *size).image)
    before = first.confidence.copy()
    other = segmenter(synthetic.render(1, *size).image)
    assert (other.confidence != before).any()
    assert (first.confidence == before).all()


def test_an_image_keeps_its_shape_inside(tiny: RoadSegmenter) -> None:
    sizes = []

    class Spy(CpuEngine):
        name = 'spy'

        def run(self, pixels: np.ndarray) -> np.ndarray:
            sizes.append(pixels.shape[:2])
            return np.zeros(pixels.shape[:2], np.uint8)

        def close(self) -> None:
            pass

    spied = RoadSegmenter(Spy(tiny.info.input, 'fp32'), tiny.info)
    spied(np.zeros((375, 1242, 3), np.uint8))
    spied(np.zeros((360, 480, 3), np.uint8))
    stretched = InputSize(160, 576, keep_aspect_ratio=False)
    RoadSegmenter(Spy(stretched, 'fp32'), tiny.info)(np.zeros((360, 480, 3), np.uint8))
    assert sizes == [(160, 576), (256, 352), (160, 576)]


def test_the_image_is_not_changed(tiny: RoadSegmenter) -> None:
    image = synthetic.render(3, 160, 576).image
    before = image.copy()
    image.flags.writeable = False
    tiny(image)
    np.testing.assert_array_equal(image, before)


def test_a_view_with_strides_gives_the_same_result(tiny: RoadSegmenter) -> None:
    image = synthetic.render(4, 160, 576).image
    padded = np.zeros((160, 600, 3), np.uint8)
    padded[:, :576] = image
    np.testing.assert_array_equal(tiny(padded[:, :576]).confidence, tiny(image).confidence)


@pytest.mark.parametrize(
    'image',
    [
        np.zeros((10, 10), np.uint8),
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((10, 10, 3), np.float32),
        np.zeros((0, 10, 3), np.uint8),
    ],
)
def test_other_arrays_are_refused(tiny: RoadSegmenter, image: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r'image must be uint8 \(H, W, 3\) BGR'):
        tiny(image)


def test_only_what_is_wanted_is_there(tiny: RoadSegmenter) -> None:
    image = synthetic.render(7, 96, 128).image
    whole = tiny.submit(image, tint=Tint((255, 0, 0), 0.4))()
    mask_only = tiny.submit(image, confidence=False)()
    assert mask_only.confidence is None and mask_only.overlay is None
    np.testing.assert_array_equal(mask_only.mask, whole.mask)
    np.testing.assert_array_equal(whole.confidence, tiny(image).confidence)
    drawn = draw_overlay(image, whole.mask, (255, 0, 0), 0.4)
    np.testing.assert_array_equal(whole.overlay, drawn)


def test_a_stream_answers_every_image_in_order_and_holds_two(tiny: RoadSegmenter) -> None:
    images = [synthetic.render(seed, 64, 96 + 32 * seed).image for seed in range(5)]
    taken = []

    def camera() -> Iterator[np.ndarray]:
        for image in images:
            taken.append(len(taken))
            yield image

    for answered, result in enumerate(tiny.stream(camera()), 1):
        expected = tiny(images[answered - 1])
        np.testing.assert_array_equal(result.mask, expected.mask)
        np.testing.assert_array_equal(result.confidence, expected.confidence)
        assert len(taken) == min(answered + 1, len(images))
    assert answered == len(images)
    assert list(tiny.stream([])) == []
    assert next(tiny.stream(images, confidence=False)).confidence is None


def test_stages_are_timed_one_by_one(tiny: RoadSegmenter) -> None:
    image = synthetic.render(0, 160, 320).image
    stages = tiny.engine.stage_times(image, Wanted(0.5))
    assert list(stages) == ['resize', 'network', 'upsample_and_threshold']
    assert all(ms > 0 for ms in stages.values())
    with_overlay = tiny.engine.stage_times(image, Wanted(0.5, tint=Tint((0, 255, 0), 0.5)))
    assert list(with_overlay) == [*stages, 'overlay']


@pytest.mark.parametrize('threshold', [-0.1, 1.1, float('nan')])
def test_a_threshold_out_of_range_is_refused(tiny: RoadSegmenter, threshold: float) -> None:
    with pytest.raises(ValueError, match=r'threshold must be in \[0, 1\], got'):
        tiny.threshold = threshold


def test_shrinking_averages_areas() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 200
    assert set(np.unique(resize(stripes, (32, 32)))) == {100}
    assert resize(stripes, (64, 64)) is stripes
    assert resize(stripes, (128, 128)).shape == (128, 128, 3)


@pytest.fixture(scope='module')
def frames() -> list[np.ndarray]:
    """Return camera images: KITTI's where it is, else synthetic; and one of another shape."""
    kitti = SHARED / 'kitti_road' / 'training' / 'image_2'
    paths = sorted(kitti.glob('*'))[::60] if kitti.is_dir() else []
    images = [cv2.imread(str(path)) for path in paths]
    images = images or [synthetic.render(seed).image for seed in range(5)]
    return [*images, synthetic.render(5, 360, 480).image]


@pytest.fixture(scope='module')
def expected(frames: list[np.ndarray]) -> list[Segmentation]:
    reference = RoadSegmenter.from_checkpoint(engine='torch', precision='fp32', device='cpu')
    return [reference(image) for image in frames]


@pytest.mark.parametrize(
    ('engine', 'precision', 'largest'),
    [
        ('openvino', 'fp32', 2),
        ('torch', 'bf16', None),  # its 8 bits of mantissa move single pixels of an edge further
        ('openvino', 'bf16', None),
        ('openvino', 'int8', None),
    ],
)
def test_engines_and_precisions_agree(
    frames: list[np.ndarray],
    expected: list[Segmentation],
    engine: str,
    precision: str,
    largest: int | None,
) -> None:
    if engine == 'openvino':
        pytest.importorskip('openvino', reason='openvino is not installed')
    if precision == 'int8' and not has_int8():
        pytest.skip('this processor has no int8 instructions')
    other = RoadSegmenter.from_checkpoint(engine=engine, precision=precision, device='cpu')
    both = either = 0
    for image, reference in zip(frames, expected, strict=True):
        result = other(image)
        apart = np.abs(result.confidence.astype(int) - reference.confidence)
        assert apart.mean() <= 2
        assert largest is None or apart.max() <= largest
        both += np.count_nonzero(result.mask & reference.mask)
        either += np.count_nonzero(result.mask | reference.mask)
    assert both / either >= 0.985


def test_engine_auto_is_openvino_on_the_cpu_where_it_is_installed(tiny_model: Path) -> None:
    pytest.importorskip('openvino', reason='openvino is not installed')
    assert RoadSegmenter.from_checkpoint(tiny_model, device='cpu').engine.name == 'openvino'


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a CUDA GPU')
@pytest.mark.parametrize(('engine', 'told'), [('auto', True), ('openvino', False)])
def test_auto_needs_no_torch_beside_a_gpu(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, told: bool
) -> None:
    pytest.importorskip('openvino', reason='openvino is not installed')
    monkeypatch.setattr(devices, 'AMD_DRIVER', tmp_path)  # which exists
    monkeypatch.setitem(sys.modules, 'torch', None)
    model = checkpoint.read(tiny_model)
    for precision in ('auto', 'fp32'):
        choice = engines.choose(model, 'auto', engine, precision)
        assert (choice.device, choice.engine) == ('cpu', 'openvino')
        assert ('needs PyTorch, which is not installed' in choice.why) == told
    with pytest.raises(ImportError):
        engines.choose(model, 'cuda')


def test_auto_does_without_a_torch_that_does_not_load(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip('openvino', reason='openvino is not installed')
    (tmp_path / 'torch.py').write_text('raise OSError("libcudart.so.12: cannot open")')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'torch')
    monkeypatch.setattr(devices, 'AMD_DRIVER', tmp_path)  # which exists
    engines.preload()
    model = checkpoint.read(tiny_model)
    choice = engines.choose(model)
    assert (choice.device, choice.engine) == ('cpu', 'openvino')
    assert 'cannot be used: PyTorch does not load: libcudart.so.12: cannot open' in choice.why
    with pytest.raises(ImportError, match='PyTorch does not load: libcudart'):
        engines.choose(model, 'cuda')


def test_a_model_of_other_classes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / 'three.safetensors'
    checkpoint.save(path, FCN8(0.05, 'none', classes=3), ModelInfo({}))
    with pytest.raises(CheckpointError, match='three.safetensors scores 3 classes; a mask needs'):
        RoadSegmenter.from_checkpoint(path, 'cpu')


@pytest.mark.parametrize('engine', ['torch', 'openvino'])
def test_threads_may_share_a_segmenter(tiny_model: Path, engine: str) -> None:
    if engine == 'openvino':
        pytest.importorskip('openvino', reason='openvino is not installed')
    segmenter = RoadSegmenter.from_checkpoint(tiny_model, 'cpu', engine, 'fp32')
    images = [synthetic.render(seed, 94, 310).image for seed in range(4)]
    alone = [segmenter(image).confidence for image in images]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(segmenter, images * 5))
    for result, confidence in zip(together, alone * 5, strict=True):
        np.testing.assert_array_equal(result.confidence, confidence)


def test_closing_waits_for_the_image_under_way(tiny_model: Path) -> None:
    segmenter = RoadSegmenter.from_checkpoint(tiny_model, 'cpu', 'torch', 'fp32')
    begun, go_on = threading.Event(), threading.Event()

    def slowly(engine: Engine, image: np.ndarray, wanted: Wanted) -> Callable[[], Segmentation]:
        begun.set()
        go_on.wait()
        return engine.submit(image, wanted)

    ReplacedEngine(segmenter, slowly)
    with ThreadPoolExecutor(2) as threads:
        result = threads.submit(segmenter, np.zeros((64, 64, 3), np.uint8))
        begun.wait()
        closed = threads.submit(segmenter.close)
        with pytest.raises(FutureTimeoutError):
            closed.result(timeout=0.2)
        go_on.set()
        assert result.result().mask.shape == (64, 64)
        closed.result()


@pytest.mark.parametrize('engine', ['torch', 'openvino'])
def test_a_closed_segmenter_says_so(tiny_model: Path, engine: str) -> None:
    if engine == 'openvino':
        pytest.importorskip('openvino', reason='openvino is not installed')
    segmenter = RoadSegmenter.from_checkpoint(tiny_model, 'cpu', engine, 'fp32')
    segmenter.close()
    with pytest.raises(ValueError, match='segmenter is closed'):
        segmenter(np.zeros((64, 64, 3), np.uint8))


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_torch_notices_what_is_not_finite(tmp_path: Path, value: float) -> None:
    network = FCN8(0.05, 'none')
    info = ModelInfo(network.architecture)
    with torch.no_grad():
        network.upsample3.bias[1] = value
    engine = TorchEngine(network, info, 'fp32')
    with pytest.raises(ArithmeticError, match='not finite .engine torch, precision fp32'):
        engine.run(np.zeros((64, 64, 3), np.uint8))


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a CUDA GPU')
@pytest.mark.parametrize('device', ['cuda', 'cuda:0', 'cuda:7'])
def test_cuda_without_a_gpu_is_an_error(tiny_model: Path, device: str) -> None:
    with pytest.raises(EngineError, match=f"device '{device}' was asked for, but .* no CUDA GPU"):
        RoadSegmenter.from_checkpoint(tiny_model, device=device)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='there is no CUDA GPU')
def test_a_gpu_that_is_not_there_is_an_error(tiny_model: Path) -> None:
    with pytest.raises(EngineError, match="device 'cuda:99' was asked for, but there are only"):
        RoadSegmenter.from_checkpoint(tiny_model, device='cuda:99')


@pytest.mark.skipif(not torch.cuda.is_available(), reason='there is no CUDA GPU')
@pytest.mark.parametrize('precision', ['fp32', 'fp16', 'bf16'])
def test_cuda_agrees_with_the_cpu(precision: str) -> None:
    image = synthetic.render(5).image
    cpu = RoadSegmenter.from_checkpoint(engine='torch', precision='fp32', device='cpu')
    cuda = RoadSegmenter.from_checkpoint(engine='torch', precision=precision, device='cuda')
    assert np.mean((cpu(image).mask > 0) != (cuda(image).mask > 0)) < 0.01


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        ({'device': 'gpu'}, "device must be auto, cpu, cuda or cuda:N, got 'gpu'"),
        ({'device': 'cpu:1'}, "got 'cpu:1'"),
        ({'device': 'cuda:x'}, "got 'cuda:x'"),
        ({'engine': 'tensorrt'}, "engine must be one of auto, .*, got 'tensorrt'"),
        ({'precision': 'fp8'}, "precision must be one of auto, .*, got 'fp8'"),
        (
            {'engine': 'torch', 'precision': 'int8'},
            'torch runs fp32 and bf16 .* not int8',
        ),
        ({'device': 'cpu', 'engine': 'torch', 'precision': 'fp16'}, 'fp16 needs a CUDA device'),
    ],
)
def test_what_cannot_be_had_is_named(tiny_model: Path, arguments: dict, words: str) -> None:
    with pytest.raises(EngineError, match=words):
        RoadSegmenter.from_checkpoint(tiny_model, **arguments)


def test_engine_names_what_it_runs_on(tiny: RoadSegmenter) -> None:
    assert (tiny.engine.name, tiny.engine.device, tiny.engine.precision) == (
        'torch',
        'cpu',
        'fp32',
    )
    assert tiny.engine.name in engines.ENGINES


def test_results_can_be_written_as_png(tiny: RoadSegmenter, tmp_path: Path) -> None:
    mask = tiny(synthetic.render(6, 96, 128).image).mask
    assert cv2.imwrite(str(tmp_path / 'mask.png'), mask)
    read = cv2.imread(str(tmp_path / 'mask.png'), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(read, mask)


@pytest.mark.parametrize('engine', ['torch', 'openvino'])
def test_the_temperature_divides_the_log_odds(tmp_path: Path, engine: str) -> None:
    if engine == 'openvino':
        pytest.importorskip('openvino')
    torch.manual_seed(0)
    network = FCN8(width=0.05, head='none')
    with torch.no_grad():
        network.score3.weight.mul_(3e4)
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    confidences = []
    for temperature in (1.0, 2.5):
        path = tmp_path / f'{temperature}.safetensors'
        info = ModelInfo({}, InputSize(64, 64), temperature=temperature)
        checkpoint.save(path, network, info)
        segmenter = RoadSegmenter.from_checkpoint(path, 'cpu', engine, 'fp32')
        assert segmenter.info.temperature == temperature
        confidences.append(segmenter(image).confidence.astype(float))
    inside = (confidences[0] > 0) & (confidences[0] < 255)  # where 8 bits tell the log odds
    assert np.ptp(confidences[0][inside]) > 50
    probability = confidences[0][inside] / 255
    expected = 255 / (1 + ((1 - probability) / probability) ** (1 / 2.5))
    # Near 0 and 1, half a level of the first confidence is several of the second.
    np.testing.assert_allclose(confidences[1][inside], expected, atol=8)
