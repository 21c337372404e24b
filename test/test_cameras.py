"""One launch argument names one camera or several."""

from __future__ import annotations

import re

import pytest

from road_seg_ros.launching.cameras import Camera, check_outputs, find_cameras

FRONT_AND_REAR = [Camera('/front/image_raw', '/front'), Camera('/rear/image_raw', '/rear')]


@pytest.mark.parametrize('topic', ['camera/image_raw', '/front/image_raw', '~/image'])
@pytest.mark.parametrize('namespace', ['', 'car', '/car'])
def test_one_topic_and_its_namespace_stay_as_they_are(topic: str, namespace: str) -> None:
    assert find_cameras(topic, namespace) == [Camera(topic, namespace)]
    assert find_cameras(f' [{topic}] ', namespace) == [Camera(topic, namespace)]


@pytest.mark.parametrize(
    'text',
    [
        '/front/image_raw,/rear/image_raw',
        '/front/image_raw, /rear/image_raw',
        '[/front/image_raw, /rear/image_raw]',
        '["/front/image_raw", "/rear/image_raw"]',
        str(['/front/image_raw', '/rear/image_raw']),
        'front/image_raw, rear/image_raw',
    ],
)
def test_several_topics_are_written_with_commas_or_as_a_list(text: str) -> None:
    assert find_cameras(text) == FRONT_AND_REAR


@pytest.mark.parametrize('namespace', ['car', '/car', '/car/'])
def test_each_of_several_nodes_stands_in_its_topic_without_the_last_part(namespace: str) -> None:
    assert find_cameras('/camera/color/image, depth/image', namespace) == [
        Camera('/camera/color/image', '/car/camera/color'),
        Camera('/car/depth/image', '/car/depth'),  # relative: to the namespace, as for one
    ]


def test_a_topic_without_a_namespace_keeps_its_node_in_the_root() -> None:
    cameras = find_cameras('/image_raw, /rear/image_raw')
    assert [camera.namespace for camera in cameras] == ['/', '/rear']


def test_where_two_would_stand_in_the_same_place_all_keep_their_last_part() -> None:
    assert find_cameras('/cameras/left, /cameras/right, /rear/image', 'car') == [
        Camera('/cameras/left', '/car/cameras/left'),
        Camera('/cameras/right', '/car/cameras/right'),
        Camera('/rear/image', '/car/rear/image'),
    ]
    assert [camera.namespace for camera in find_cameras('left, right')] == ['/left', '/right']


def test_topics_that_differ_only_by_the_namespace_keep_it() -> None:
    assert find_cameras('front/image, /front/image', 'car') == [
        Camera('/car/front/image', '/car/car/front/image'),
        Camera('/front/image', '/car/front/image'),
    ]


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('', "or several like /front/image_raw, /rear/image_raw, got '': topic name must not be"),
        ('[]', "got '[]': topic name must not be empty"),
        ('/a/image,', "on either side of a comma, got '/a/image,': one is missing"),
        ('{foo}/image', "got '{foo}/image': unknown substitution"),
        ('/a//image', "got '/a//image': topic name must not contain repeated"),
        ('/a/image, , /b/image', "got '/a/image, , /b/image': one is missing"),
        ('/a/my image', "got '/a/my image': topic name must not contain characters"),
        ('[/a/image, /b/image', "got '[/a/image, /b/image': "),
        ('/a/image, /b//image', "got '/a/image, /b//image': topic name must not contain repeated"),
        ('/a/image, ~/image', "got '/a/image, ~/image': topic name must not contain characters"),
        ('/a/image, /a/image', 'must name each camera once, got /a/image twice'),
        ('a/image, /a/image', 'must name each camera once, got /a/image twice'),
    ],
)
def test_a_bad_list_of_topics_says_what_is_wrong(text: str, words: str) -> None:
    with pytest.raises(ValueError) as error:
        find_cameras(text)
    assert str(error.value).startswith('image_topic must ')
    assert words in str(error.value)


def test_a_camera_is_found_twice_below_a_namespace_too() -> None:
    with pytest.raises(ValueError, match='got /car/a/image twice'):
        find_cameras('a/image, /car/a/image', 'car')


def test_several_cameras_do_not_share_an_absolute_output() -> None:
    outputs = [('mask_topic', 'road_seg/mask'), ('overlay_topic', '~/overlay')]
    check_outputs(FRONT_AND_REAR, outputs)
    check_outputs(FRONT_AND_REAR[:1], [('mask_topic', '/mask')])
    outputs = [('mask_topic', 'mask'), ('overlay_topic', '/overlay')]
    with pytest.raises(ValueError) as error:
        check_outputs(FRONT_AND_REAR, outputs)
    assert str(error.value) == (
        "overlay_topic must not begin with / with 2 cameras, got '/overlay': all of them would "
        'publish on it'
    )


@pytest.mark.parametrize('topic', ['', 'bad topic', '/a/', 'a//b', '1/a', '{foo}/a'])
def test_an_output_must_be_a_topic(topic: str) -> None:
    words = re.escape(f'mask_topic must be a topic, got {topic!r}: ')
    with pytest.raises(ValueError, match=words) as error:
        check_outputs(FRONT_AND_REAR[:1], [('mask_topic', topic)])
    assert not re.search(':$|/src/', str(error.value))


@pytest.mark.parametrize('namespace', ['my car', '1car', '~car', 'car//b'])
def test_a_bad_namespace_is_named(namespace: str) -> None:
    with pytest.raises(ValueError, match=f'namespace must be one .*, got {namespace!r}: '):
        find_cameras('image', namespace)


def test_an_output_has_a_topic_of_its_own() -> None:
    [camera] = find_cameras('camera/image', 'car')
    words = 'mask_topic must be a topic of its own, /car/camera/image is image_topic'
    with pytest.raises(ValueError, match=words):
        check_outputs([camera], [('mask_topic', 'camera/image')])
    words = 'overlay_topic must be a topic of its own, /car/mask is mask_topic'
    with pytest.raises(ValueError, match=words):
        check_outputs([camera], [('mask_topic', 'mask'), ('overlay_topic', '/car/mask')])
    words = 'mask_topic must be a topic of its own, /car/road_seg/confidence is another output'
    with pytest.raises(ValueError, match=words):
        check_outputs([camera], [('mask_topic', 'road_seg/confidence')], ['~/confidence'])
