"""What a bag holds is known before anything is started for it, and told where it does not suit."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from recordings import CAMERA, COMPRESSED, IMAGE, STRING, compressed, image, text, write_bag

from road_seg_ros.launching.bag_metadata import Images, find_images, read_topics

PIXELS = np.zeros((4, 6, 3), np.uint8)


def test_topics_and_types_of_a_bag(tmp_path: Path) -> None:
    write_bag(tmp_path / 'bag', [image(PIXELS, 0), compressed(PIXELS, 1), text('/chat', 2, 'hi')])
    types = {CAMERA: IMAGE, f'{CAMERA}/compressed': COMPRESSED, '/chat': STRING}
    assert read_topics(str(tmp_path / 'bag')) == types


def test_a_path_may_begin_with_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bag(tmp_path / 'bag', [image(PIXELS, 0)])
    monkeypatch.setenv('HOME', str(tmp_path))
    assert read_topics('~/bag') == {CAMERA: IMAGE}


@pytest.mark.parametrize(
    ('metadata', 'words'),
    [
        (None, 'it has no metadata.yaml, which `ros2 bag reindex` can make'),
        (b'', 'cannot be read (TypeError: '),
        (b'rosbag2_bagfile_information: {}', 'cannot be read (KeyError: '),
        (b'{', 'cannot be read (ParserError: '),
        (b'\xff', 'cannot be read (UnicodeDecodeError: '),
    ],
)
def test_a_folder_that_is_no_bag(tmp_path: Path, metadata: bytes | None, words: str) -> None:
    if metadata is not None:
        (tmp_path / 'metadata.yaml').write_bytes(metadata)
    problem = f"bag must be the folder of a rosbag2, got '{tmp_path}': "
    with pytest.raises(ValueError, match=re.escape(problem) + '.*' + re.escape(words)):
        read_topics(str(tmp_path))


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    write_bag(tmp_path / 'bag', [image(PIXELS, 0)])
    with pytest.raises(ValueError, match='it is a file; give the folder that it is in'):
        read_topics(str(tmp_path / 'bag' / 'bag.mcap'))


def test_nothing_is_there() -> None:
    with pytest.raises(ValueError, match="got '/no/bag': it does not exist"):
        read_topics('/no/bag')


@pytest.mark.parametrize(
    ('topics', 'images'),
    [
        ({'/cam': IMAGE}, Images('/cam', 'raw')),
        ({'/cam/compressed': COMPRESSED}, Images('/cam/compressed', 'compressed')),
        ({'/cam': IMAGE, '/cam/compressed': COMPRESSED}, Images('/cam', 'raw')),
    ],
)
def test_the_node_gets_a_camera_as_it_was_recorded(topics: dict[str, str], images: Images) -> None:
    assert find_images('/cam', topics) == images


def test_what_was_asked_for_is_found_where_a_bag_has_both() -> None:
    both = {'/cam': IMAGE, '/cam/compressed': COMPRESSED}
    assert find_images('/cam', both, 'compressed') == Images('/cam/compressed', 'compressed')
    with pytest.raises(ValueError, match='must name compressed images of the bag, got /cam: '):
        find_images('/cam', {'/cam': IMAGE}, 'compressed')


@pytest.mark.parametrize(
    ('topics', 'known'),
    [
        ({}, 'no images'),
        ({'/cam': STRING}, 'no images'),
        ({'/cam/compressed': IMAGE}, '/cam/compressed'),
        ({'/b/compressed': COMPRESSED, '/a': IMAGE, '/chat': STRING}, '/a, /b'),
        ({'/b': COMPRESSED}, 'no images'),  # a node listens to .../compressed
        ({'/b/compressed': COMPRESSED, '/b': IMAGE}, '/b'),
    ],
)
def test_a_camera_that_is_not_in_the_bag(topics: dict[str, str], known: str) -> None:
    with pytest.raises(ValueError, match=f'^image_topic must .* got /cam: the bag has {known}$'):
        find_images('/cam', topics)
