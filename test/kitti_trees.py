"""Small folders laid out as KITTI's downloads are, with images of known colours."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

HEIGHT, WIDTH = 12, 20
DATES = ('2011-09-26 13:02:25.964389445', '2011-09-26 13:02:26.067971701', '2011-09-26 13:02:26.2')
STAMPS = [1317042145_964389445, 1317042146_067971701, 1317042146_200000000]
# Camera 2 of 2011_09_26, in the image's size here.
RAW_CALIBRATION = f"""calib_time: 09-Jan-2012 13:57:47
S_02: {WIDTH}.0 {HEIGHT}.0
K_02: 9.597910e+02 0.000000e+00 6.960217e+02 0.0 9.569251e+02 2.241806e+02 0.0 0.0 1.0
D_02: -3.691481e-01 1.968681e-01 1.353473e-03 5.677587e-04 -6.770705e-02
R_rect_02: 9.998817e-01 1.511453e-02 -2.841595e-03 -1.5e-02 9.998e-01 -9.3e-04 2.8e-03 9.7e-04 0.99
S_rect_02: {WIDTH}.0 {HEIGHT}.0
P_rect_02: 7.215377e+02 0 6.095593e+02 4.485728e+01 0 720 1.728540e+02 2.163791e-01 0 0 1 2.7e-03
"""
P_RECT_02 = [721.5377, 0, 609.5593, 44.85728, 0, 720.0, 172.854, 0.2163791, 0, 0, 1, 0.0027]
K_RECT_02 = [721.5377, 0, 609.5593, 0, 720.0, 172.854, 0, 0, 1]
K_02 = [959.7910, 0, 696.0217, 0, 956.9251, 224.1806, 0, 0, 1]
D_02 = [-0.3691481, 0.1968681, 0.001353473, 0.0005677587, -0.06770705]
R_RECT_02 = [0.9998817, 0.01511453, -0.002841595, -0.015, 0.9998, -0.00093, 0.0028, 0.00097, 0.99]
IDENTITY = [1, 0, 0, 0, 1, 0, 0, 0, 1]


def picture(index: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Return an image that differs from the others, and from its mirror images."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = 10 * index
    image[..., 1] = np.arange(height)[:, None] * 9
    image[..., 2] = np.arange(width) * 9
    return image


def write_images(folder: Path, names: list[str]) -> list[np.ndarray]:
    """Write an image of each name, and return them."""
    folder.mkdir(parents=True)
    images = [picture(index) for index in range(len(names))]
    for name, image in zip(names, images, strict=True):
        cv2.imwrite(str(folder / name), image)
    return images


def write_raw(root: Path, drive: str = '2011_09_26_drive_0001_sync', camera: int = 2) -> Path:
    """Write a raw drive of three images and the calibration of its day; return the drive."""
    path = root / '2011_09_26' / drive
    folder = path / f'image_{camera:02d}'
    write_images(folder / 'data', [f'{index:010d}.png' for index in range(3)])
    (folder / 'timestamps.txt').write_text('\n'.join(DATES) + '\n')
    (path.parent / 'calib_cam_to_cam.txt').write_text(RAW_CALIBRATION)
    return path


def write_odometry(root: Path, name: str = '00', camera: int = 2) -> Path:
    """Write a sequence of three images; return it. fx is 700 + camera."""
    path = root / 'sequences' / name
    write_images(path / f'image_{camera}', [f'{index:06d}.png' for index in range(3)])
    (path / 'times.txt').write_text('0.000000e+00\n1.037875e-01\n2.074946e-01\n')
    lines = [f'P{number}: {700 + number} 0 1 2 0 700 3 4 0 0 1 5' for number in range(4)]
    (path / 'calib.txt').write_text('\n'.join(lines) + '\n')
    return path


def write_road(root: Path) -> Path:
    """Write two labelled images and one of the test set, with calibration; return the root."""
    for split, names in (('training', ['um_000000', 'uu_000000']), ('testing', ['um_000000'])):
        folder = root / split
        write_images(folder / 'image_2', [f'{name}.png' for name in names])
        (folder / 'calib').mkdir()
        for index, name in enumerate(names):
            line = f'P2: {700 + index} 0 1 2 0 700 3 4 0 0 1 5\n'
            (folder / 'calib' / f'{name}.txt').write_text(line)
    (root / 'training' / 'gt_image_2').mkdir()
    for category in ('um', 'uu'):
        write_label(root / 'training' / 'gt_image_2' / f'{category}_road_000000.png')
        write_label(root / 'training' / 'gt_image_2' / f'{category}_lane_000000.png')
    return root


def write_label(path: Path, height: int = HEIGHT, width: int = WIDTH) -> None:
    """Write a label: black above, red on the left, magenta on the right."""
    label = np.zeros((height, width, 3), np.uint8)
    label[height // 3 :, :, 2] = 255
    label[height // 3 :, width // 2 :, 0] = 255
    cv2.imwrite(str(path), label)


def ground_truth(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Return what the mask of such a label must be."""
    mask = np.zeros((height, width), np.uint8)
    mask[:, width // 2 :] = 255
    mask[: height // 3] = 127
    return mask
