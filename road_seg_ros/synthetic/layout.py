"""What stands along the road, chunk by chunk, and what drives on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from road_seg_ros.synthetic.buildings import make_barrier, make_building
from road_seg_ros.synthetic.furniture import make_person, make_pole, make_sign
from road_seg_ros.synthetic.noise import generator
from road_seg_ros.synthetic.panels import Thing
from road_seg_ros.synthetic.plants import make_plant
from road_seg_ros.synthetic.vehicles import make_vehicle
from road_seg_ros.synthetic.world import BEHIND, FAR, Side, World

CHUNK = 24.0  # m of road generated at a time: shorter than the distance between junctions


@dataclass(frozen=True)
class Junction:
    """A side road: northing of its axis, half width in metres, the sides it leaves on."""

    along: float
    half: float
    hands: tuple[int, ...]  # -1 left, 1 right


@dataclass(frozen=True)
class Chunk:
    """What stands on, and was patched into, `CHUNK` metres of road."""

    things: tuple[Thing, ...]
    patches: tuple[tuple[float, float, float, float, float], ...]  # u, y, half sizes, tone
    zebra: float | None  # northing of a pedestrian crossing


def make_chunk(world: World, index: int) -> Chunk:
    """Draw the things of one chunk."""
    rng = generator(world.seed, 2, index)
    junctions = find_junctions(world, index - 1, index + 1)
    start = index * CHUNK
    things: list[Thing] = []
    for hand, side, edge in zip((-1, 1), world.sides, (-world.left, world.right), strict=True):

        def free(along: float, margin: float, hand: int = hand) -> bool:
            return not any(
                hand in j.hands and abs(along - j.along) < j.half + margin for j in junctions
            )

        things += _kerbside(rng, world, side, hand, edge, start, free)
        things += _frontage(rng, world, side, hand, edge, start, free)
    patches = []
    for _ in range(rng.poisson(0.8)):
        patches.append(
            (
                rng.uniform(world.left, world.right),
                start + rng.uniform(0, CHUNK),
                rng.uniform(0.4, 1.6),
                rng.uniform(0.5, 6),
                rng.uniform(0.65, 1.2),
            )
        )
    zebra = start + rng.uniform(2, 6) if index % 3 and rng.random() < 0.12 else None
    return Chunk(tuple(things), tuple(patches), zebra)


def find_junctions(world: World, first: int, last: int) -> list[Junction]:
    """Return the side roads of the chunks from `first` to `last`."""
    found = (_junction(world, i) for i in range(first, last + 1))
    return [j for j in found if j]


def make_traffic(world: World, along: float, time: float) -> Iterator[Thing]:
    """Yield the vehicles under way near northing `along` at `time` (s)."""
    oncoming = world.lanes // 2
    for lane in range(world.lanes):
        across = (lane + 0.5 - world.lanes / 2) * world.lane_width
        pace = -0.8 * world.speed if lane < oncoming else world.speed
        first = int((along - pace * time - BEHIND) // CHUNK)
        for slot in range(first, first + int((FAR + BEHIND) // CHUNK)):
            rng = generator(world.seed, 3, lane, slot)
            y = slot * CHUNK + rng.uniform(4, CHUNK - 4) + pace * time
            own_lane_blocked = lane == world.lanes - 1 and y < along + 9
            if rng.random() > world.traffic or own_lane_blocked:
                continue
            base, forward, right = world.frame(y, across + rng.uniform(-0.3, 0.3))
            if lane == world.lanes - 1 and rng.random() < 0.15:
                cyclist = 1 + 2 * int(rng.integers(6))
                yield make_person(base + right * 0.33 * world.lane_width, cyclist)
            else:
                yield make_vehicle(rng, base, forward if pace > 0 else -forward)


def _junction(world: World, index: int) -> Junction | None:
    """Return the side road of a chunk; every third chunk may have one."""
    rng = generator(world.seed, 1, index)
    if index % 3 or rng.random() > world.junctions:
        return None
    hands = ((-1,), (1,), (-1, 1))[rng.integers(3)]
    return Junction((index + 0.5) * CHUNK, rng.uniform(2.3, 4.0), hands)


def _kerbside(
    rng: np.random.Generator,
    world: World,
    side: Side,
    hand: int,
    edge: float,
    start: float,
    free: Callable[[float, float], bool],
) -> Iterator[Thing]:
    """Yield parked vehicles, street trees, poles, signs and people of one side."""
    stand = edge + side.bay / 2 if side.bay else edge - 1.05
    for slot in range(4):
        along = start + (slot + 0.5) * CHUNK / 4 + rng.uniform(-0.5, 0.5)
        base, forward, _ = world.frame(along, hand * (stand + rng.uniform(-0.1, 0.1)))
        turned = rng.random() < (0.85 if hand < 0 and world.lanes > 1 else 0.1)
        if rng.random() < side.parked and free(along, 8):
            yield make_vehicle(rng, base, -forward if turned else forward, parked=True)
    off = edge + side.bay + side.kerb
    for slot in range(3):
        along = start + (slot + rng.uniform(0.3, 0.7)) * CHUNK / 3
        place = off + (side.strip / 2 if side.strip else 0.6 if side.pavement else 2.5)
        if rng.random() < side.trees and free(along, 5):
            yield make_plant(rng, world, world.frame(along, hand * place)[0], rng.uniform(5, 12))
        if side.pavement and rng.random() < 0.12:
            walk = off + side.strip + rng.uniform(0.4, 0.9) * side.pavement
            pedestrian = 2 * int(rng.integers(6))
            yield make_person(world.frame(along, hand * walk)[0], pedestrian)
    post = world.frame(start + 0.3 * CHUNK, hand * (off + 0.5))
    if rng.random() < 0.4 and free(start + 0.3 * CHUNK, 3):
        yield make_pole(post[0], rng.uniform(5, 9), rng.uniform(0.12, 0.28), rng.uniform(50, 130))
    elif rng.random() < 0.3 and free(start + 0.3 * CHUNK, 3):
        yield make_sign(rng, post[0], post[1])


def _frontage(
    rng: np.random.Generator,
    world: World,
    side: Side,
    hand: int,
    edge: float,
    start: float,
    free: Callable[[float, float], bool],
) -> Iterator[Thing]:
    """Yield buildings, barriers and plants behind the pavement of one side."""
    front = edge + side.reach
    kind = side.frontage
    if kind in ('buildings', 'houses'):
        count = int(rng.integers(1, 4)) if kind == 'buildings' else 1
        setback = 0.2 if kind == 'buildings' else rng.uniform(3, 9)
        floors = int(rng.integers(2, 6)) if kind == 'buildings' else int(rng.integers(1, 4))
        length = CHUNK / count if kind == 'buildings' else rng.uniform(9, 16)
        for n in range(count):
            along = start + (n + 0.5) * CHUNK / count
            foot, forward, right = world.frame(along, hand * (front + setback))
            if free(along, length / 2 + side.reach):
                yield from make_building(
                    rng, foot, forward, hand * right, length, rng.uniform(8, 12), floors
                )
    barrier = kind if kind in ('hedge', 'wall') else str(rng.choice(['hedge', 'wall', 'rail']))
    if kind in ('hedge', 'wall') or kind == 'houses' and rng.random() < 0.6:
        for n in range(4):
            along = start + (n + 0.5) * CHUNK / 4
            foot, forward, right = world.frame(along, hand * (front + 0.3))
            if free(along, 4 + side.reach):
                yield make_barrier(rng, world, foot, forward, hand * right, barrier)
    count = {'wood': 7, 'hedge': 4, 'wall': 4, 'houses': 2, 'open': 2, 'buildings': 0}[kind]
    for _ in range(count):
        along, out = start + rng.uniform(0, CHUNK), rng.uniform(1.5, 16)
        out = 1.5 + out * 0.8 if kind == 'wood' else out + (3 if kind != 'open' else 6)
        bush = rng.random() < 0.3
        foot = world.frame(along, hand * (front + out))[0]
        if free(along, 4 + side.reach):
            yield make_plant(
                rng, world, foot, rng.uniform(1, 3) if bush else rng.uniform(5, 15), bush
            )
