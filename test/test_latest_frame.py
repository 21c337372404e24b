"""The newest frame wins."""

from __future__ import annotations

import threading

from road_seg_ros.latest_frame import LatestFrame


def test_the_newest_frame_overtakes_the_one_that_waits() -> None:
    frames: LatestFrame[int] = LatestFrame()
    assert [frames.put(1), frames.put(2), frames.put(3)] == [False, True, True]
    assert frames.take() == 3
    assert not frames.put(4)


def test_take_waits_for_a_frame() -> None:
    frames: LatestFrame[int] = LatestFrame()
    taken: list[int | None] = []
    thread = threading.Thread(target=lambda: taken.append(frames.take()))
    thread.start()
    frames.put(7)
    thread.join(5.0)
    assert taken == [7]


def test_close_wakes_the_one_who_waits() -> None:
    frames: LatestFrame[int] = LatestFrame()
    taken: list[int | None] = []
    thread = threading.Thread(target=lambda: taken.append(frames.take()))
    thread.start()
    frames.close()
    thread.join(5.0)
    assert taken == [None]


def test_nothing_is_taken_after_close_or_clear() -> None:
    frames: LatestFrame[int] = LatestFrame()
    frames.put(1)
    assert frames.clear()
    assert not frames.clear()
    assert not frames.put(2)
    assert frames.close()
    assert not frames.close()
    assert frames.take() is None
