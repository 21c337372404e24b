"""Poles, signs and people."""

from __future__ import annotations

import functools

import cv2
import numpy as np

from road_seg_ros.synthetic.noise import cut_noise
from road_seg_ros.synthetic.panels import UNIT_SQUARE, Thing, upright_panel
from road_seg_ros.synthetic.textures import mip_levels, plain_texture, srgb
from road_seg_ros.synthetic.world import UP


def make_pole(foot: np.ndarray, height: float, width: float, grey: float) -> Thing:
    """Return a post of `height` by `width` metres; `grey` is a screen's, 0 to 255."""
    return Thing(
        foot,
        height,
        sprite=_round_bar(),
        sprite_width=width,
        tint=srgb(*[grey] * 3),
        footprint=foot[:2] + np.array([[-0.1, 0], [0, 0.1], [0.1, 0], [0, -0.1]]),
    )


def make_sign(rng: np.random.Generator, foot: np.ndarray, forward: np.ndarray) -> Thing:
    """Return a round, triangular or rectangular traffic sign facing the camera's traffic."""
    rim, face = (
        ((150, 25, 25), (215, 215, 210)) if rng.random() < 0.6 else ((30, 60, 130), (40, 75, 150))
    )
    texture = plain_texture(24, 24, srgb(*rim))
    texture[4:-4, 4:-4, :3] = srgb(*face)
    angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    disc = tuple((0.5 + 0.5 * np.cos(a), 0.5 + 0.5 * np.sin(a)) for a in angle)
    outline = (disc, ((0.5, 0.0), (1.0, 0.9), (0.0, 0.9)), UNIT_SQUARE)[rng.integers(3)]
    top = foot + UP * rng.uniform(2.0, 2.4) - forward * 0.06
    post = mip_levels(plain_texture(4, 4, srgb(110, 112, 112)))
    plate = upright_panel(top, -forward, 0.65, 0.65, mip_levels(texture), outline)
    return Thing(foot, 2.8, (upright_panel(foot, -forward, 0.07, 2.4, post), plate))


def make_person(foot: np.ndarray, kind: int) -> Thing:
    """Return a pedestrian (even kinds) or cyclist (odd kinds), from behind, 0.85 m by 1.75 m."""
    return Thing(foot, 1.75, sprite=_person_sprite(kind), sprite_width=0.85, low=True, crown=0.25)


@functools.cache
def _person_sprite(kind: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng([17, kind])
    sprite = np.zeros((128, 64, 4), np.float32)
    tones = rng.uniform(25, 130, (2, 1)) + rng.uniform(-20, 20, (2, 3))
    top, legs = ((*(float(c) for c in srgb(*tone)), 1.0) for tone in tones)
    skin = (*(float(c) for c in srgb(190, 140, 115)), 1.0)
    dark = (0.01, 0.01, 0.01, 1.0)
    stride = int(rng.integers(2, 10))
    if kind % 2:
        cv2.line(sprite, (32, 84), (32, 126), dark, 4, cv2.LINE_AA)
        cv2.line(sprite, (20, 70), (44, 70), dark, 3, cv2.LINE_AA)
    for x in (-1, 1):
        cv2.line(sprite, (32 + x * 4, 66), (32 + x * stride, 122), legs, 8, cv2.LINE_AA)
        cv2.line(sprite, (32 + x * 9, 30), (32 + x * 13, 64), top, 6, cv2.LINE_AA)
    cv2.ellipse(sprite, (32, 45), (11, 25), 0, 0, 360, top, -1, cv2.LINE_AA)
    cv2.circle(sprite, (32, 11), 8, skin, -1, cv2.LINE_AA)
    cv2.ellipse(sprite, (32, 9), (8, 7), 0, 150, 390, (0.03, 0.04, 0.05, 1.0), -1, cv2.LINE_AA)
    sprite[..., :3] *= (1 + 0.2 * cut_noise(rng, (128, 64), 3.0))[..., None].clip(0.4, 1.6)
    return mip_levels(sprite)


@functools.cache
def _round_bar() -> tuple[np.ndarray, ...]:
    texture = plain_texture(8, 8, np.ones(3, np.float32))
    texture[..., :3] *= np.array([1.3, 1.25, 1.1, 0.95, 0.8, 0.65, 0.5, 0.45])[:, None]
    return mip_levels(texture)
