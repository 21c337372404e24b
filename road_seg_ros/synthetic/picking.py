"""Draw a world from a seed."""

from __future__ import annotations

import numpy as np

from road_seg_ros.synthetic.noise import generator
from road_seg_ros.synthetic.textures import PLASTERS, srgb
from road_seg_ros.synthetic.world import Light, Side, Surface, World


def pick_world(seed: int) -> World:
    """Draw the world of a seed."""
    rng = generator(seed, 0)
    urban = rng.random() < 0.68
    lanes = int(rng.choice([1, 2, 3, 4], p=[0.15, 0.6, 0.12, 0.13]))
    lane_width = rng.uniform(4.6, 6.0) if lanes == 1 else rng.uniform(2.7, 3.7)
    sides = (_pick_side(rng, urban), _pick_side(rng, urban))
    aside = [2.1 if s.parked and not s.bay else 0.0 for s in sides]
    bends = []
    for _ in range(2):
        wave = 2 * np.pi / rng.uniform(180, 420)
        curvature = float(rng.choice([0.0, 1 / 400, 1 / 160], p=[0.35, 0.35, 0.3]))
        size = curvature * rng.uniform(0.5, 1) / wave**2
        bends.append((size, wave, rng.uniform(0, 7)))
    leaf, grass = (_green(rng.uniform(62, 96), rng), _green(rng.uniform(72, 108), rng))
    return World(
        seed,
        tuple(bends),
        lanes,
        lane_width,
        -lanes * lane_width / 2 - aside[0],
        lanes * lane_width / 2 + aside[1],
        sides,
        _pick_surface(rng),
        _pick_light(rng),
        grass * rng.uniform(0.6, 1.0),
        leaf * rng.uniform(0.6, 1.0),
        srgb(*PLASTERS[rng.integers(len(PLASTERS))]) * 0.7,
        junctions=rng.choice([0.0, 0.35, 0.7]),
        traffic=rng.uniform(0, 0.6),
        footway_tone=rng.uniform(0.85, 1.3),
        speed=rng.uniform(8, 14),
    )


def _pick_side(rng: np.random.Generator, urban: bool) -> Side:
    kerbed = rng.random() < (0.9 if urban else 0.35)
    pavement = rng.uniform(1.3, 3.6) if kerbed and rng.random() < 0.85 else 0.0
    strip = rng.uniform(0.6, 4.0) if rng.random() < (0.3 if urban else 0.8) else 0.0
    bay = 2.2 if urban and kerbed and rng.random() < 0.2 else 0.0
    fronts = ('buildings', 'houses', 'wood', 'hedge', 'wall', 'open')
    shares = (0.3, 0.27, 0.1, 0.15, 0.1, 0.08) if urban else (0.0, 0.12, 0.4, 0.13, 0.05, 0.3)
    busy = urban and kerbed and rng.random() < 0.6
    return Side(
        kerb=rng.uniform(0.12, 0.3) if kerbed else 0.0,
        bay=bay,
        strip=strip,
        pavement=pavement,
        paving=str(rng.choice(['slabs', 'asphalt', 'gravel'], p=[0.5, 0.38, 0.12])),
        apron=rng.uniform(1, 9) if rng.random() < 0.3 else 0.0,
        beyond=str(rng.choice(['gravel', 'slabs'])),
        parked=rng.uniform(0.25, 0.95) if busy or bay else 0.0,
        frontage=str(rng.choice(fronts, p=shares)),
        trees=rng.uniform(0.2, 1.0) if rng.random() < 0.55 else 0.0,
    )


def _pick_surface(rng: np.random.Generator) -> Surface:
    grey = rng.uniform(88, 150)
    warm = rng.normal(0, 4)
    colour = srgb(grey + warm, grey, grey - warm)
    concrete = rng.random() < 0.07
    plain = rng.random() < 0.25
    return Surface(
        colour=colour * (1.4 if concrete else 1.0),
        grain=rng.uniform(0.08, 0.22),
        mottling=rng.uniform(0.03, 0.12),
        cracks=float(rng.choice([0.0, 0.3, 0.7])),
        tracks=rng.uniform(-0.12, 0.12),
        seams=bool(rng.random() < 0.5),
        joints=5.0 if concrete else 0.0,
        kerb_colour=srgb(*([rng.uniform(120, 190)] * 3)),
        paint=0.0 if plain else rng.uniform(0.5, 0.85),
        wear=rng.uniform(0, 0.8),
        line_width=rng.uniform(0.1, 0.18),
        dash=((9.0, 3.0), (12.0, 6.0), (6.0, 3.0))[rng.integers(3)],
        centre_solid=bool(rng.random() < 0.2),
        edge_lines=bool(rng.random() < 0.45),
    )


def _pick_light(rng: np.random.Generator) -> Light:
    kind = rng.choice(['clear', 'hazy', 'overcast', 'dusk'], p=[0.58, 0.17, 0.17, 0.08])
    elevation = np.radians(rng.uniform(14, 62) if kind != 'dusk' else 12)
    azimuth = rng.uniform(0, 2 * np.pi)
    to_sun = np.array(
        [
            np.cos(elevation) * np.sin(azimuth),
            np.cos(elevation) * np.cos(azimuth),
            np.sin(elevation),
        ]
    )
    warmth = 0.35 * np.exp(-elevation / 0.25)
    strength = {'clear': 2.6, 'hazy': 1.3, 'overcast': 0.05, 'dusk': 0.15}[kind]
    sun = strength * np.array([0.92 - warmth, 0.97 - 0.5 * warmth, 1.0]) * rng.uniform(0.8, 1.2)
    tone = {
        'clear': (1.25, 1.05, 0.85),
        'hazy': (1.1, 1.05, 1.0),
        'overcast': (1.04, 1.02, 1.0),
        'dusk': (1.2, 1.0, 0.9),
    }[kind]
    ambient = np.array(tone) * rng.uniform(0.35, 0.6) * (1.6 if kind == 'overcast' else 1)
    blue = np.array(
        {
            'clear': (1.9, 1.05, 0.42),
            'hazy': (2.1, 1.8, 1.5),
            'overcast': (1.5, 1.45, 1.4),
            'dusk': (0.8, 0.6, 0.5),
        }[kind]
    )
    pale = np.array(
        {
            'clear': (2.3, 2.15, 1.8),
            'hazy': (2.5, 2.45, 2.35),
            'overcast': (2.5, 2.45, 2.35),
            'dusk': (0.9, 0.95, 1.1),
        }[kind]
    )
    return Light(
        to_sun,
        sun,
        ambient,
        blue * rng.uniform(0.5, 1.2),
        pale * rng.uniform(0.7, 1.2),
        clouds={'clear': rng.uniform(-1.5, 0.6), 'hazy': 0.8, 'overcast': 2.0, 'dusk': 0.4}[kind],
        haze=rng.uniform(1500, 5000) if kind == 'clear' else rng.uniform(600, 2500),
    )


def _green(red: float, rng: np.random.Generator) -> np.ndarray:
    """Return a muted green: plants in photographs are barely greener than they are red."""
    return srgb(red, red + rng.uniform(2, 17), red * rng.uniform(0.5, 0.75))
