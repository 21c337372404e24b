"""Compiled models are kept in the user's cache folder, and a damaged one does no harm."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from road_seg_ros import checkpoint, synthetic
from road_seg_ros.engines import compiled_cache, openvino_graph
from road_seg_ros.segmenter import RoadSegmenter

CONTENT = bytes(range(256)) * 100


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    return tmp_path / 'road_seg_ros'


def test_what_was_written_is_read() -> None:
    assert compiled_cache.read('key') is None
    compiled_cache.write('key', CONTENT)
    assert compiled_cache.read('key') == CONTENT
    assert compiled_cache.read('other') is None


@pytest.mark.parametrize('damage', ['empty', 'short', 'changed'])
def test_a_damaged_entry_counts_as_none_and_is_replaced(folder: Path, damage: str) -> None:
    compiled_cache.write('key', CONTENT)
    [entry] = folder.iterdir()
    whole = entry.read_bytes()
    changed = whole[:-1] + bytes([whole[-1] ^ 1])
    entry.write_bytes({'empty': b'', 'short': whole[:500], 'changed': changed}[damage])
    assert compiled_cache.read('key') is None
    compiled_cache.write('key', CONTENT)
    assert compiled_cache.read('key') == CONTENT


@pytest.mark.parametrize('room', [3.5, 0.5])
def test_the_oldest_entries_go(folder: Path, monkeypatch: pytest.MonkeyPatch, room: float) -> None:
    monkeypatch.setattr(compiled_cache, 'MOST_BYTES', room * (len(CONTENT) + 32))
    for index in range(6):
        compiled_cache.write(f'{index}', CONTENT)
        os.utime(folder / f'{index}{compiled_cache.SUFFIX}', (index, index))
    compiled_cache.write('newest', CONTENT)
    kept = {entry.stem for entry in folder.iterdir()}
    assert kept == ({'newest', '5', '4'} if room == 3.5 else {'newest'})  # it is always kept
    assert compiled_cache.read('newest') == CONTENT


def test_a_user_without_a_home_has_no_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv('XDG_CACHE_HOME')
    monkeypatch.setattr(os.path, 'expanduser', lambda path: path)  # as without one
    monkeypatch.chdir(tmp_path)
    compiled_cache.write('key', CONTENT)
    assert compiled_cache.read('key') is None
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_no_error(folder: Path) -> None:
    folder.write_text('a file where the folder should be')
    compiled_cache.write('key', CONTENT)
    assert compiled_cache.read('key') is None


def test_starts_at_the_same_time_leave_one_whole_entry(folder: Path) -> None:
    starts = [
        threading.Thread(target=compiled_cache.write, args=('key', CONTENT)) for _ in range(8)
    ]
    for start in starts:
        start.start()
    seen = [compiled_cache.read('key') for _ in range(200)]
    for start in starts:
        start.join()
    assert set(seen) <= {None, CONTENT}
    assert [entry.name for entry in folder.iterdir()] == [f'key{compiled_cache.SUFFIX}']


def test_an_engine_from_the_cache_answers_as_the_first_one(
    folder: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip('openvino', reason='openvino is not installed')
    image = synthetic.render(0, 94, 310).image

    stages: list[str] = []

    def answer() -> np.ndarray:
        segmenter = RoadSegmenter.from_checkpoint(tiny_model, device='cpu', engine='openvino')
        stages[:] = segmenter.start_s
        return segmenter(image).confidence

    first = answer()
    assert stages == ['model file read', 'engine made', 'first run']
    [entry] = folder.iterdir()
    built = []
    build = openvino_graph.build
    monkeypatch.setattr(openvino_graph, 'build', lambda *a: built.append(1) or build(*a))
    np.testing.assert_array_equal(answer(), first)
    assert stages[1] == 'engine from the cache'
    assert not built
    # An entry that is whole but not what its name says.
    compiled_cache.write(entry.name.removesuffix(compiled_cache.SUFFIX), CONTENT)
    np.testing.assert_array_equal(answer(), first)
    assert built == [1]
    np.testing.assert_array_equal(answer(), first)
    assert built == [1]


def test_no_start_needs_pytorch(folder: Path) -> None:
    pytest.importorskip('openvino', reason='openvino is not installed')
    start = (
        'import sys; sys.modules["torch"] = None; '
        'from road_seg_ros.segmenter import RoadSegmenter; '
        'segmenter = RoadSegmenter.from_checkpoint(device="cpu", engine="openvino"); '
        'print(segmenter.engine.from_cache)'
    )
    for from_cache in ('False', 'True'):
        output = subprocess.run([sys.executable, '-c', start], capture_output=True, text=True)
        assert output.stdout.strip() == from_cache, output.stderr


def test_another_model_has_another_entry(folder: Path, tiny_model: Path, tmp_path: Path) -> None:
    pytest.importorskip('openvino', reason='openvino is not installed')
    network, info = checkpoint.load(tiny_model)
    network.score7.bias.data += 1
    other = tmp_path / 'other.safetensors'
    checkpoint.save(other, network, info)
    for model in (tiny_model, other, tiny_model):
        RoadSegmenter.from_checkpoint(model, device='cpu', engine='openvino')
    assert len(list(folder.iterdir())) == 2
