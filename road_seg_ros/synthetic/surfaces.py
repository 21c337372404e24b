"""What the ground looks like: carriageway, markings, pavements and verges."""

from __future__ import annotations

import numpy as np

from road_seg_ros.synthetic.ground import Ground
from road_seg_ros.synthetic.layout import Chunk
from road_seg_ros.synthetic.noise import coverage, noise, wrap
from road_seg_ros.synthetic.textures import srgb
from road_seg_ros.synthetic.world import FAR, World

_JOINTS = {'slabs': 0.5, 'setts': 0.22}  # m between the joints of paving
_ZEBRA_HALF = 1.6  # m, half the length of a pedestrian crossing's bars


def ground_albedo(
    world: World, ground: Ground, chunks: list[Chunk]
) -> tuple[np.ndarray, np.ndarray]:
    """
    Return the ground's BGR albedo, float32 (3, rows, W), and the carriageway's share of pixels.

    The share is float32 (rows, W), from 0 to 1.
    """
    s = world.surface
    grain = noise(ground.x, ground.y, 0.035) / (1 + (ground.coarse / 0.15) ** 2)
    middle = noise(ground.x, ground.y, 0.4) / (1 + (ground.coarse / 1.5) ** 2)
    broad = noise(ground.across, ground.y, 3.0) / (1 + (ground.coarse / 12) ** 2)
    ragged = 0.0 if all(side.kerb for side in world.sides) else 0.06
    road = coverage(ground.edge + ragged * middle, ground.blur)
    asphalt = 1 + s.grain * grain + s.mottling * (middle + broad)
    stony = 1 + 0.22 * grain + 0.12 * middle + 0.08 * broad
    turf = np.exp(0.45 * grain + 0.3 * middle + 0.15 * broad)
    tones = {'grass': turf, 'asphalt': asphalt}
    palette = {
        'grass': world.grass,
        'asphalt': s.colour * world.footway_tone,
        'kerb': s.kerb_colour,
        'shade': s.kerb_colour * 0.2,
        'gravel': srgb(122, 115, 103),
        'slabs': srgb(138, 134, 129),
        'setts': srgb(118, 110, 106),
    }

    # From the top layer down, each covers what those above it left.
    left = 1 - road
    weights, colours = _road_layers(world, ground, chunks, asphalt, middle, broad, road)
    for hand, side in zip((-1, 1), world.sides, strict=True):
        here = coverage(-hand * ground.across, ground.fine)
        stop = 0.0
        for width, name in (
            (side.bay, 'setts'),
            (0.05 if side.kerb else 0.0, 'shade'),
            (side.kerb, 'kerb'),
            (side.strip, 'grass'),
            (side.pavement, side.paving),
            (side.apron, side.beyond),
            (2 * FAR, 'grass'),
        ):
            if not width:
                continue
            stop += width
            share = left * here
            if stop < FAR:
                share *= coverage(ground.edge - stop, ground.blur)
            left = left - share
            colours.append(palette[name])
            if not share.any():  # the other side's band, or out of the picture
                weights.append(share)
                continue
            if name in _JOINTS and name not in tones:
                tones[name] = stony * _slabs(ground, _JOINTS[name])
            share *= tones.get(name, stony)
            weights.append(share)
    planes = np.array(colours, np.float32).T @ np.stack(weights).reshape(len(weights), -1)
    return planes.reshape(3, *road.shape), road


def _slabs(ground: Ground, size: float) -> np.ndarray:
    """Return the brightness of square paving, darker at the joints."""
    across = np.abs(wrap(ground.across, size) - size / 2)
    along = np.abs(wrap(ground.y, size) - size / 2)
    joints = np.maximum(
        coverage(0.49 * size - across, ground.fine), coverage(0.485 * size - along, ground.coarse)
    )
    return 1 - 0.45 * joints * np.clip(1.2 - ground.coarse / size, 0, 1)


def _road_layers(
    world: World,
    ground: Ground,
    chunks: list[Chunk],
    asphalt: np.ndarray,
    middle: np.ndarray,
    broad: np.ndarray,
    road: np.ndarray,
) -> tuple[list, list]:
    """Return weights and albedos of the asphalt, worn, patched and cracked, and the paint."""
    s = world.surface
    lane = ground.across / world.lane_width + world.lanes / 2
    tone = asphalt * (1 + s.tracks * np.cos(4 * np.pi * lane))
    for u, y, half_u, half_y, shade in (p for c in chunks for p in c.patches):
        if not ground.shows(y, half_y):
            continue
        cover = coverage(np.abs(ground.across - u) - half_u, ground.fine) * coverage(
            np.abs(ground.y - y) - half_y, ground.coarse
        )
        tone *= 1 + (shade - 1) * cover
    if s.seams:
        wander = np.abs(wrap(lane + 0.02 * broad + 0.5, 1) - 0.5) * world.lane_width
        tone *= 1 - 0.4 * coverage(wander - 0.03, ground.fine + 0.02)
    if s.joints:
        joint = np.abs(wrap(ground.y, s.joints) - s.joints / 2) - 0.03
        tone *= 1 - 0.5 * coverage(joint, ground.coarse)
    if s.cracks:
        ridge = np.abs(noise(ground.x, ground.y, 0.9)) - 0.03
        crack = coverage(ridge, 0.04 + ground.coarse) / (1 + ground.coarse * 2)
        tone *= 1 - s.cracks * crack * np.clip(broad, 0, 1)
    if not s.paint:
        return [road * tone], [s.colour]
    worn = np.clip(1 - s.wear * (0.5 + 0.5 * middle), 0.15, 1)
    paint = _markings(world, ground, chunks) * worn
    return (
        [road * tone * (1 - paint), road * paint * (0.75 + 0.25 * asphalt)],
        [s.colour, np.full(3, s.paint, np.float32)],
    )


def _markings(world: World, ground: Ground, chunks: list[Chunk]) -> np.ndarray:
    """Return the painted share of each pixel."""
    s = world.surface
    half = s.line_width / 2
    period, length = s.dash
    dashed = coverage(np.abs(wrap(ground.y, period) - period / 2) - length / 2, ground.coarse)
    paint = np.zeros_like(ground.y)
    for lane in range(1, world.lanes):
        offset = (lane - world.lanes / 2) * world.lane_width
        line = coverage(np.abs(ground.across - offset) - half, ground.fine)
        solid = s.centre_solid and lane == world.lanes // 2
        paint = np.maximum(paint, line if solid else line * dashed)
    if s.edge_lines:
        inset = np.abs(ground.edge + 0.25) - half
        paint = np.maximum(paint, coverage(inset, ground.blur))
    for zebra in (c.zebra for c in chunks if c.zebra is not None):
        if not ground.shows(zebra, _ZEBRA_HALF):
            continue
        bars = coverage(np.abs(wrap(ground.across, 1.0) - 0.5) - 0.25, ground.fine)
        bars *= coverage(np.abs(ground.y - zebra) - _ZEBRA_HALF, ground.coarse)
        paint = np.maximum(paint, bars * (ground.edge < -0.3))
    return paint
