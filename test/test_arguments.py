"""What a command line may say, and the sentence for what it may not."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable

import pytest

from road_seg_ros.arguments import (
    full_node_name,
    height_by_width,
    not_negative,
    positive,
    split_at_dashes,
    whole_number,
)


@pytest.mark.parametrize(
    ('parse', 'text', 'value'),
    [
        (positive, '0.5', 0.5),
        (not_negative, '0', 0.0),
        (whole_number(1), '7', 7),
        (whole_number(0), '0', 0),
        (height_by_width, '160x576', (160, 576)),
        (full_node_name, 'road_seg', '/road_seg'),
        (full_node_name, '/front/road_seg/', '/front/road_seg'),
    ],
)
def test_what_is_allowed_is_returned(
    parse: Callable[[str], object], text: str, value: object
) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ('parse', 'texts', 'words'),
    [
        (positive, ['0', '-1', 'nan', 'inf', 'fast', ''], 'must be a number above 0'),
        (not_negative, ['-1', 'nan', 'inf', 'fast'], 'must be a number of at least 0'),
        (whole_number(1), ['0', '-1', '1.5', '1e3', '²'], 'must be a whole number of at least 1'),
        (whole_number(0), ['-1', ''], 'must be a whole number of at least 0'),
        (height_by_width, ['160', '0x576', '160x576x3'], 'must be HEIGHTxWIDTH in pixels'),
        (full_node_name, ['', '/', 'road-seg', '/a//b', '1a'], 'a node has a name like /road_seg'),
    ],
)
def test_what_is_not_allowed_is_named(
    parse: Callable[[str], object], texts: list[str], words: str
) -> None:
    for text in texts:
        with pytest.raises(ArgumentTypeError, match=words) as error:
            parse(text)
        assert repr(text) in str(error.value)


def test_the_node_gets_what_follows_the_dashes() -> None:
    assert split_at_dashes(['bag', '--', '-p', 'a:=1']) == (['bag'], ['-p', 'a:=1'])
    assert split_at_dashes(['bag']) == (['bag'], [])
