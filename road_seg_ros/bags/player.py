"""Publish recorded messages at the times at which they were recorded."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock

from road_seg_ros.bags.message_types import find_message_type
from road_seg_ros.bags.qos import recorded_profile
from road_seg_ros.bags.reading import Bag, Topic
from road_seg_ros.graph_names import node_of
from road_seg_ros.stop import Stop

NS = 1_000_000_000
LONGEST_S = 1e9  # longer than any bag; times stay below the 63 bits that bags have
POLL_S = 0.05
# Without a change of the graph for so long, discovery counts as complete on both sides. A
# road_seg_node needs 0.25 s of it to follow a change of reliability.
SETTLING_S = 1.0
DISCOVERY_S = 5.0  # for the first subscriber, where none was asked for; 3 s do happen
FLUSH_TIMEOUT_S = 5.0  # for the last acknowledgements
LINGER_S = 0.2  # for the last best-effort messages, which nobody acknowledges


class PlayError(RuntimeError):
    """A bag cannot be played; says why."""


@dataclass(frozen=True)
class Message:
    """A message to be played."""

    turn: int  # how often the bag has been played before
    topic: Topic
    time_ns: int  # in the bag
    data: bytes


@dataclass(frozen=True)
class Part:
    """Which part of a bag is played: from start_ns up to and without stop_ns, since 1970."""

    start_ns: int
    stop_ns: int

    @classmethod
    def of(
        cls, bag: Bag, topics: Collection[Topic], start_s: float, duration_s: float | None
    ) -> Part:
        """
        Return the part from start_s after the bag's begin, duration_s long or to its end.

        PlayError if none of the topics has a message there.
        """
        start_ns = bag.start_ns + round(min(start_s, LONGEST_S) * NS)
        stop_ns = bag.end_ns + 1
        if duration_s is not None:
            stop_ns = min(stop_ns, start_ns + round(min(duration_s, LONGEST_S) * NS))
        if next(bag.messages(topics, start_ns, stop_ns), None) is None:
            length_s = max(0, bag.end_ns - bag.start_ns) / NS
            raise PlayError(
                f'{bag.path} has no message there: it is {length_s:.1f} s long, and is to be '
                f'played from {start_s:g} s on' + (f' for {duration_s:g} s' if duration_s else '')
            )
        return cls(start_ns, stop_ns)


@dataclass(frozen=True)
class Timeline:
    """Between the time of a bag and the monotonic clock: start_ns is due at `begin`, in s."""

    begin: float
    start_ns: int
    rate: float

    def due(self, time_ns: int) -> float:
        """Return when a message is due, in s of the monotonic clock."""
        return self.begin + (time_ns - self.start_ns) / NS / self.rate

    def time_ns(self, moment: float) -> int:
        """Return the bag's time at a moment of the monotonic clock, never before its start."""
        return self.start_ns + round(max(0.0, (moment - self.begin) * self.rate * NS))


class Lateness:
    """How late messages were sent: their count, the latest, and percentiles of the last KEPT."""

    KEPT = 100_000

    def __init__(self) -> None:
        self.count = 0
        self.max_ms = 0.0
        self._last_ms: deque[float] = deque(maxlen=self.KEPT)

    def add(self, late_s: float) -> None:
        """Count a message that was sent late_s seconds after it was due."""
        self.count += 1
        self.max_ms = max(self.max_ms, 1e3 * late_s)
        self._last_ms.append(1e3 * late_s)

    def percentile_ms(self, percent: float) -> float:
        """Return a percentile in ms; 0 without any message."""
        return float(np.percentile(self._last_ms, percent)) if self._last_ms else 0.0


