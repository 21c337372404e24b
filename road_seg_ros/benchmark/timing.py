"""Take turns, so that whatever else the machine does hits all that is compared alike."""

from __future__ import annotations

import itertools
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

WARM_UP = 5  # calls of each before the first that counts
BLOCK = 10  # calls in a row that count

Item = TypeVar('Item')
Key = TypeVar('Key')
Sampler = Callable[[Item], Mapping[str, float]]  # does its work; returns ms by stage


@dataclass(frozen=True)
class Durations:
    """Statistics of a list of durations; ms."""

    median: float
    p95: float
    p99: float
    mean: float
    least: float
    most: float
    count: int

    @classmethod
    def of(cls, ms: Sequence[float]) -> Durations:
        """Summarise at least one duration."""
        median, p95, p99 = (float(value) for value in np.percentile(ms, (50, 95, 99)))
        return cls(
            median, p95, p99, float(np.mean(ms)), float(np.min(ms)), float(np.max(ms)), len(ms)
        )


def timed(name: str, call: Callable[[Item], Any]) -> Sampler[Item]:
    """Return a sampler whose one stage is the whole call."""

    def sample(item: Item) -> dict[str, float]:
        start = time.perf_counter()
        call(item)
        return {name: 1e3 * (time.perf_counter() - start)}

    return sample


def interleave(
    samplers: Mapping[Key, Sampler[Item]],
    items: Sequence[Item],
    repeats: int,
    warm_up: int = WARM_UP,
    block: int = BLOCK,
) -> dict[Key, dict[str, Durations]]:
    """
    Run every sampler `repeats` times, in turns; return durations by sampler and stage.

    Each gets the same items in the same order, over and over. A turn is `block` calls, after one
    that does not count because the caches still hold what the sampler before it used; who begins
    changes from round to round.
    """
    taken = {name: defaultdict[str, list[float]](list) for name in samplers}
    feeds = {name: itertools.cycle(items) for name in samplers}
    for name, sample in samplers.items():
        for _ in range(warm_up):
            sample(next(feeds[name]))
    order = list(samplers)
    for left in range(repeats, 0, -block):
        for name in order:
            sample, feed = samplers[name], feeds[name]
            sample(next(feed))
            for _ in range(min(block, left)):
                for stage, ms in sample(next(feed)).items():
                    taken[name][stage].append(ms)
        order = order[1:] + order[:1]
    return {
        name: {stage: Durations.of(ms) for stage, ms in stages.items()}
        for name, stages in taken.items()
    }
