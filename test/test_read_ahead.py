"""Frames are read before they are needed, and errors come where the frames are used."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest

from road_seg_ros.frames import Frame, SourceError
from road_seg_ros.read_ahead import ReadAhead

AHEAD = 100  # frames


def _frames(count: int, error_at: int | None = None) -> Iterator[Frame]:
    for index in range(count):
        if index == error_at:
            raise SourceError('damaged')
        yield Frame(np.zeros((1, 1, 3), np.uint8), index, str(index))


def test_every_frame_arrives_in_order() -> None:
    count = 2 * AHEAD + 1
    with closing(ReadAhead(_frames(count), AHEAD)) as frames:
        assert [frame.stamp_ns for frame in frames] == list(range(count))


def test_an_empty_source_gives_nothing() -> None:
    with closing(ReadAhead(_frames(0), AHEAD)) as frames:
        assert list(frames) == []


def test_a_bad_first_frame_is_known_at_once() -> None:
    with pytest.raises(SourceError, match='damaged'):
        ReadAhead(_frames(3, error_at=0), AHEAD)


def test_a_bad_later_frame_is_raised_in_its_place() -> None:
    seen = []
    with closing(ReadAhead(_frames(3, error_at=2), AHEAD)) as frames:
        with pytest.raises(SourceError, match='damaged'):
            for frame in frames:
                seen.append(frame.stamp_ns)
    assert seen == [0, 1]


def test_an_interrupt_before_the_first_frame_ends_the_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = threading.active_count()
    wait_for = threading.Condition.wait_for

    def interrupted(self: threading.Condition, *arguments: object) -> object:
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        return wait_for(self, *arguments)

    monkeypatch.setattr(threading.Condition, 'wait_for', interrupted)
    with pytest.raises(KeyboardInterrupt):
        ReadAhead(_frames(10**9), AHEAD)
    assert threading.active_count() == before


def test_close_ends_the_thread_of_an_endless_source() -> None:
    before = threading.active_count()
    frames = ReadAhead(_frames(10**9), AHEAD)
    assert threading.active_count() == before + 1
    frames.close()
    assert threading.active_count() == before
