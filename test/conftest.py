"""What every test shares: a ROS domain of its own, tiny data, and a tiny model."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

if TYPE_CHECKING:  # not everywhere is ROS
    from graph import Client

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / 'shared'  # real data, where a developer has it
DOMAINS = range(1, 101)  # what fits the default port range on Linux
_domain_lock = None  # held open until the process ends


def pytest_configure() -> None:
    """Take a ROS domain and a cache that no other test run has, and keep to this machine."""
    global _domain_lock
    _catch_signals()
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    for domain in DOMAINS:
        lock = open(Path(tempfile.gettempdir()) / f'road_seg_ros_test_{os.getuid()}_{domain}', 'w')
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        _domain_lock = lock
        os.environ['ROS_DOMAIN_ID'] = str(domain)
        break
    # Not the user's, and empty at first: what is tested must not depend on earlier runs.
    os.environ['XDG_CACHE_HOME'] = tempfile.mkdtemp(prefix='road_seg_ros_cache')
    from road_seg_ros import openmp
    from road_seg_ros.transport import use_profile

    openmp.wait_asleep()  # as the node does: tests run beside each other
    use_profile()


def _catch_signals() -> None:
    """
    Have no test, and no program that a test starts, find SIGINT or SIGHUP ignored.

    nohup ignores SIGHUP, a shell without job control SIGINT in what runs in its background, and
    children inherit what is ignored, but not what is handled.
    """
    for number, handler in {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGHUP: lambda *_: None,  # nohup's wish, for the tests themselves
    }.items():
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)


def pytest_unconfigure() -> None:
    """Remove the cache."""
    shutil.rmtree(os.environ['XDG_CACHE_HOME'], ignore_errors=True)


@pytest.fixture
def keep_sigterm() -> Iterator[None]:
    """Put back what handles SIGTERM."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def context() -> Iterator[None]:
    """Have ROS running in this process."""
    from graph import ros

    with ros():
        yield


@pytest.fixture
def client(context: None) -> Iterator[Client]:
    """Return a camera and viewer."""
    from graph import Client

    client = Client()
    yield client
    client.close()


@pytest.fixture(scope='session')
def image() -> np.ndarray:
    """Return a small camera image, uint8 (94, 310, 3) BGR."""
    from road_seg_ros import synthetic

    return synthetic.render(0, 94, 310).image


@pytest.fixture(scope='session')
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model file with a small network of random weights: quick, and of no use."""
    import torch

    from road_seg_ros import checkpoint
    from road_seg_ros.fcn8 import FCN8

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('model') / 'tiny.safetensors'
    info = checkpoint.ModelInfo({}, threshold=0.5, data='none', data_license='none')
    checkpoint.save(path, FCN8(width=0.05, head='none'), info)
    return path


@pytest.fixture(scope='session')
def kitti_like(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in KITTI Road's layout: ten small synthetic scenes of each category."""
    from road_seg_ros import synthetic
    from road_seg_ros.kitti import write_label
    from road_seg_ros.metrics import NOT_ROAD, NOT_SCORED, ROAD

    folder = tmp_path_factory.mktemp('kitti_road')
    images = folder / 'training' / 'image_2'
    labels = folder / 'training' / 'gt_image_2'
    images.mkdir(parents=True)
    labels.mkdir()
    for offset, category in enumerate(('um', 'umm', 'uu')):
        for index in range(10):
            scene = synthetic.render(1000 * offset + index, 94, 310)
            label = np.where(scene.road, ROAD, NOT_ROAD)
            label[:10] = NOT_SCORED
            cv2.imwrite(str(images / f'{category}_{index:06d}.png'), scene.image)
            write_label(labels / f'{category}_road_{index:06d}.png', label)
    return folder


@pytest.fixture(scope='session')
def kitti_road() -> Path:
    """Return KITTI Road itself, or skip."""
    folder = SHARED / 'kitti_road'
    if not folder.is_dir():
        pytest.skip(f'KITTI Road is not at {folder}')
    return folder


@pytest.fixture(scope='session')
def kitti_raw() -> Path:
    """Return a drive of KITTI raw, or skip."""
    folder = SHARED / 'kitti_raw'
    if not folder.is_dir():
        pytest.skip(f'KITTI raw is not at {folder}')
    return folder
