"""Files that ship with the package are found, and the transports left as the user chose them."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from graph import ros, running_node

from road_seg_ros.resources import find_resource
from road_seg_ros.transport import CHOSEN_BY_USER, PROFILE_VARIABLES, profile_environment


@pytest.mark.parametrize(
    'name', ['config/fastdds.xml', 'config/seg.yaml', 'config/seg.rviz', 'launch/seg.launch.py']
)
def test_every_shipped_file_is_found(name: str) -> None:
    assert find_resource(name).is_file()


def test_what_does_not_ship_is_not_found() -> None:
    assert find_resource('config/none.yaml') is None


def test_the_profile_is_offered_where_nothing_is_chosen() -> None:
    environment = profile_environment({})
    assert set(environment) == set(PROFILE_VARIABLES)
    assert {Path(value).name for value in environment.values()} == {'fastdds.xml'}


@pytest.mark.parametrize('name', CHOSEN_BY_USER)
def test_a_choice_of_the_user_is_left_alone(name: str) -> None:
    assert profile_environment({name: 'mine'}) == {}


def test_a_ros_that_is_kept_on_this_machine_stays_there() -> None:
    assert profile_environment({'ROS_LOCALHOST_ONLY': '1'}) == {}
    assert profile_environment({'ROS_LOCALHOST_ONLY': '0'})


def test_the_profile_has_room_for_images_and_keeps_udp() -> None:
    root = ElementTree.parse(find_resource('config/fastdds.xml')).getroot()
    text = {element.tag.split('}')[1]: element.text for element in root.iter()}
    assert int(text['segment_size']) == 64 * 2**20
    assert int(text['maxMessageSize']) == 16 * 2**20
    types = [e.text for e in root.iter() if e.tag.endswith('}type')]
    assert sorted(types) == ['SHM', 'UDPv4']


def test_tests_and_their_nodes_use_the_profile(capfd: pytest.CaptureFixture) -> None:
    if any(os.environ[name] != str(find_resource('config/fastdds.xml')) for name in
           PROFILE_VARIABLES):  # fmt: skip
        pytest.skip('other transports were chosen for this run')
    with ros(), running_node(start=False):
        pass
    assert 'XMLPARSER' not in capfd.readouterr().err  # what Fast DDS says of a bad profile
