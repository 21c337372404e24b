"""A model file comes back as it was saved, and every way to damage one has its own sentence."""

from __future__ import annotations

import dataclasses
import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from road_seg_ros import checkpoint
from road_seg_ros.checkpoint import CheckpointError, InputSize, ModelInfo, Normalization
from road_seg_ros.fcn8 import FCN8


def test_network_and_info_come_back(tmp_path: Path) -> None:
    network = FCN8(width=0.05, head='fc1024')
    info = ModelInfo(
        {},
        InputSize(96, 320, keep_aspect_ratio=False),
        Normalization('BGR', 1.0, (1.0, 2.0, 3.0), (1.0, 1.0, 2.0)),
        threshold=0.4,
        training={'epochs': 3},
        metrics={'max_f': 95.5},
        data='a',
        data_license='b',
    )
    checkpoint.save(tmp_path / 'm.safetensors', network, info)
    loaded, loaded_info = checkpoint.load(tmp_path / 'm.safetensors')
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor.half().float())
    assert not loaded.training
    assert loaded_info.architecture == {'width': 0.05, 'head': 'fc1024', 'classes': 2}
    assert loaded_info.created and loaded_info.code_version
    unset = {'architecture': {}, 'created': '', 'code_version': ''}
    assert dataclasses.replace(loaded_info, **unset) == info
    assert checkpoint.load_info(tmp_path / 'm.safetensors') == loaded_info


def test_tensors_are_float16_and_the_file_is_readable_by_others(tiny_model: Path) -> None:
    with safe_open(tiny_model, 'pt') as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}
    assert tiny_model.stat().st_mode & 0o044


def test_weights_that_do_not_fit_float16_are_not_saved(tmp_path: Path) -> None:
    network = FCN8(width=0.05, head='none')
    with torch.no_grad():
        network.score7.weight[0, 0] = 1e6
    with pytest.raises(ValueError, match='score7.weight holds values that are not finite'):
        checkpoint.save(tmp_path / 'm.safetensors', network, ModelInfo({}))
    assert not list(tmp_path.iterdir())


def test_a_description_names_what_matters(tiny_model: Path) -> None:
    text = checkpoint.load_info(tiny_model).describe()
    for word in ('width 0.05', 'head none', '160x576', 'threshold 0.500', 'temperature 1.000'):
        assert word in text


# Damage: each takes the tensors and metadata of a good file and spoils one thing.

Tensors = dict[str, torch.Tensor]


def _spoil_model(metadata: dict[str, str], change: Callable[[dict], object]) -> None:
    fields = json.loads(metadata['model'])
    change(fields)
    metadata['model'] = json.dumps(fields)


def _missing_weight(tensors: Tensors, metadata: dict[str, str]) -> None:
    del tensors['score3.bias']


def _extra_weight(tensors: Tensors, metadata: dict[str, str]) -> None:
    tensors['score9.bias'] = torch.zeros(1)


def _wrong_shape(tensors: Tensors, metadata: dict[str, str]) -> None:
    tensors['score3.bias'] = torch.zeros(5)


def _not_finite(tensors: Tensors, metadata: dict[str, str]) -> None:
    tensors['score3.bias'][0] = float('nan')


def _integers(tensors: Tensors, metadata: dict[str, str]) -> None:
    tensors['score3.bias'] = torch.zeros(2, dtype=torch.int32)


def _other_format(tensors: Tensors, metadata: dict[str, str]) -> None:
    metadata['format'] = 'pt'


def _no_metadata(tensors: Tensors, metadata: dict[str, str]) -> None:
    metadata.clear()


def _newer_version(tensors: Tensors, metadata: dict[str, str]) -> None:
    metadata['format_version'] = '9'


def _broken_json(tensors: Tensors, metadata: dict[str, str]) -> None:
    metadata['model'] = metadata['model'][:-5]


def _no_description(tensors: Tensors, metadata: dict[str, str]) -> None:
    del metadata['model']


def _no_input(tensors: Tensors, metadata: dict[str, str]) -> None:
    _spoil_model(metadata, lambda fields: fields.pop('input'))


def _deeply_nested(tensors: Tensors, metadata: dict[str, str]) -> None:
    metadata['model'] = '[' * 100_000


def _no_architecture(tensors: Tensors, metadata: dict[str, str]) -> None:
    _spoil_model(metadata, lambda fields: fields.update(architecture=None))


def _unknown_head(tensors: Tensors, metadata: dict[str, str]) -> None:
    _spoil_model(metadata, lambda fields: fields['architecture'].update(head='fc8'))


def _unknown_argument(tensors: Tensors, metadata: dict[str, str]) -> None:
    _spoil_model(metadata, lambda fields: fields['architecture'].update(depth=3))


def _bad_threshold(tensors: Tensors, metadata: dict[str, str]) -> None:
    _spoil_model(metadata, lambda fields: fields.update(threshold=1.5))


def _bad_size(tensors: Tensors, metadata: dict[str, str]) -> None:
    _spoil_model(metadata, lambda fields: fields['input'].update(height=0))


def _half_pixel(tensors: Tensors, metadata: dict[str, str]) -> None:
    _spoil_model(metadata, lambda fields: fields['input'].update(height=160.5))


def _no_metrics(tensors: Tensors, metadata: dict[str, str]) -> None:
    _spoil_model(metadata, lambda fields: fields.update(metrics=None))


def _bad_date(tensors: Tensors, metadata: dict[str, str]) -> None:
    _spoil_model(metadata, lambda fields: fields.update(created=5))


