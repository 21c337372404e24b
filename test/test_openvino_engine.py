"""OpenVINO runs the same network, in float and in int8, and `auto` takes what was checked."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from road_seg_ros import checkpoint, engines, synthetic
from road_seg_ros.checkpoint import InputSize, ModelInfo, Normalization
from road_seg_ros.engines import (
    EngineError,
    openvino_engine,
    processor,
    quantization,
)
from road_seg_ros.engines.quantization import Quantization
from road_seg_ros.fcn8 import FCN8
from road_seg_ros.segmenter import RoadSegmenter

pytest.importorskip('openvino', reason='pip install openvino to test this engine')
needs_int8 = pytest.mark.skipif(
    not processor.has_int8(), reason='this processor has no int8 instructions'
)
DEFAULT = checkpoint.find()


def _lively(network: FCN8) -> FCN8:
    """Make the probability of a network with random weights vary with the image."""
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(layer.weight)
    return network


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return the default model in a folder of its own, without its ranges."""
    path = tmp_path / DEFAULT.name
    shutil.copy(DEFAULT, path)
    return path


@pytest.fixture
def ranges(model: Path) -> Iterator[Path]:
    """Return the ranges of the default model beside that copy of it."""
    path = quantization.path_for(model)
    shutil.copy(quantization.path_for(DEFAULT), path)
    return path


@pytest.mark.parametrize('head', ['none', 'fc1024', 'fc4096'])
@pytest.mark.parametrize('order', ['RGB', 'BGR'])
def test_the_graph_gives_what_the_network_gives(tmp_path: Path, head: str, order: str) -> None:
    torch.manual_seed(0)
    normalization = Normalization(order, 1 / 255, (0.5, 0.4, 0.3), (0.2, 0.3, 0.25))
    info = ModelInfo({}, InputSize(96, 160), normalization, temperature=1.3)
    path = tmp_path / 'model.safetensors'
    checkpoint.save(path, _lively(FCN8(width=0.1, head=head)), info)
    torch_engine, openvino_engine = (
        RoadSegmenter.from_checkpoint(path, 'cpu', engine, 'fp32')
        for engine in ('torch', 'openvino')
    )
    for size in ((96, 160), (94, 310), (400, 120)):
        image = synthetic.render(1, *size).image
        expected, got = (s(image).confidence for s in (torch_engine, openvino_engine))
        assert np.ptp(expected) > 20
        assert np.abs(expected.astype(int) - got).max() <= 1


def test_a_fixed_size_need_not_be_a_multiple_of_32(tmp_path: Path) -> None:
    torch.manual_seed(0)
    info = ModelInfo({}, InputSize(65, 100, keep_aspect_ratio=False))
    path = tmp_path / 'model.safetensors'
    checkpoint.save(path, _lively(FCN8(width=0.1, head='fc1024')), info)
    image = synthetic.render(1, 80, 120).image
    expected, got = (
        RoadSegmenter.from_checkpoint(path, 'cpu', engine, 'fp32')(image).confidence
        for engine in ('torch', 'openvino')
    )
    assert np.ptp(expected) > 20
    assert np.abs(expected.astype(int) - got).max() <= 1


@pytest.mark.parametrize(('quota', 'pinned'), [(8, True), (2, False)])
def test_a_quota_leaves_the_choice_of_cores_to_the_system(
    monkeypatch: pytest.MonkeyPatch, quota: int, pinned: bool
) -> None:
    monkeypatch.setattr(openvino_engine, 'affinity', lambda: 8)
    monkeypatch.setattr(openvino_engine, 'available_cores', lambda: quota)
    options = openvino_engine._options('fp32')
    assert options['INFERENCE_NUM_THREADS'] == quota
    assert options.get('ENABLE_CPU_PINNING', True) == pinned


def test_threads_are_not_pinned_under_a_quota(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino_engine, 'affinity', lambda: 1 + processor.available_cores())
    compiled, _ = openvino_engine._compiled(checkpoint.read(model), 'fp32', None)
    assert not compiled.get_property('ENABLE_CPU_PINNING')


