"""An exported file gives what its network gives, or is not written."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from road_seg_ros import checkpoint, engines, synthetic
from road_seg_ros.checkpoint import ModelInfo
from road_seg_ros.engines import quantization
from road_seg_ros.engines.openvino_engine import core
from road_seg_ros.engines.processor import has_int8
from road_seg_ros.engines.torch_engine import RoadProbability, TorchEngine
from road_seg_ros.fcn8 import FCN8
from training import export, export_check, int8_file, licenses, openvino_file
from training.export import FORMATS, split_pairs
from training.kitti_road import Pair, find_pairs, split_fold

PACKAGES = {name: (*file.PACKAGES, 'nncf') for name, file in FORMATS.items()}
SHAPES = ((1, 64, 192), (2, 33, 65), (3, 96, 32), (1, 1, 1))  # N, H, W


def _need(format_name: str) -> None:
    for package in PACKAGES[format_name]:
        pytest.importorskip(package, reason=f'pip install {package} to test this export')


def _files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small network whose probability varies with the image."""
    torch.manual_seed(1)
    network = FCN8(width=0.06, head='fc1024')
    with torch.no_grad():
        network.score3.weight.mul_(8)
    info = checkpoint.ModelInfo(
        {},
        checkpoint.InputSize(64, 192),
        threshold=0.3,  # nearly all is road: the masks of noise would differ in int8
        training={'folds': 5, 'fold': 2},
        data_license='CC BY-NC-SA 3.0',
    )
    path = tmp_path_factory.mktemp('model') / 'small.safetensors'
    checkpoint.save(path, network, info)
    return path


