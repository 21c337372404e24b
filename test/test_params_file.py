"""Which nodes a parameter file is for."""

from __future__ import annotations

from pathlib import Path

import pytest

from road_seg_ros.launching.params_file import find_params_file, unread_sections

FRONT = '/car/front/road_seg'


@pytest.mark.parametrize(
    ('section', 'is_read'),
    [
        ('/**', True),
        ('/**/road_seg', True),
        ('/car/**', True),
        ('/car/*/road_seg', True),
        ('/car/front/road_seg', True),
        ('car/front/road_seg', True),
        ('/*/road_seg', False),
        ('/*', False),
        ('road_seg', False),
        ('/car/front/road_segs', False),
        ('/car/front/road.seg', False),
    ],
)
def test_a_section_is_for_the_nodes_that_its_name_fits(
    tmp_path: Path, section: str, is_read: bool
) -> None:
    file = tmp_path / 'robot.yaml'
    file.write_text(f'{section}: {{ros__parameters: {{threshold: 0.3}}}}')
    unread = [] if is_read else [f'/{section.strip("/")}']
    assert unread_sections(file, [FRONT]) == unread
    assert unread_sections(file, ['/a/b/c/d', FRONT]) == unread


def test_sections_are_found_below_namespaces(tmp_path: Path) -> None:
    file = tmp_path / 'robot.yaml'
    file.write_text('car: {front: {road_seg: {ros__parameters: {}}}, rear: {ros__parameters: {}}}')
    assert unread_sections(file, [FRONT]) == []
    assert unread_sections(file, ['/road_seg']) == [FRONT, '/car/rear']


@pytest.mark.parametrize('text', ['', '[]', '3', '/**: 5', 'a: {b: [1, 2]}'])
def test_a_file_without_parameters_has_no_sections(tmp_path: Path, text: str) -> None:
    (tmp_path / 'robot.yaml').write_text(text)
    assert unread_sections(tmp_path / 'robot.yaml', [FRONT]) == []


@pytest.mark.parametrize('content', [b'/**: {', b'\xff\xfe'])
def test_a_file_that_is_no_yaml_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / 'robot.yaml'
    file.write_bytes(content)
    with pytest.raises(ValueError, match=f'params_file {file} cannot be read: ') as error:
        unread_sections(find_params_file(str(file)), [FRONT])
    assert '\n' not in str(error.value)
