"""What a GPU is given to do gives what the CPU engines give, run here on the CPU."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from road_seg_ros import checkpoint, synthetic
from road_seg_ros.checkpoint import InputSize, ModelInfo, Normalization
from road_seg_ros.engines import Segmentation, Tint, Wanted
from road_seg_ros.engines.frame_buffers import Layout
from road_seg_ros.engines.pixel_pipeline import PixelPipeline, Work
from road_seg_ros.engines.resampling import resizer
from road_seg_ros.engines.torch_engine import TorchEngine
from road_seg_ros.fcn8 import FCN8
from road_seg_ros.overlay import draw_overlay
from road_seg_ros.pixels import resize, threshold_mask

CPU = torch.device('cpu')


def run_stages(pipeline: PixelPipeline, image: np.ndarray, wanted: Wanted) -> Work:
    layout = Layout.of(image, wanted)
    inputs = layout.inputs(torch.zeros(layout.input_bytes, dtype=torch.uint8))
    outputs = layout.outputs(torch.zeros(layout.output_bytes, dtype=torch.uint8))
    inputs.write(image, wanted)
    with torch.inference_mode():
        work = pipeline.prepare(layout, inputs, outputs)
        for stage in pipeline.stages(work).values():
            stage()
    return work


def run(pipeline: PixelPipeline, image: np.ndarray, wanted: Wanted) -> Segmentation:
    """Do what the engine does with a pipeline, without lanes and slots."""
    outputs = run_stages(pipeline, image, wanted).outputs
    results = outputs.mask, outputs.confidence, outputs.overlay
    return Segmentation(*(None if result is None else result.numpy() for result in results))


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)


# Resizing


@pytest.mark.parametrize(
    ('size', 'resized', 'share'),
    [
        ((375, 1242), (160, 576), 0.001),  # KITTI
        ((2160, 3840), (320, 544), 0.001),
        ((97, 131), (32, 64), 0.001),  # odd
        ((448, 1536), (224, 768), 0.0),  # half: many averages end in .5
        ((64, 64), (416, 416), 0.01),  # grows
        ((101, 333), (224, 768), 0.01),
        ((500, 100), (64, 640), 0.01),  # shrinks one way: OpenCV interpolates
        ((300, 300), (300, 300), 0.0),
        ((1, 1), (32, 32), 0.0),
    ],
)
def test_resizing_is_that_of_opencv(
    size: tuple[int, int], resized: tuple[int, int], share: float
) -> None:
    image = noise(*size)
    levels = resizer(size, resized, CPU)(torch.from_numpy(image)).permute(1, 2, 0).numpy()
    difference = np.abs(levels.astype(int) - resize(image, resized))
    assert difference.max() <= 1
    assert np.mean(difference > 0) <= share


def test_resizing_in_float16_is_a_grey_level_off_at_most() -> None:
    image = noise(150, 500)
    levels = resizer((150, 500), (64, 224), CPU, torch.float16)(torch.from_numpy(image))
    difference = np.abs(levels.permute(1, 2, 0).numpy().astype(int) - resize(image, (64, 224)))
    assert difference.max() <= 1
    assert np.mean(difference > 0) < 0.1


# Network


def log_odds(
    network: FCN8, info: ModelInfo, image: np.ndarray, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    return run_stages(PixelPipeline(network, info, CPU, dtype), image, Wanted(0.5)).log_odds


def plain_log_odds(network: FCN8, info: ModelInfo, image: np.ndarray) -> torch.Tensor:
    """Normalise and run the network in float64 as the model file says."""
    normalization = info.normalization
    order = slice(None, None, -1) if normalization.channel_order == 'RGB' else slice(None)
    pixels = torch.from_numpy(image[..., order].copy()).permute(2, 0, 1)[None].double()
    mean = torch.tensor(normalization.mean).double()[:, None, None]
    std = torch.tensor(normalization.std).double()[:, None, None]
    with torch.inference_mode():
        logits = copy.deepcopy(network).double()((pixels * normalization.scale - mean) / std)
    return (logits[0, 1] - logits[0, 0]) / info.temperature


@pytest.mark.parametrize(
    'normalization',
    [
        Normalization(),  # the original weights: grey levels
        Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        Normalization('BGR', 1.0, (117.5, 110.5, 99.5), (1.0, 2.0, 3.0)),  # half way between
    ],
)
@pytest.mark.parametrize('size', [(64, 96), (45, 83)])  # a multiple of 32, and not
def test_normalisation_is_folded_exactly_at_the_edges_too(
    normalization: Normalization, size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    network = FCN8(width=0.05, head='fc1024').eval()
    with torch.no_grad():
        for layer in (network.score3, network.score4, network.score7):
            layer.weight.mul_(30)  # so that every pixel matters
    info = ModelInfo({}, InputSize(*size, keep_aspect_ratio=False), normalization, temperature=1.7)
    image = noise(*size)
    expected = plain_log_odds(network, info, image)
    found = log_odds(network, info, image)
    assert found.shape == size
    assert expected.std() > 0.01
    torch.testing.assert_close(found.double(), expected, atol=1e-3 * expected.std(), rtol=1e-4)


def test_the_network_is_not_changed() -> None:
    network = FCN8(width=0.05, head='none')
    before = copy.deepcopy(network.state_dict())
    PixelPipeline(network, ModelInfo({}), CPU, torch.bfloat16)
    assert network.features[0].padding == (1, 1)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_activations_beyond_float16_stay_finite() -> None:
    torch.manual_seed(1)
    network = FCN8(width=0.05, head='none').eval()
    with torch.no_grad():
        network.features[0].weight.mul_(2000)  # activations of some 300,000
        network.features[5].weight.div_(2000)
    info = ModelInfo({}, InputSize(64, 96))
    image = noise(64, 96)
    expected = plain_log_odds(network, info, image)
    found = log_odds(network, info, image, torch.float16)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found.double(), expected, atol=0.02 * expected.std(), rtol=0.02)


# The whole way, with the model that ships


@pytest.fixture(scope='module')
def model() -> tuple[FCN8, ModelInfo]:
    return checkpoint.load()


@pytest.fixture(scope='module')
def reference(model: tuple[FCN8, ModelInfo]) -> TorchEngine:
    return TorchEngine(copy.deepcopy(model[0]), model[1], 'fp32')


@pytest.fixture(scope='module')
def pipeline(model: tuple[FCN8, ModelInfo]) -> PixelPipeline:
    return PixelPipeline(*model, CPU, torch.float32)


@pytest.mark.parametrize(
    'size', [(64, 64), (97, 131), (375, 1242), (224, 768), (600, 301), (2160, 3840)]
)
def test_confidence_is_that_of_the_cpu_engine(
    pipeline: PixelPipeline, reference: TorchEngine, size: tuple[int, int]
) -> None:
    image = synthetic.render(5, *size).image
    wanted = Wanted(0.5)
    expected, found = reference.submit(image, wanted)(), run(pipeline, image, wanted)
    difference = np.abs(found.confidence.astype(int) - expected.confidence)
    assert difference.max() <= 2
    assert difference.mean() < 0.2  # it rounds before it upsamples, too
    np.testing.assert_array_equal(found.mask, threshold_mask(found.confidence, 0.5))


def test_confidence_is_that_of_the_cpu_engine_on_real_frames(
    pipeline: PixelPipeline, reference: TorchEngine, kitti_road: Path
) -> None:
    for path in sorted((kitti_road / 'training' / 'image_2').iterdir())[::120]:
        image = cv2.imread(str(path))
        expected = reference.submit(image, Wanted(0.5))().confidence.astype(int)
        assert np.abs(run(pipeline, image, Wanted(0.5)).confidence - expected).max() <= 2


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_16_bit_numbers_give_nearly_the_same(
    model: tuple[FCN8, ModelInfo], reference: TorchEngine, dtype: torch.dtype
) -> None:
    image = synthetic.render(6, 150, 500).image
    small = dataclasses.replace(model[1], input=InputSize(96, 320))  # float16 is slow here
    expected = TorchEngine(copy.deepcopy(model[0]), small, 'fp32').submit(image, Wanted(0.5))()
    found = run(PixelPipeline(model[0], small, CPU, dtype), image, Wanted(0.5))
    difference = np.abs(found.confidence.astype(int) - expected.confidence)
    assert difference.mean() < 0.5
    assert np.mean(found.mask != expected.mask) < 0.005


# Mask and overlay


@pytest.fixture(scope='module')
def tiny_pipeline() -> PixelPipeline:
    torch.manual_seed(0)
    network = FCN8(width=0.05, head='none')
    with torch.no_grad():
        network.score3.weight.mul_(100)  # so that noise gives some road, and some not
    return PixelPipeline(network, ModelInfo({}, InputSize(64, 96)), CPU, torch.float32)


@pytest.mark.parametrize('threshold', [0.0, 3 / 255, 0.5, 0.502, 1.0])
def test_mask_is_where_the_confidence_reaches_the_threshold(
    tiny_pipeline: PixelPipeline, threshold: float
) -> None:
    found = run(tiny_pipeline, noise(70, 90), Wanted(threshold))
    np.testing.assert_array_equal(found.mask, threshold_mask(found.confidence, threshold))


def test_tuned_convolutions_are_told_apart_from_those_of_the_first_image(
    tiny_pipeline: PixelPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    cudnn, seen = torch.backends.cudnn, []
    scores = tiny_pipeline._network.scores

    def noted(pixels: torch.Tensor) -> torch.Tensor:
        seen.append((cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32))
        return scores(pixels)

    monkeypatch.setattr(tiny_pipeline._network, 'scores', noted)
    run(tiny_pipeline, noise(60, 90), Wanted(0.5))
    with cudnn.flags(enabled=True, benchmark=True):
        run(tiny_pipeline, noise(60, 90), Wanted(0.5))
    assert seen == [(False, True, False), (True, False, False)]


def test_what_is_not_wanted_is_not_made(tiny_pipeline: PixelPipeline) -> None:
    found = run(tiny_pipeline, noise(70, 90), Wanted(0.5, confidence=False))
    assert found.confidence is None
    assert found.overlay is None
    everything = run(tiny_pipeline, noise(70, 90), Wanted(0.5, True, Tint((1, 2, 3), 0.5)))
    np.testing.assert_array_equal(everything.mask, found.mask)


def test_overlay_is_that_of_the_cpu_to_the_last_digit(tiny_pipeline: PixelPipeline) -> None:
    rng = np.random.default_rng(0)
    image = noise(70, 90)
    for alpha in (0.0, 0.25, 0.37, 0.5, 1.0, *rng.random(20)):
        tint = Tint(tuple(rng.integers(0, 256, 3).tolist()), float(alpha))
        found = run(tiny_pipeline, image, Wanted(0.5, tint=tint))
        expected = draw_overlay(image, found.mask, tint.color, tint.alpha)
        np.testing.assert_array_equal(found.overlay, expected)
    assert 0 < np.count_nonzero(found.mask) < found.mask.size