def test_values_that_are_not_finite_are_an_error(tmp_path: Path) -> None:
    network = FCN8(width=0.05, head='none')
    with torch.no_grad():
        network.score7.bias.fill_(60000)
        network.upsample7.weight.fill_(60000)
        network.upsample4.weight.fill_(60000)
        for layer in network.features:
            if isinstance(layer, torch.nn.Conv2d):
                layer.weight.fill_(60000)
    path = tmp_path / 'model.safetensors'
    checkpoint.save(path, network, ModelInfo({}))
    with pytest.raises(ArithmeticError, match='not finite .engine openvino, precision fp32'):
        RoadSegmenter.from_checkpoint(path, 'cpu', 'openvino', 'fp32')


@needs_int8
def test_int8_convolutions_run_in_int8() -> None:
    segmenter = RoadSegmenter.from_checkpoint('', 'cpu', 'openvino', 'int8')
    kinds = {}
    for operation in segmenter.engine._compiled.get_runtime_model().get_ordered_ops():
        facts = operation.get_rt_info()
        if facts['layerType'].astype(str) == 'Convolution':
            kind = facts['runtimePrecision'].astype(str)
            kinds[kind] = kinds.get(kind, 0) + 1
    # 13 of VGG-16, two of the head and three scores; the last upsampling stays in float.
    assert sum(count for kind, count in kinds.items() if kind in ('i8', 'u8')) == 18
    assert sum(kinds.values()) == 19


@needs_int8
def test_int8_holds_at_other_sizes_and_shapes() -> None:
    reference = RoadSegmenter.from_checkpoint('', 'cpu', 'openvino', 'fp32')
    int8 = RoadSegmenter.from_checkpoint('', 'cpu', 'openvino', 'int8')
    for seed, size in enumerate(((240, 320), (480, 640), (360, 1200), (600, 400))):
        image = synthetic.render(seed, *size).image
        expected, got = reference(image).mask > 0, int8(image).mask > 0
        assert np.count_nonzero(expected & got) / np.count_nonzero(expected | got) >= 0.98


def test_the_shipped_ranges_say_where_they_come_from() -> None:
    found = quantization.read(checkpoint.read())
    assert found.metrics['max_f'] - found.metrics['max_f_int8'] <= 0.3
    assert found.metrics['mask_iou'] >= 98.5
    assert 'images for the ranges' in found.data
    assert 'CC BY-NC-SA 3.0' in found.data_license
    assert found.nncf_version
    assert quantization.path_for(DEFAULT).stat().st_size < 100_000


def test_the_ranges_of_a_model_are_no_model(ranges: Path) -> None:
    with pytest.raises(checkpoint.CheckpointError, match='not a road_seg_ros checkpoint'):
        checkpoint.read(ranges)


EXPORT = 'python -m training.export --model .* --format openvino --int8 --calibration KITTI_DIR'


@needs_int8
def test_int8_without_ranges_names_the_command_that_makes_them(model: Path) -> None:
    with pytest.raises(
        EngineError, match=f'which does not exist; make it with `{EXPORT}'
    ) as error:
        RoadSegmenter.from_checkpoint(model, 'cpu', 'openvino', 'int8')
    assert f'--model {model} ' in str(error.value)


@needs_int8
def test_ranges_of_another_model_are_refused(model: Path, ranges: Path, tmp_path: Path) -> None:
    network, info = checkpoint.load(model)
    checkpoint.save(model, network, dataclasses.replace(info, threshold=0.1))
    with pytest.raises(EngineError, match=f'belongs to another model file .*; make it .*{EXPORT}'):
        RoadSegmenter.from_checkpoint(model, 'cpu', 'openvino', 'int8')


def _cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:300])


def _take_the_model(path: Path) -> None:
    shutil.copy(DEFAULT, path)


def _turn_a_range(path: Path) -> None:
    found = quantization.read(checkpoint.read(path.with_name(DEFAULT.name)))
    turned = {layer: (high, low) for layer, (low, high) in found.ranges.items()}
    quantization.save(path, dataclasses.replace(found, ranges=turned))


def _forget_the_metrics(path: Path) -> None:
    found = quantization.read(checkpoint.read(path.with_name(DEFAULT.name)))
    quantization.save(path, dataclasses.replace(found, metrics={}))