def _bad_mean(tensors: Tensors, metadata: dict[str, str]) -> None:
    _spoil_model(metadata, lambda fields: fields['normalization'].update(mean=[1.0]))


def _huge_scale(tensors: Tensors, metadata: dict[str, str]) -> None:
    _spoil_model(metadata, lambda fields: fields['normalization'].update(scale=10**400))


def _zero_std(tensors: Tensors, metadata: dict[str, str]) -> None:
    _spoil_model(metadata, lambda fields: fields['normalization'].update(std=[1.0, 0.0, 1.0]))


def _bad_order(tensors: Tensors, metadata: dict[str, str]) -> None:
    _spoil_model(metadata, lambda fields: fields['normalization'].update(channel_order='GRB'))


@pytest.mark.parametrize(
    ('spoil', 'words'),
    [
        (_missing_weight, 'lacks 1 weights, first score3.bias'),
        (_extra_weight, 'no place for, first score9.bias'),
        (_wrong_shape, r'score3.bias has shape \(5,\), its network needs \(2,\)'),
        (_not_finite, 'score3.bias holds values that are not finite'),
        (_integers, 'score3.bias holds int.*, its network needs floating point'),
        (_other_format, 'not a road_seg_ros checkpoint'),
        (_no_metadata, 'not a road_seg_ros checkpoint'),
        (_newer_version, "format version '9', this program reads 1, 2, 3"),
        (_broken_json, 'description inside .* is damaged'),
        (_deeply_nested, 'description inside .* is damaged'),
        (_no_description, "description inside .* is damaged: 'model'"),
        (_no_input, "damaged: 'input'"),
        (_no_architecture, 'damaged: architecture must be'),
        (_unknown_head, "cannot build: head must be one of .* got 'fc8'"),
        (_unknown_argument, "cannot build: .*'depth'"),
        (_bad_threshold, r'threshold must be in \[0, 1\], got 1.5'),
        (_bad_size, 'input size must be whole pixels, got 0x576'),
        (_half_pixel, 'input size must be whole pixels, got 160.5x576'),
        (_no_metrics, 'metrics must be a mapping, got None'),
        (_bad_date, 'created must be a string, got 5'),
        (_bad_mean, 'three channels each'),
        (_huge_scale, 'description inside .* is damaged'),
        (_zero_std, 'std must be above 0'),
        (_bad_order, "channel_order must be RGB or BGR, got 'GRB'"),
    ],
)
def test_damage_inside_is_named(
    tiny_model: Path, tmp_path: Path, spoil: Callable, words: str
) -> None:
    with safe_open(tiny_model, 'pt') as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        metadata = dict(file.metadata())
    spoil(tensors, metadata)
    path = tmp_path / 'spoilt.safetensors'
    save_file(tensors, path, metadata)
    with pytest.raises(CheckpointError, match=words) as error:
        checkpoint.load(path)
    assert str(path) in str(error.value)


def test_a_folder_that_may_not_be_entered_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> bool:  # as for another user's home; root may enter every folder
        raise PermissionError(13, 'Permission denied', str(self))

    monkeypatch.setattr(Path, 'is_dir', refuse)
    with pytest.raises(CheckpointError, match=r"'/home/other/m.safetensors': .* denied"):
        checkpoint.find('/home/other/m.safetensors')


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (b'', 'not a complete .safetensors file'),
        (b'hello, I am a text file', 'not a complete .safetensors file'),
        (struct.pack('<Q', 1 << 60), 'not a complete .safetensors file'),
        (struct.pack('<Q', 22) + b'{"__metadata__": null}', 'not a road_seg_ros checkpoint'),
        (b'\x80\x04\x95 pickled', 'not a complete .safetensors file'),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / 'other.safetensors'
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=words):
        checkpoint.load(path)


@pytest.mark.parametrize('part', [0.001, 0.1, 0.5, 0.999])
def test_a_file_cut_short_is_refused(tiny_model: Path, tmp_path: Path, part: float) -> None:
    path = tmp_path / 'short.safetensors'
    whole = tiny_model.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(CheckpointError, match='cut short'):
        checkpoint.load(path)


# Model paths


def test_a_path_may_be_relative_or_start_at_home(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_model.parent)
    monkeypatch.setenv('HOME', str(tiny_model.parent))
    for path in (tiny_model.name, f'./{tiny_model.name}', f'~/{tiny_model.name}', tiny_model):
        assert checkpoint.find(path).resolve() == tiny_model


def test_the_default_model_ships_with_the_package() -> None:
    network, info = checkpoint.load('')
    assert checkpoint.find('') == checkpoint.find(
        'package://road_seg_ros/weights/road_seg_compact.safetensors'
    )
    assert network.architecture['width'] == 0.5
    assert info.data_license.startswith('KITTI: CC BY-NC-SA 3.0')
    assert info.metrics['max_f'] >= 90.0
    assert checkpoint.find('').stat().st_size < 11e6


@pytest.mark.parametrize(
    ('path', 'words'),
    [
        ('/no/such/file.safetensors', "'/no/such/file.safetensors' does not exist"),
        ('/tmp', "'/tmp' is a folder"),
        ('package://other/weights/m.safetensors', 'names another package'),
        ('package://road_seg_ros/weights/none.safetensors', 'not part of this installation'),
        ('~nobody_of_this_name/m.safetensors', '~nobody_of_this_name'),
    ],
)
def test_a_bad_path_is_named(path: str, words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        checkpoint.find(path)
