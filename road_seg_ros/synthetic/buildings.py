"""Houses, and the barriers in front of gardens."""

from __future__ import annotations

import functools

import numpy as np

from road_seg_ros.synthetic.noise import cut_noise
from road_seg_ros.synthetic.panels import Thing, rectangle, upright_panel
from road_seg_ros.synthetic.textures import (
    PLASTERS,
    foliage,
    masonry,
    mip_levels,
    plain_texture,
    srgb,
)
from road_seg_ros.synthetic.world import UP, World

_FACADES = 6  # textures kept in memory; tint and size vary their looks
_TILES = ((110, 62, 50), (78, 74, 72), (95, 70, 60), (60, 58, 60))


def make_building(
    rng: np.random.Generator,
    foot: np.ndarray,
    forward: np.ndarray,
    outward: np.ndarray,
    length: float,
    depth: float,
    floors: int,
) -> list[Thing]:
    """
    Return a house whose front stands on `foot` and faces away from `outward`, and its roof.

    `foot` is (3,); `forward` and `outward` are unit vectors (3,); sizes are in metres.
    """
    colour = srgb(*PLASTERS[rng.integers(len(PLASTERS))]) * rng.uniform(0.5, 1.0)
    height = floors * rng.uniform(2.7, 3.3) + 0.8
    middle = foot + outward * depth / 2
    front, end = _facade(floors, 1 + int(rng.integers(_FACADES))), _facade(floors, 0)
    panels = [upright_panel(foot, -outward, length, height, front)]
    panels += [
        upright_panel(middle + s * forward * length / 2, s * forward, depth, height, end)
        for s in (-1, 1)
    ]
    rise = rng.uniform(2, 4.5) if rng.random() < 0.7 else 0.0
    house = Thing(
        middle,
        height + 0.6 * rise,
        tuple(panels),
        tint=colour,
        solid=True,
        footprint=rectangle(middle, forward, outward, length, depth),
    )
    if not rise:
        return [house]
    wall, triangle = _plain_wall(int(rng.integers(4))), ((0.0, 1.0), (0.5, 0.0), (1.0, 1.0))
    gables = tuple(
        upright_panel(
            middle + s * forward * length / 2 + UP * height,
            s * forward,
            depth,
            rise,
            wall,
            triangle,
        )
        for s in (-1, 1)
    )
    slope = upright_panel(
        foot + UP * height - outward * 0.4,
        -outward,
        length + 0.6,
        rise,
        wall,
        lean=depth / 2 + 0.4,
    )
    tiles = srgb(*_TILES[rng.integers(len(_TILES))])
    return [
        house,
        Thing(middle, height, gables, tint=colour, solid=True),
        Thing(middle, height, (slope,), tint=tiles, solid=True),
    ]


def make_barrier(
    rng: np.random.Generator,
    world: World,
    foot: np.ndarray,
    forward: np.ndarray,
    outward: np.ndarray,
    kind: str,
) -> Thing:
    """Return 6 m of 'hedge', 'wall' or 'rail' along the road; `foot` is its middle."""
    texture, height, tint = {
        'hedge': (_hedge(int(rng.integers(4))), rng.uniform(1.2, 2.0), world.leaf),
        'wall': (_plain_wall(int(rng.integers(4))), 1.5, world.masonry),
        'rail': (_railing(), 1.1, np.ones(3, np.float32)),
    }[kind]
    length = 6.15  # a little over a quarter of a chunk, so that bends leave no gaps
    panel = upright_panel(foot, -outward, length, height, texture)
    return Thing(
        foot, height, (panel,), tint=tint, footprint=rectangle(foot, forward, outward, length, 0.3)
    )


@functools.cache
def _facade(floors: int, kind: int) -> tuple[np.ndarray, ...]:
    """Return a house front about 12 m wide, to be tinted; kind 0 is a gable end."""
    rng = np.random.default_rng([23, floors, kind])
    storey, w = int(rng.uniform(50, 60)), 240
    h = storey * floors + 16
    wall = masonry(rng, (h, w))
    pitch = int(rng.uniform(36, 68))
    tall, wide = int(rng.uniform(0.42, 0.6) * storey), int(pitch * rng.uniform(0.35, 0.6))
    frame = srgb(*([rng.choice([90, 225, 240])] * 3))
    shop, shutters = kind and rng.random() < 0.3, rng.random() < 0.2
    for floor, sill in enumerate(range(h - 22, tall, -storey)):
        for left in range((w % pitch + pitch - wide) // 2, w - wide, pitch):
            if not kind and rng.random() < 0.6:
                continue
            bottom, right = sill, left + wide
            if not floor and kind and (shop or rng.random() < 0.2):
                bottom, right = h, left + (pitch - 6 if shop else 20)
            if shutters and floor:
                wall[sill - tall : sill, max(left - 9, 0) : right + 9, :3] = srgb(80, 95, 85)
            wall[bottom : bottom + 2, left:right, :3] *= 1.25
            pane = wall[sill - tall : bottom, left:right, :3]
            pane[:] = frame
            glass = pane[2:-2, 2:-2]
            glass[:] = srgb(44, 50, 56) * rng.lognormal(0, 0.5)
            glass[: len(glass) // 2] *= rng.uniform(0.9, 3.0)
            if rng.random() < 0.3:
                glass[: int(rng.uniform(0.2, 0.9) * len(glass))] = srgb(175, 170, 160)
            pane[:, pane.shape[1] // 2 - 1 : pane.shape[1] // 2 + 1] = frame
    wall[-10:, :, :3] *= 0.7
    return mip_levels(wall)


@functools.cache
def _plain_wall(kind: int) -> tuple[np.ndarray, ...]:
    return mip_levels(masonry(np.random.default_rng([19, kind]), (48, 128)))


@functools.cache
def _hedge(kind: int) -> tuple[np.ndarray, ...]:
    """Return 6 m of hedge with a ragged top, leaf brightness as grey."""
    rng, shape = np.random.default_rng([29, kind]), (80, 256)
    texture = np.empty((*shape, 4), np.float32)
    texture[..., :3] = (foliage(rng, shape) * np.linspace(1.0, 0.3, shape[0])[:, None])[..., None]
    top = 6 + 3 * cut_noise(rng, (1, shape[1]), 3.0)
    texture[..., 3] = np.clip(np.arange(shape[0])[:, None] - top, 0, 1)
    return mip_levels(texture)


@functools.cache
def _railing() -> tuple[np.ndarray, ...]:
    texture = plain_texture(32, 160, srgb(55, 58, 56))
    texture[3:-2, :, 3] = np.arange(160) % 5 < 2
    return mip_levels(texture)
