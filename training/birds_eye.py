"""
The bird's-eye view in which the KITTI road benchmark ranks: a metric map of the road plane.

The rules are those of its devkit (Fritsch, Kuehnl & Geiger, ITSC 2013): x from -10 to 10 m,
z from 6 to 46 m ahead, 0.05 m a pixel, so 800 rows x 400 columns with the far end at the top. A
pixel takes what the image has where the pixel's centre projects to: labels and confidences alike
are looked up, never interpolated.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from road_seg_ros.image_files import SourceError
from road_seg_ros.kitti import CalibrationFile
from road_seg_ros.metrics import NOT_SCORED

X_MIN, X_MAX = -10.0, 10.0  # m to the right of the camera
Z_MIN, Z_MAX = 6.0, 46.0  # m ahead of the camera
RESOLUTION = 0.05  # m a pixel
ROWS = round((Z_MAX - Z_MIN) / RESOLUTION)
COLUMNS = round((X_MAX - X_MIN) / RESOLUTION)


@dataclass(frozen=True)
class RoadCalibration:
    """
    Where the camera stands on the road. Float64 arrays; metres and pixels.

    projection: (3, 4), P2 of KITTI, from rectified camera to image. rectification: (3, 3),
    R0_rect. camera_to_road: (3, 4), Tr_cam_to_road; the road has x to the right, y down and z
    ahead, and is the plane y = 0.
    """

    projection: np.ndarray
    rectification: np.ndarray
    camera_to_road: np.ndarray

    @classmethod
    def read(cls, path: Path) -> RoadCalibration:
        """
        Read a calibration file of KITTI Road.

        SourceError names the file and what it lacks or has wrong.
        """
        file = CalibrationFile(path)
        calibration = cls(
            projection=np.reshape(file.numbers('P2', 12), (3, 4)),
            rectification=np.reshape(file.numbers('R0_rect', 9), (3, 3)),
            camera_to_road=np.reshape(file.numbers('Tr_cam_to_road', 12), (3, 4)),
        )
        rotation = calibration.camera_to_road[:, :3]
        if not np.allclose(rotation @ rotation.T, np.eye(3), atol=0.01):
            raise SourceError(f'{path}: the first three columns of Tr_cam_to_road are no rotation')
        return calibration

    def road_to_image(self) -> np.ndarray:
        """
        Return the homography from the road plane to the image, float64 (3, 3).

        It takes (x, z, 1) in metres to (u, v, 1) in pixels, times the depth. The chain is
        P2 * R0_rect * inverse(Tr_cam_to_road), of which y = 0 leaves out the second column.
        """
        rectify, to_road = np.eye(4), np.eye(4)
        rectify[:3, :3] = self.rectification
        to_road[:3] = self.camera_to_road
        return (self.projection @ rectify @ np.linalg.inv(to_road))[:, [0, 2, 3]]


class BirdsEyeView:
    """The bird's-eye view of images of one size and one calibration."""

    def __init__(self, calibration: RoadCalibration, height: int, width: int) -> None:
        """height, width: of the images, in pixels."""
        x = X_MIN + RESOLUTION * (np.arange(COLUMNS) + 0.5)
        z = Z_MAX - RESOLUTION * (np.arange(ROWS) + 0.5)
        x, z = np.meshgrid(x, z)  # (800, 400)
        u, v, depth = np.tensordot(
            calibration.road_to_image(), np.stack([x, z, np.ones_like(x)]), axes=1
        )
        with np.errstate(divide='ignore', invalid='ignore'):
            u, v = u / depth, v / depth
        # The devkit counts image pixels from 1 and cuts off fractions. Others round: that is 1.5
        # pixels elsewhere, but the same for label and confidence, and not the benchmark's.
        inside = (depth > 0) & (u >= 1) & (u <= width) & (v >= 1) & (v <= height)
        lookup = np.where(inside, np.stack([u, v]), 0.0).astype(np.int16) - np.int16(1)
        self._lookup = np.dstack(list(lookup))  # int16 (800, 400, 2): column and row, or -1

    def warp(self, picture: np.ndarray, outside: int) -> np.ndarray:
        """
        Return the bird's-eye view of a picture, uint8 (800, 400); `outside` beyond its edges.

        picture: uint8 (H, W), confidence or label, of the size that this view was made for.
        """
        return cv2.remap(
            picture, self._lookup, None, cv2.INTER_NEAREST, None, cv2.BORDER_CONSTANT, outside
        )

    def warp_label(self, label: np.ndarray) -> np.ndarray:
        """Return the bird's-eye view of a label; what the image does not show is not scored."""
        return self.warp(label, NOT_SCORED)