@needs_int8
@pytest.mark.parametrize(
    ('damage', 'words'),
    [
        (_cut_short, 'damaged or of another version'),
        (_take_the_model, 'it is not road_seg_ros int8 ranges of version 1'),
        (_turn_a_range, 'has the range'),
        (_forget_the_metrics, 'max_f'),
    ],
)
def test_damaged_ranges_are_refused(model: Path, ranges: Path, damage, words: str) -> None:
    damage(ranges)
    with pytest.raises(EngineError, match=f'{words}.*; make it with `{EXPORT}'):
        RoadSegmenter.from_checkpoint(model, 'cpu', 'openvino', 'int8')


def test_what_is_written_is_read(model: Path) -> None:
    read = checkpoint.read(model)
    written = Quantization(
        {'features.2': (0.0, 1.5), 'score7': (-1.0, 2.0)},
        read.digest(),
        'ten images',
        'a licence',
        {'max_f': 96.5, 'max_f_int8': 96.4},
        '3.0',
    )
    quantization.save(quantization.path_for(model), written)
    assert quantization.read(read) == written
    assert written.describe() == 'checked in int8: MaxF 96.40, in fp32 96.50'
    assert sorted(path.name for path in model.parent.iterdir()) == [
        'road_seg_compact.int8.safetensors',
        'road_seg_compact.safetensors',
    ]


# auto


@pytest.mark.parametrize(
    ('flags', 'with_ranges', 'installed', 'chosen', 'why'),
    [
        ('avx512_vnni avx512_bf16', True, True, ('openvino', 'int8'), 'checked in int8: MaxF'),
        ('avx512_bf16', True, True, ('openvino', 'bf16'), 'no VNNI or AMX'),
        ('avx512_vnni avx512_bf16', False, True, ('openvino', 'bf16'), 'does not exist; make'),
        ('avx2', True, True, ('openvino', 'fp32'), 'this processor has no bf16'),
        ('bf16 asimd', True, True, ('openvino', 'fp32'), 'no bf16 for openvino'),  # Arm
        ('bf16 asimd', True, False, ('torch', 'bf16'), 'int8 needs openvino'),
        ('avx512_vnni avx512_bf16', True, False, ('torch', 'bf16'), 'int8 needs openvino'),
        ('avx2', True, False, ('torch', 'fp32'), 'int8 needs openvino'),
    ],
)
def test_auto_takes_the_fastest_that_was_checked_and_says_why(
    model: Path,
    ranges: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: str,
    with_ranges: bool,
    installed: bool,
    chosen: tuple[str, str],
    why: str,
) -> None:
    if not with_ranges:
        ranges.unlink()
    monkeypatch.setattr(processor, '_flags', lambda _: set(flags.split()))
    monkeypatch.setattr(engines, '_has_openvino', lambda: installed)
    choice = engines.choose(checkpoint.read(model), 'cpu')
    assert (choice.device, choice.engine, choice.precision) == ('cpu', *chosen)
    assert why in choice.why


def test_what_was_asked_for_needs_no_reason(model: Path) -> None:
    choice = engines.choose(checkpoint.read(model), 'cpu', 'openvino', 'fp32')
    assert (choice.engine, choice.precision, choice.why) == ('openvino', 'fp32', '')


def test_int8_without_its_instructions_is_refused(
    model: Path, ranges: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, '_flags', lambda _: {'avx2'})
    with pytest.raises(EngineError, match='needs a processor with VNNI or AMX .*; set precision'):
        RoadSegmenter.from_checkpoint(model, 'cpu', 'openvino', 'int8')


def test_openvino_does_not_run_fp16(model: Path) -> None:
    with pytest.raises(EngineError, match='openvino runs fp32, bf16 and int8, not fp16'):
        RoadSegmenter.from_checkpoint(model, 'cpu', 'openvino', 'fp16')


def test_a_precision_that_openvino_ignores_is_refused(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_as_asked = openvino_engine._compiled

    def compile_in_fp32(model, precision, ranges):  # as on a processor without bf16
        return compile_as_asked(model, 'fp32', ranges)

    monkeypatch.setattr(openvino_engine, '_compiled', compile_in_fp32)
    for _ in ('compiled', 'from the cache'):
        with pytest.raises(
            EngineError, match='bf16 cannot be had: .* in f32 on this processor; set precision'
        ):
            RoadSegmenter.from_checkpoint(tiny_model, 'cpu', 'openvino', 'bf16')
    assert compile_as_asked(checkpoint.read(tiny_model), 'fp32', None)[1]