@pytest.fixture(scope='module')
def network(model: Path) -> Callable[[np.ndarray], np.ndarray]:
    module = RoadProbability(*checkpoint.load(model)).eval()

    def run(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return module(torch.from_numpy(images)).numpy()

    return run


@pytest.fixture(scope='module', params=FORMATS)
def format_name(request: pytest.FixtureRequest) -> str:
    _need(request.param)
    return request.param


@pytest.fixture(scope='module')
def exported(
    format_name: str, model: Path, kitti_like: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Return a float and an int8 file."""
    folder = tmp_path_factory.mktemp('exported')
    paths = {kind: folder / f'{kind}{FORMATS[format_name].SUFFIX}' for kind in ('float', 'int8')}
    options = ['--model', str(model), '--format', format_name, '--calibration', str(kitti_like)]
    assert export.main([*options, '--out', str(paths['float'])]) == 0
    assert export.main([*options, '--out', str(paths['int8']), '--int8']) == 0
    return paths


def _images(shape: tuple[int, int, int]) -> np.ndarray:
    number, height, width = shape
    scenes = [synthetic.render(7000 + seed, height, width) for seed in range(number)]
    return np.stack([scene.image for scene in scenes])


@pytest.mark.parametrize('shape', SHAPES)
def test_a_float_file_gives_what_the_network_gives(
    format_name: str, exported: dict[str, Path], network, shape: tuple[int, int, int]
) -> None:
    images = _images(shape)
    got = FORMATS[format_name].load(exported['float'])(images)
    assert (got.dtype, got.shape) == (np.float32, shape)
    np.testing.assert_allclose(got, network(images), atol=1e-3)


@pytest.mark.parametrize('shape', SHAPES)
def test_an_int8_file_gives_nearly_what_the_network_gives(
    format_name: str, exported: dict[str, Path], network, shape: tuple[int, int, int]
) -> None:
    images = _images(shape)
    got = FORMATS[format_name].load(exported['int8'])(images)
    assert (got.dtype, got.shape) == (np.float32, shape)
    assert np.abs(got - network(images)).mean() < 0.05


def test_an_int8_file_is_smaller(format_name: str, exported: dict[str, Path]) -> None:
    weights = {'onnx': '.onnx', 'openvino': '.bin'}[format_name]
    sizes = {kind: path.with_suffix(weights).stat().st_size for kind, path in exported.items()}
    assert sizes['int8'] < 0.8 * sizes['float']


def test_int8_for_openvino_also_gives_the_node_its_ranges(
    format_name: str, exported: dict[str, Path], model: Path
) -> None:
    if format_name != 'openvino' or not has_int8():
        pytest.skip('only OpenVINO on a processor with int8 instructions')
    read = checkpoint.read(model)
    found = quantization.read(read)
    convolutions = {
        name for name, layer in read.network().named_modules() if isinstance(layer, nn.Conv2d)
    } - {'features.0', 'score3', 'score4'}  # pixels, and what the next layer of the block takes
    assert set(found.ranges) == convolutions
    assert all(low <= 0 < high for low, high in found.ranges.values())
    assert found.metrics['max_f'] - found.metrics['max_f_int8'] <= export_check.MAX_F_DROP
    assert (found.data_license, found.data) == (
        f'CC BY-NC-SA 3.0; {licenses.KITTI}',  # the scenes are called like KITTI's images
        '24 images for the ranges, 6 others for the metrics',
    )
    choice = engines.choose(read, 'cpu')
    assert (choice.engine, choice.precision) == ('openvino', 'int8')
    assert choice.why == found.describe()


@pytest.mark.parametrize(
    ('tolerance', 'words'), [('MAX_F_DROP', 'the node has MaxF'), ('MASK_IOU', 'an IoU of')]
)
def test_an_engine_that_is_too_far_off_is_refused(
    model: Path, kitti_like: Path, monkeypatch, tolerance: str, words: str
) -> None:
    monkeypatch.setattr(
        export_check, tolerance, {'MAX_F_DROP': -100.0, 'MASK_IOU': 1.1}[tolerance]
    )
    read = checkpoint.read(model)
    engine = TorchEngine(*checkpoint.load(model), 'fp32')
    with pytest.raises(export_check.CheckError, match=words):
        export_check.check_engine(engine, read, find_pairs(kitti_like)[:3])


def test_masks_without_any_road_agree(model: Path, kitti_like: Path) -> None:
    read = checkpoint.read(model)
    read = dataclasses.replace(read, info=dataclasses.replace(read.info, threshold=1.0))
    engine = TorchEngine(read.network(), read.info, 'fp32')
    scores = export_check.check_engine(engine, read, find_pairs(kitti_like)[:3])
    assert scores['iou'] == 0 and scores['mask_iou'] == 100


def test_three_classes_are_refused(tmp_path: Path, capsys) -> None:
    three = tmp_path / 'three.safetensors'
    checkpoint.save(three, FCN8(0.05, 'none', classes=3), ModelInfo({}))
    options = ['--model', str(three), '--format', 'onnx', '--out', str(tmp_path / 'a.onnx')]
    assert export.main(options) == 2
    assert f'{three} scores 3 classes; a mask needs two' in capsys.readouterr().err


def test_without_int8_instructions_the_node_gets_no_file(monkeypatch, model: Path) -> None:
    monkeypatch.setattr(int8_file, 'has_int8', lambda: False)
    pytest.importorskip('nncf', reason='pip install nncf to test this export')
    lines = int8_file.write(None, checkpoint.read(model), [], [])
    assert lines == [
        'no file for the node: this processor has no int8 instructions to check it with'
    ]


def test_only_the_files_asked_for_are_written(format_name: str, exported: dict[str, Path]) -> None:
    expected = {
        'onnx': ['float.onnx', 'int8.onnx'],
        'openvino': ['float.bin', 'float.xml', 'int8.bin', 'int8.xml'],
    }
    assert _files(exported['float'].parent) == expected[format_name]


def _read_metadata(format_name: str, path: Path) -> dict[str, str]:
    if format_name == 'onnx':
        import onnx

        return {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    model = core().read_model(path)
    names = model.get_rt_info([openvino_file.RT_INFO]).value
    return {name: model.get_rt_info([openvino_file.RT_INFO, name]).astype(str) for name in names}


@pytest.mark.parametrize('kind', ['float', 'int8'])
def test_metadata_says_how_to_use_the_file(
    format_name: str, exported: dict[str, Path], kind: str
) -> None:
    facts = _read_metadata(format_name, exported[kind])
    assert float(facts['threshold']) == 0.3
    assert (facts['input_height'], facts['input_width']) == ('64', '192')
    assert facts['keep_aspect_ratio'] == 'true'
    assert json.loads(facts['normalization'])['channel_order'] == 'RGB'
    assert facts['input_layout'] == 'uint8_nhwc_bgr'
    assert facts['model'] == 'small.safetensors'
    assert facts['data_license'] == 'CC BY-NC-SA 3.0'
    assert facts['precision'] == ('int8' if kind == 'int8' else FORMATS[format_name].PRECISION)


def test_onnx_names_its_lengths(exported: dict[str, Path], format_name: str) -> None:
    if format_name != 'onnx':
        pytest.skip('only ONNX names them')
    import onnxruntime

    session = onnxruntime.InferenceSession(exported['float'], providers=['CPUExecutionProvider'])
    (image,), (probability,) = session.get_inputs(), session.get_outputs()
    assert (image.name, image.shape) == ('image', ['batch', 'height', 'width', 3])
    assert probability.shape == ['batch', 'height', 'width']


def test_a_fixed_size_and_float_rgb(
    format_name: str, model: Path, network, tmp_path: Path, capsys
) -> None:
    out = tmp_path / f'fixed{FORMATS[format_name].SUFFIX}'
    options = ['--model', str(model), '--format', format_name, '--out', str(out)]
    assert export.main([*options, '--size', '65x100', '--input', 'float_nchw_rgb']) == 0
    assert f'wrote {out}\nroad probability differs' in capsys.readouterr().out
    images = _images((2, 65, 100))
    rgb = np.ascontiguousarray(images[..., ::-1].transpose(0, 3, 1, 2), np.float32)
    got = FORMATS[format_name].load(out)(rgb)
    np.testing.assert_allclose(got, network(images), atol=1e-3)
    facts = _read_metadata(format_name, out)
    assert (facts['input_height'], facts['input_width']) == ('65', '100')
    assert (facts['keep_aspect_ratio'], facts['input_layout']) == ('false', 'float_nchw_rgb')


@pytest.mark.parametrize(
    ('tolerance', 'options', 'words'),
    [
        ('FLOAT_MAX_DIFFERENCE', [], 'at most is allowed'),
        ('INT8_MEAN_DIFFERENCE', ['--int8'], 'on average is allowed'),
        ('MAX_F_DROP', [], ' less is allowed'),
    ],
)
def test_a_file_that_fails_the_check_is_not_written(
    model: Path,
    kitti_like: Path,
    tmp_path: Path,
    capsys,
    monkeypatch,
    tolerance: str,
    options: list[str],
    words: str,
) -> None:
    _need('openvino')
    monkeypatch.setattr(export_check, tolerance, -100.0)
    (tmp_path / 'road.xml').write_text('from before')
    arguments = ['--model', str(model), '--format', 'openvino', '--calibration', str(kitti_like)]
    assert export.main([*arguments, '--out', str(tmp_path / 'road.xml'), *options]) == 1
    error = capsys.readouterr().err
    error = error.splitlines()[-1]  # NNCF's first import may have something to say
    assert error.startswith('error: ')
    assert error.endswith('nothing was written')
    assert words in error
    assert _files(tmp_path) == ['road.xml']
    assert (tmp_path / 'road.xml').read_text() == 'from before'


@pytest.mark.parametrize(
    ('spoil', 'words'),
    [
        (lambda got: got[:, ::-1], 'road probability differs'),
        (lambda got: got[:, 1:], 'the file gives shape'),
        (lambda got: got * np.nan, 'not finite'),
    ],
)
def test_a_file_that_gives_something_else_is_noticed(model: Path, network, spoil, words) -> None:
    with pytest.raises(export_check.CheckError, match=words):
        export_check.check(
            lambda images: spoil(network(images)), *checkpoint.load(model), True, False, []
        )


def _names(pairs: list[Pair]) -> set[str]:
    return {pair.name for pair in pairs}


def test_int8_is_checked_on_the_validation_fold(kitti_like: Path) -> None:
    pairs = find_pairs(kitti_like)
    split = split_pairs(pairs, ModelInfo({}, training={'folds': 5, 'fold': 2}))
    training, validation = split_fold(pairs, 5, 2)
    assert _names(split.calibration) == _names(training)
    assert _names(split.held_out) == _names(validation)
    assert 'fold 2 of 5' in split.description


@pytest.mark.parametrize('training', [{}, {'folds': 5, 'fold': -1}])
def test_a_model_without_a_fold_is_checked_on_every_second_image(
    kitti_like: Path, training: dict[str, int]
) -> None:
    split = split_pairs(find_pairs(kitti_like), ModelInfo({}, training=training))
    assert len(split.calibration) == len(split.held_out) == 15
    assert not _names(split.calibration) & _names(split.held_out)
    assert 'may have been trained on them' in split.description


def test_calibration_images_are_spread_evenly(kitti_like: Path, monkeypatch) -> None:
    monkeypatch.setattr(export, 'CALIBRATION_IMAGES', 4)
    pairs = find_pairs(kitti_like)
    split = split_pairs(pairs, ModelInfo({}, training={'folds': 5, 'fold': 4}))
    assert {pair.category for pair in split.calibration} == {'um', 'umm', 'uu'}
    assert len(split.calibration) == 4
    assert len(split.held_out) == 6


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (['--model', '/no/model'], "'/no/model' does not exist"),
        (['--int8'], '--int8 needs --calibration'),
        (['--calibration', '/no/data'], '/no/data/training/image_2 does not exist'),
        (['--out', 'road.onnx'], '--out must end in .xml for --format openvino'),
        (['--format', 'onnx'], '--out must end in .onnx for --format onnx'),
        (['--out', '/no/folder/road.xml'], 'there is no folder /no/folder'),
    ],
)
def test_errors_are_one_line(
    model: Path, tmp_path: Path, capsys, options: list[str], words: str
) -> None:
    arguments = ['--model', str(model), '--format', 'openvino', '--out', str(tmp_path / 'a.xml')]
    assert export.main([*arguments, *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith('error: ')
    assert error.count('\n') == 1
    assert words in error
    assert not _files(tmp_path)


def test_a_bad_size_is_a_usage_error(model: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / 'a.xml'
    arguments = ['--model', str(model), '--format', 'openvino', '--out', str(out)]
    with pytest.raises(SystemExit) as end:
        export.main([*arguments, '--size', '160'])
    assert end.value.code == 2
    assert '--size: must be HEIGHTxWIDTH in pixels, like 160x576' in capsys.readouterr().err
    assert not _files(tmp_path)


def test_a_model_that_nothing_can_be_written_beside_is_named_before_the_work(
    model: Path, kitti_like: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    _need('openvino')
    monkeypatch.setattr(export.os, 'access', lambda folder, mode: folder != model.parent)
    monkeypatch.setattr(export, 'quantize', lambda *_: pytest.fail('too late'))
    monkeypatch.setattr(export, 'has_int8', lambda: True)
    options = ['--model', str(model), '--format', 'openvino', '--out', str(tmp_path / 'a.xml')]
    assert export.main([*options, '--int8', '--calibration', str(kitti_like)]) == 2
    assert f'error: {model.parent} cannot be written to' in capsys.readouterr().err
    assert not _files(tmp_path)


@pytest.mark.parametrize(
    ('format_name', 'package'),
    [(name, package) for name in PACKAGES for package in PACKAGES[name]],
)
def test_a_missing_package_is_named(
    model: Path,
    kitti_like: Path,
    tmp_path: Path,
    capsys,
    monkeypatch,
    format_name: str,
    package: str,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    out = tmp_path / f'a{FORMATS[format_name].SUFFIX}'
    options = ['--model', str(model), '--format', format_name, '--out', str(out), '--int8']
    assert export.main([*options, '--calibration', str(kitti_like)]) == 2
    error = capsys.readouterr().err
    assert error.startswith('error: this export needs ')
    assert package in error.split('pip install ')[1].split()
