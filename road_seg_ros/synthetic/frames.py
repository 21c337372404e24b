"""Render frames: put the parts together, from world to picture and label."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from road_seg_ros.synthetic.camera import Camera, Optics, expose, pick_optics, place_camera
from road_seg_ros.synthetic.ground import intersect
from road_seg_ros.synthetic.layout import CHUNK, Chunk, find_junctions, make_chunk, make_traffic
from road_seg_ros.synthetic.noise import generator
from road_seg_ros.synthetic.painter import Canvas, draw_thing, in_view
from road_seg_ros.synthetic.picking import pick_world
from road_seg_ros.synthetic.shadows import cast_shadows, light_ground
from road_seg_ros.synthetic.sky import fade, render_sky
from road_seg_ros.synthetic.surfaces import ground_albedo
from road_seg_ros.synthetic.world import BEHIND, FAR, World

_BAND = 24  # rows of ground shaded at a time: their arrays fit a core's cache


@dataclass(frozen=True)
class Scene:
    """
    A rendered frame and its label.

    `image` is uint8 (H, W, 3) BGR; `road` is uint8 (H, W), 255 on visible carriageway, else 0.
    """

    image: np.ndarray
    road: np.ndarray


def render(seed: int, height: int = 375, width: int = 1242) -> Scene:
    """
    Render one independent scene of `height` by `width` pixels, at least one each.

    The same arguments give the same bytes.
    """
    return next(drive(seed, 1, height, width))


def drive(
    seed: int, frames: int, height: int = 375, width: int = 1242, rate: float = 10.0
) -> Iterator[Scene]:
    """
    Yield `frames` scenes, `rate` per second, of a camera driving through one world.

    The first is what `render` gives for the same seed and size. ValueError names an argument that
    is out of range; it is raised at once, not with the first frame.
    """
    for name, value in (('frames', frames), ('height', height), ('width', width)):
        if value < 1:
            raise ValueError(f'{name} must be at least 1, not {value}')
    if not rate > 0:
        raise ValueError(f'rate must be positive, not {rate}')
    return _drive(seed, frames, height, width, rate)


def _drive(seed: int, frames: int, height: int, width: int, rate: float) -> Iterator[Scene]:
    world = pick_world(seed)
    optics = pick_optics(generator(seed, 4), world)
    chunks: dict[int, Chunk] = {}
    for frame in range(frames):
        time = frame / rate
        camera = place_camera(world, height, width, world.speed * time, generator(seed, 6), time)
        yield _render(world, camera, optics, chunks, time, generator(seed, 7, frame))


def _render(
    world: World,
    camera: Camera,
    optics: Optics,
    chunks: dict[int, Chunk],
    time: float,
    rng: np.random.Generator,
) -> Scene:
    along = float(camera.position[1])
    first, last = int((along - BEHIND) // CHUNK), int((along + FAR) // CHUNK)
    for index in range(first, last + 1):
        if index not in chunks:
            chunks[index] = make_chunk(world, index)
    visible = [chunks[i] for i in range(first, last + 1)]
    things = [t for c in visible for t in c.things] + list(make_traffic(world, along, time))
    shadows = cast_shadows(world, camera, things)

    h, w = camera.height, camera.width
    on_ground = camera.rays(np.arange(h), np.array([0, w - 1]))[2] < -camera.position[2] / FAR
    top, bottom = h - on_ground.any(1).sum(), h - on_ground.all(1).sum()
    canvas = Canvas(np.empty((3, h, w), np.float32), np.zeros((h, w), np.float32))
    road = np.zeros((h, w), np.float32)
    if bottom:
        canvas.radiance[:, :bottom] = render_sky(world, camera, bottom)
    junctions = find_junctions(world, first, last)
    for start in range(top, h, _BAND):
        rows = slice(start, min(start + _BAND, h))
        ground = intersect(world, camera, range(rows.start, rows.stop), junctions)
        albedo, share = ground_albedo(world, ground, visible)
        near = ground.depth < FAR
        radiance = light_ground(world, ground, albedo, shadows)
        fade(radiance, world.light, ground.depth)
        np.copyto(canvas.radiance[:, rows], radiance, where=near)
        road[rows] = share * near

    matrix = camera.project_matrix()
    depths = [(t.base - camera.position) @ camera.rotation[2] for t in things]
    for i in np.argsort(depths)[::-1]:
        thing = things[i]
        if not in_view(camera, thing):
            continue
        sunlit = 1.0
        if thing.low:
            x, y = (np.full((1, 1), v, np.float32) for v in thing.base[:2])
            sunlit = 1 - float(shadows.sample(x, y)[1][0, 0])
        draw_thing(canvas, camera, matrix, thing, world.light, sunlit)
    label = (road > 0.5) & (canvas.inverse_depth == 0)
    return Scene(expose(canvas.radiance, optics, rng), label.astype(np.uint8) * 255)
