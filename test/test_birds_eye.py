"""The bird's-eye view shows the road in metres, by the rules of KITTI's devkit."""

from __future__ import annotations

import functools
import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from road_seg_ros.image_files import SourceError
from road_seg_ros.metrics import NOT_ROAD, NOT_SCORED, ROAD
from training.birds_eye import BirdsEyeView, RoadCalibration

Matrix = list[list[float]]

# A small camera 1.5 m above the road, slightly turned to the right, looking slightly down.
YAW, PITCH = 0.02, 0.03
TURN = [
    [math.cos(YAW), 0.0, math.sin(YAW)],
    [0.0, 1.0, 0.0],
    [-math.sin(YAW), 0.0, math.cos(YAW)],
]
NOD = [
    [1.0, 0.0, 0.0],
    [0.0, math.cos(PITCH), math.sin(PITCH)],
    [0.0, -math.sin(PITCH), math.cos(PITCH)],
]
SMALL = {
    'P2': [[180.0, 0.0, 155.0, 12.0], [0.0, 180.0, 43.0, 0.1], [0.0, 0.0, 1.0, 0.003]],
    'R0_rect': TURN,
    'Tr_cam_to_road': [[*row, shift] for row, shift in zip(NOD, (0.05, -1.5, 0.3), strict=True)],
}
SMALL_SIZE = (94, 310)


@pytest.fixture(params=['small', 'kitti'])
def camera(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, tuple[int, int]]:
    """Return a calibration file and the (height, width) of its images."""
    if request.param == 'kitti':
        folder = request.getfixturevalue('kitti_road')
        return folder / 'training' / 'calib' / 'um_000000.txt', (375, 1242)
    return _write(tmp_path / 'small.txt', SMALL), SMALL_SIZE


def _write(path: Path, matrices: dict[str, Matrix]) -> Path:
    lines = (
        f'{name}: {" ".join(repr(value) for row in matrix for value in row)}\n'
        for name, matrix in matrices.items()
    )
    path.write_text('calib_time: 09-Jan-2012\n\n' + ''.join(lines))
    return path


@functools.cache
def _numbers(path: Path, name: str, columns: int) -> Matrix:
    line = next(line for line in path.read_text().splitlines() if line.startswith(f'{name}:'))
    values = [float(text) for text in line.split()[1:]]
    return [values[i : i + columns] for i in range(0, len(values), columns)]


def _project(path: Path, x: float, z: float) -> tuple[float, float]:
    """Walk a point of the road through camera and image, one multiplication at a time."""
    to_road = _numbers(path, 'Tr_cam_to_road', 4)
    moved = [coordinate - to_road[i][3] for i, coordinate in enumerate((x, 0.0, z))]
    # The inverse of a rotation is its transpose.
    camera = [sum(to_road[i][j] * moved[i] for i in range(3)) for j in range(3)]
    turn = _numbers(path, 'R0_rect', 3)
    rectified = [sum(turn[i][j] * camera[j] for j in range(3)) for i in range(3)]
    lens = _numbers(path, 'P2', 4)
    u, v, depth = (sum(lens[i][j] * rectified[j] for j in range(3)) + lens[i][3] for i in range(3))
    return u / depth, v / depth


