"""cv_bridge converts where it works; where it does not, the log says why once and OpenCV does."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from road_seg_ros import conversion
from road_seg_ros.conversion import ENCODINGS, choose_conversion, cv_bridge_conversion
from road_seg_ros.image_msgs import LAYOUTS, image_to_bgr, opencv_to_bgr, to_image

GOOD = (Path(__file__).parent / 'fake_cv_bridge.py').read_text(encoding='utf-8')
LOG = logging.getLogger('test')
Install = Callable[[str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Return a function that installs a cv_bridge with this source code, for one test."""

    def install(source: str) -> None:
        (tmp_path / 'cv_bridge').mkdir()
        (tmp_path / 'cv_bridge' / '__init__.py').write_text(source)
        monkeypatch.syspath_prepend(tmp_path)

    yield install
    sys.modules.pop('cv_bridge', None)


def _with_use(lines: str) -> str:
    """Return the source of a cv_bridge that does this when it is used."""
    body = lines.replace('\n', '\n    ')
    return f"""{GOOD}
good = CvBridge.imgmsg_to_cv2
def use(bridge, message, desired_encoding):
    {body}
CvBridge.imgmsg_to_cv2 = use
"""


def _rgb_message() -> tuple[Image, np.ndarray]:
    bgr = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    return to_image(bgr[..., ::-1], 'rgb8', Header()), bgr


CONVERT = 'good(bridge, message, desired_encoding)'
BROKEN = {
    'raises when imported': (
        "raise ImportError('numpy.core.multiarray failed to import')",
        'ImportError: numpy.core.multiarray failed to import',
    ),
    'crashes, as with numpy 2': (
        _with_use(
            'import os, signal\n'
            "print('AttributeError: _ARRAY_API not found', file=sys.stderr)\n"
            'os.kill(os.getpid(), signal.SIGSEGV)'
        ),
        "its process ends with 'Segmentation fault'",
    ),
    'raises, as with OpenCV 5': (_with_use('raise KeyError(16)'), 'KeyError: 16'),
    'calls tostring, as that of PyPI': (
        _with_use('return np.zeros(3).tostring()'),
        "AttributeError: 'numpy.ndarray' object has no attribute 'tostring'",
    ),
    'swaps colours': (
        _with_use(f'return {CONVERT}[..., ::-1]'),
        'it gives wrong pixels for rgb8',
    ),
    'is wrong in one encoding': (
        _with_use(f"return {CONVERT} // (1 + (message.encoding == 'bayer_grbg8'))"),
        'it gives wrong pixels for bayer_grbg8',
    ),
    'loses a row': (_with_use(f'return {CONVERT}[1:]'), 'it makes uint8 (15, 24, 3) of rgb8'),
    'gives other values': (
        _with_use(f'return {CONVERT} / 255'),
        'it makes float64 (16, 24, 3) of rgb8',
    ),
    'ends the process': (_with_use('sys.exit(3)'), 'its process ends with status 3'),
    'is empty': ('', "cannot import name 'CvBridge'"),
}


@pytest.mark.parametrize(('source', 'words'), BROKEN.values(), ids=BROKEN)
def test_a_broken_cv_bridge_is_told_once_and_survived(
    install: Install, caplog: pytest.LogCaptureFixture, source: str, words: str
) -> None:
    install(source)
    convert = choose_conversion(LOG)
    message, bgr = _rgb_message()
    for _ in range(2):
        np.testing.assert_array_equal(image_to_bgr(message, convert), bgr)
    assert [record.levelname for record in caplog.records] == ['WARNING']
    assert caplog.messages[0].startswith('cv_bridge does not work: ')
    assert words in caplog.messages[0]
    assert 'OpenCV alone converts the images' in caplog.messages[0]
    assert f'numpy {np.__version__} and OpenCV {cv2.__version__}' in caplog.messages[0]


def test_a_cv_bridge_that_hangs_is_given_up(
    install, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, 'TIMEOUT_S', 2.0)
    install('import time\ntime.sleep(1000)')
    assert choose_conversion(LOG) is opencv_to_bgr
    assert [record.levelname for record in caplog.records] == ['WARNING']
    assert 'it does not answer within 2 s' in caplog.messages[0]


def test_a_good_cv_bridge_is_used(install: Install, caplog: pytest.LogCaptureFixture) -> None:
    install(_with_use(f'CvBridge.used_for = message.encoding\nreturn {CONVERT}'))
    convert = choose_conversion(LOG)
    message, bgr = _rgb_message()
    np.testing.assert_array_equal(image_to_bgr(message, convert), bgr)
    assert sys.modules['cv_bridge'].CvBridge.used_for == 'rgb8'
    assert caplog.records == []


def test_without_a_cv_bridge_nothing_is_said(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, 'cv_bridge', None)
    with caplog.at_level(logging.DEBUG):
        assert choose_conversion(LOG) is opencv_to_bgr
    assert [record.levelname for record in caplog.records] == ['DEBUG']


@pytest.mark.parametrize('encoding', sorted(set(LAYOUTS) - set(ENCODINGS)))
def test_what_cv_bridge_has_no_colours_for_goes_to_opencv(install: Install, encoding: str) -> None:
    install(_with_use("raise AssertionError('not for cv_bridge')"))
    message = Image(height=4, width=4, step=30, encoding=encoding, data=bytes(range(180)))
    convert = cv_bridge_conversion()
    np.testing.assert_array_equal(image_to_bgr(message, convert), image_to_bgr(message))


def test_bgr8_is_not_copied_for_cv_bridge(install: Install) -> None:
    install(GOOD)
    message = to_image(_rgb_message()[1], 'bgr8', Header())
    bgr = image_to_bgr(message, cv_bridge_conversion())
    assert np.shares_memory(bgr, np.frombuffer(message.data, np.uint8))


def test_the_check_imports_nothing_slow() -> None:
    code = (
        'import sys, road_seg_ros.conversion; '
        'slow = {"torch", "rclpy", "openvino"} & set(sys.modules); assert not slow, slow'
    )
    subprocess.run([sys.executable, '-c', code], check=True)
