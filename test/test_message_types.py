"""A bag names message types; only those that ROS generated are imported."""

from __future__ import annotations

from pathlib import Path

import pytest
from sensor_msgs.msg import Image

from road_seg_ros.bags.message_types import find_message_type


def test_an_installed_type_is_found() -> None:
    assert find_message_type('sensor_msgs/msg/Image') is Image


@pytest.mark.parametrize(
    'name',
    [
        'no_such_msgs/msg/Image',
        'sensor_msgs/msg/NoSuchMessage',
        'sensor_msgs/msg/__doc__',
        'sensor_msgs/srv/SetCameraInfo',
        'sensor_msgs.msg/msg/Image',
        'sensor_msgs/Image',
        '/msg/Image',
        '',
    ],
)
def test_what_is_no_installed_message_is_a_lookup_error(name: str) -> None:
    with pytest.raises(LookupError, match='is not installed'):
        find_message_type(name)


def test_another_package_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / 'harmful_msgs'
    (package / 'msg').mkdir(parents=True)
    trace = tmp_path / 'imported'
    (package / '__init__.py').write_text(f'open({str(trace)!r}, "w")')
    (package / 'msg' / '__init__.py').write_text('class Image: pass')
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(LookupError):
        find_message_type('harmful_msgs/msg/Image')
    assert not trace.exists()