class Player:
    """
    Publishers of the topics of a bag, and the clock that they keep.

    clock_hz: how often /clock is published; 0 for never. overrides: QoS by topic, instead of what
    was recorded. stop: once it is set, everything here ends soon. Topics whose message type is not
    installed are in `skipped`, with the reason. PlayError if that leaves none.
    """

    def __init__(
        self,
        node: Node,
        topics: Iterable[Topic],
        rate: float,
        clock_hz: float,
        overrides: Mapping[str, QoSProfile],
        stop: Stop,
    ) -> None:
        self._node = node
        self._rate = rate
        self._stop = stop
        self.skipped: dict[Topic, str] = {}
        self.publishers: dict[Topic, Publisher] = {}
        for topic in topics:
            qos = overrides.get(topic.name) or recorded_profile(topic)
            try:
                message_type = find_message_type(topic.type)
                self.publishers[topic] = node.create_publisher(message_type, topic.name, qos)
            except Exception as error:  # rclpy's own differ between distributions
                self.skipped[topic] = str(error) or repr(error)
        if not self.publishers:
            reasons = '; '.join(f'{topic}: {why}' for topic, why in self.skipped.items())
            raise PlayError(f'no topic of the bag can be played: {reasons or "it has none"}')
        self.lateness = {topic: Lateness() for topic in self.publishers}
        self._tick_s = 1 / clock_hz if clock_hz else float('inf')
        self._clock = node.create_publisher(Clock, '/clock', 10) if clock_hz else None
        self._next_tick = time.monotonic() if clock_hz else float('inf')

    def wait(self, topics: Collection[str], timeout_s: float, start_ns: int) -> None:
        """
        Wait until the subscribers have found the publishers and nothing changes any more.

        topics: names, as published, that must have a subscriber before anything is played;
        PlayError if one has none after timeout_s. Without such topics, whoever is there counts.
        start_ns: what /clock says meanwhile.
        """
        published = {p.topic_name: p for p in self.publishers.values()}
        if unknown := [name for name in topics if name not in published]:
            raise PlayError(
                f'--wait-for {", ".join(unknown)} is not played; {", ".join(published)} is'
            )
        wanted = {name: published[name] for name in topics}
        began = changed = time.monotonic()
        seen = None
        standing_still = Timeline(float('inf'), start_ns, self._rate)
        while not self._stop.is_set():
            now = time.monotonic()
            if (listeners := self._listeners()) != seen:
                seen, changed = listeners, now
            missing = [name for name, p in wanted.items() if not p.get_subscription_count()]
            if wanted:
                complete = not missing
            else:
                complete = now - began > DISCOVERY_S or any(
                    p.get_subscription_count() for p in self.publishers.values()
                )
            if complete and now - changed > SETTLING_S:
                return
            if missing and now - began > timeout_s:
                reasons = '; '.join(self._why_unheard(wanted[name]) for name in missing)
                raise PlayError(f'waited {timeout_s:g} s for a subscriber: {reasons}')
            self._pause(now + POLL_S, standing_still)

    def unheard(self) -> list[str]:
        """Return, for each topic with subscribers that cannot match, why, and what to do."""
        return [
            self._why_unheard(publisher)
            for publisher in self.publishers.values()
            if not publisher.get_subscription_count()
            and self._node.count_subscribers(publisher.topic_name)
        ]

    def play(
        self,
        messages: Iterable[Message],
        part: Part,
        pause_ns: int,
        before_each: Callable[[Message], None] | None = None,
    ) -> None:
        """
        Publish the messages, each when it is due; those that are late, at once.

        pause_ns: between the end of the part and its start, where it is played again.
        before_each: is given every message before it is published.
        """
        timeline = Timeline(time.monotonic(), part.start_ns, self._rate)
        turn = 0
        for message in messages:
            if message.turn > turn:
                # From when it should have begun, not from now: no error adds up.
                begin = timeline.due(part.stop_ns - 1 + pause_ns)
                timeline = Timeline(begin, part.start_ns, self._rate)
                turn = message.turn
            if before_each is not None:
                before_each(message)
            due = timeline.due(message.time_ns)
            if not self._pause(due, timeline):
                return
            self.lateness[message.topic].add(time.monotonic() - due)
            self.publishers[message.topic].publish(message.data)
        self._pause(timeline.due(part.stop_ns - 1), timeline)
        self._tick(timeline.time_ns(time.monotonic()))

    def flush(self) -> list[str]:
        """Wait for the last messages to arrive. Returns topics where nobody acknowledged them."""
        deadline = time.monotonic() + FLUSH_TIMEOUT_S
        unacknowledged = []
        lossy = False
        for publisher in self.publishers.values():
            if publisher.qos_profile.reliability != ReliabilityPolicy.RELIABLE:
                lossy = True
                continue
            while not publisher.wait_for_all_acked(Duration(seconds=0.1)):
                if time.monotonic() > deadline:
                    unacknowledged.append(publisher.topic_name)
                    break
        if lossy:
            time.sleep(LINGER_S)
        return unacknowledged

    def _pause(self, until: float, timeline: Timeline) -> bool:
        """Wait for a moment of the monotonic clock, ticking. False if it is time to stop."""
        while not self._stop.is_set():
            now = time.monotonic()
            if now >= self._next_tick:
                self._tick(timeline.time_ns(now))
                self._next_tick = max(self._next_tick + self._tick_s, now)
            if now >= until:
                return True
            self._stop.wait(min(until, self._next_tick) - now)
        return False

    def _tick(self, time_ns: int) -> None:
        if self._clock is not None:
            stamp = Time(sec=time_ns // NS, nanosec=time_ns % NS)
            self._clock.publish(Clock(clock=stamp))

    def _listeners(self) -> list[Any]:
        """Return everything that discovery may still change."""
        return [
            (publisher.get_subscription_count(), self._node.count_subscribers(topic))
            for publisher in self.publishers.values()
            for topic in [publisher.topic_name]
        ]

    def _why_unheard(self, publisher: Publisher) -> str:
        name = publisher.topic_name
        infos = self._node.get_subscriptions_info_by_topic(name)
        if not infos:
            return f'nobody subscribes to {name}'
        played = next(t for t, p in self.publishers.items() if p is publisher)
        for info in infos:
            who = node_of(info)
            if info.topic_type != played.type:
                return (
                    f'{who} subscribes to {name} as {info.topic_type}, the bag has {played.type}'
                )
        return (
            f'{who} subscribes to {name} with other QoS than the bag offers; '
            '--qos-profile-overrides-path changes that'
        )


def read(bag: Bag, topics: Collection[Topic], part: Part, loop: bool) -> Iterator[Message]:
    """Yield the messages of a part of a bag, again and again if `loop`."""
    for turn in itertools.count() if loop else (0,):
        for topic, time_ns, data in bag.messages(topics, part.start_ns, part.stop_ns):
            yield Message(turn, topic, time_ns, data)


def mean_period_ns(bag: Bag, topics: Iterable[Topic]) -> int:
    """Return the mean time between two messages of the busiest of the topics; 0 without two."""
    busiest = max((topic.count for topic in topics), default=0)
    return round((bag.end_ns - bag.start_ns) / (busiest - 1)) if busiest > 1 else 0
