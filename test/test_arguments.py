"""What a command line may say, and the sentence for what it may not."""

from __future__ import annotations

import threading
from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path

import pytest

from road_seg_ros.arguments import (
    full_node_name,
    height_by_width,
    new_file,
    not_negative,
    positive,
    split_at_dashes,
    whole_number,
)
from road_seg_ros.stop import Stop


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


def test_a_file_that_cannot_be_written_is_told_before_the_work(
    tmp_path: Path, monkeypatch
) -> None:
    assert new_file(str(tmp_path / 'a' / 'b.json')) == tmp_path / 'a' / 'b.json'
    (tmp_path / 'file').touch()
    for text, words in (
        (str(tmp_path), 'is a folder'),
        (str(tmp_path / 'file' / 'b.json'), 'cannot be made: '),
        (str(tmp_path / ('b' * 300)), 'cannot be made: File name too long'),
    ):
        with pytest.raises(ArgumentTypeError, match=words):
            new_file(text)
    monkeypatch.setattr('os.access', lambda *_: False)  # root may write anywhere
    with pytest.raises(ArgumentTypeError, match='b.json cannot be written to'):
        new_file(str(tmp_path / 'b.json'))


def test_a_wait_may_be_as_long_as_anyone_says() -> None:
    stop = Stop()
    threading.Timer(0.2, stop.set).start()
    assert stop.wait(1e30)