def test_each_pixel_is_looked_up_where_slow_math_says(
    camera: tuple[Path, tuple[int, int]],
) -> None:
    path, (height, width) = camera
    view = BirdsEyeView(RoadCalibration.read(path), height, width)
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    pictures = (columns % 251, columns // 251, rows % 251, rows // 251)
    warped = [view.warp(picture.astype(np.uint8), outside=255) for picture in pictures]
    rng = np.random.default_rng(0)
    checked = {True: 0, False: 0}
    for row, column in zip(rng.integers(0, 800, 3000), rng.integers(0, 400, 3000), strict=True):
        x, z = -10 + 0.05 * (column + 0.5), 46 - 0.05 * (row + 0.5)
        u, v = _project(path, x, z)
        if min(abs(u - round(u)), abs(v - round(v))) < 1e-4:
            continue  # on the border of two pixels either is right
        inside = 1 <= u <= width and 1 <= v <= height
        seen = [int(picture[row, column]) for picture in warped]
        if inside:
            found = (seen[0] + 251 * seen[1], seen[2] + 251 * seen[3])
            assert found == (int(u) - 1, int(v) - 1)  # counted from 1, fractions cut off
        else:
            assert seen == [255] * 4
        checked[inside] += 1
    assert min(checked.values()) > 100


def _draw(path: Path, size: tuple[int, int], left: float, right: float) -> np.ndarray:
    """Return the label of a straight road from `left` to `right` m, from 9 to 25 m ahead."""
    corners = [(left, 9.0), (right, 9.0), (right, 25.0), (left, 25.0)]
    # The middle of the devkit's pixel number 1 is at 1.5, that of OpenCV's number 0 at 0.
    outline = [[value - 1.5 for value in _project(path, x, z)] for x, z in corners]
    label = np.full(size, NOT_ROAD, np.uint8)
    cv2.fillPoly(label, [np.round(np.array(outline) * 256).astype(np.int32)], ROAD, shift=8)
    return label


@pytest.mark.parametrize(('left', 'right'), [(-3.0, 2.0), (-5.0, -1.0), (0.5, 4.0)])
def test_a_road_has_its_size_and_place_in_metres(
    camera: tuple[Path, tuple[int, int]], left: float, right: float
) -> None:
    path, size = camera
    label = _draw(path, size, left, right)
    seen = BirdsEyeView(RoadCalibration.read(path), *size).warp_label(label)
    assert seen.shape == (800, 400)
    row = round((46 - 12) / 0.05)  # 12 m ahead
    columns = np.flatnonzero(seen[row] == ROAD)
    pixel_12m = 12 / (180 if size == SMALL_SIZE else 721)  # how wide an image pixel is there, m
    assert -10 + 0.05 * columns[0] == pytest.approx(left, abs=0.05 + 1.5 * pixel_12m)
    assert -10 + 0.05 * (columns[-1] + 1) == pytest.approx(right, abs=0.05 + 1.5 * pixel_12m)
    middle = round(((left + right) / 2 + 10) / 0.05)
    rows = np.flatnonzero(seen[:, middle] == ROAD)
    far, near = 46 - 0.05 * rows[0], 46 - 0.05 * (rows[-1] + 1)
    # How long an image pixel is on the road grows with the square of the distance.
    pixel = 1 / (1.5 * (180 if size == SMALL_SIZE else 721))
    assert near == pytest.approx(9, abs=0.05 + 1.5 * 9**2 * pixel)
    assert far == pytest.approx(25, abs=0.05 + 1.5 * 25**2 * pixel)


def test_near_is_at_the_bottom_and_left_is_left(camera: tuple[Path, tuple[int, int]]) -> None:
    path, size = camera
    view = BirdsEyeView(RoadCalibration.read(path), *size)
    rows, columns = np.nonzero(view.warp_label(_draw(path, size, -5.0, -1.0)) == ROAD)
    assert rows.mean() > 400
    assert columns.max() < 200


def test_what_the_image_does_not_show_is_not_scored(camera: tuple[Path, tuple[int, int]]) -> None:
    path, (height, width) = camera
    view = BirdsEyeView(RoadCalibration.read(path), height, width)
    seen = view.warp_label(np.full((height, width), ROAD, np.uint8))
    assert set(np.unique(seen)) == {ROAD, NOT_SCORED}
    assert set(seen[-1, [0, -1]]) == {NOT_SCORED}  # 6 m ahead, 10 m to the side
    assert set(seen[:600, 200]) == {ROAD}


def test_a_camera_that_looks_away_sees_nothing(tmp_path: Path) -> None:
    backwards = {**SMALL, 'R0_rect': [[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, -1.0]]}
    view = BirdsEyeView(RoadCalibration.read(_write(tmp_path / 'c.txt', backwards)), *SMALL_SIZE)
    seen = view.warp_label(np.full(SMALL_SIZE, ROAD, np.uint8))
    assert set(np.unique(seen)) == {NOT_SCORED}


@pytest.mark.parametrize('name', ['P2', 'R0_rect', 'Tr_cam_to_road'])
def test_a_missing_matrix_is_named(tmp_path: Path, name: str) -> None:
    matrices = {key: value for key, value in SMALL.items() if key != name}
    path = _write(tmp_path / 'um_000000.txt', matrices)
    with pytest.raises(SourceError, match=f'um_000000.txt has no line {name}:'):
        RoadCalibration.read(path)


@pytest.mark.parametrize(
    ('line', 'words'),
    [
        ('P2: 1 2 3', "P2: must be 12 numbers, is '1 2 3'"),
        ('P2:', "P2: must be 12 numbers, is ''"),
        ('R0_rect: 1 0 0 0 1 0 0 0 nan', 'R0_rect: must be 9 numbers, is .* nan'),
        ('R0_rect: 1 0 0 0 1 0 0 0 one', 'R0_rect: could not convert .*one'),
        ('Tr_cam_to_road: 0 0 0 0 0 0 0 0 0 0 0 0', 'Tr_cam_to_road are no rotation'),
    ],
)
def test_a_bad_matrix_is_named(tmp_path: Path, line: str, words: str) -> None:
    path = _write(tmp_path / 'um_000000.txt', SMALL)
    path.write_text(f'{path.read_text()}{line}\n')
    with pytest.raises(SourceError, match=f'um_000000.txt.*{words}'):
        RoadCalibration.read(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match='um_000000.txt cannot be read: No such file'):
        RoadCalibration.read(tmp_path / 'um_000000.txt')
