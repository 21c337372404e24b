"""How close the edge of a road mask is to the edge of the labelled road."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from training.kitti_road import NOT_ROAD, ROAD

TOLERANCES = (1, 3, 5)  # pixels
# Closer than this to a pixel that is not scored, an edge is the end of the label, not of the road.
MARGIN = np.ones((5, 5), np.uint8)


def _zeros() -> np.ndarray:
    return np.zeros(len(TOLERANCES), np.int64)


@dataclass
class BoundaryCounts:
    """
    Edge pixels of masks and labels, and how many of them have the other's edge close by.

    Csurka, Larlus & Perronnin, "What is a good evaluation measure for semantic segmentation?",
    BMVC 2013, but summed over images as KITTI does. An edge pixel is a road pixel with a
    neighbour that is not road; the image's border is no edge.
    """

    mask_hits: np.ndarray = field(default_factory=_zeros)
    label_hits: np.ndarray = field(default_factory=_zeros)
    mask_edge: int = 0
    label_edge: int = 0

    def add(self, mask: np.ndarray, label: np.ndarray) -> None:
        """
        Count one image.

        mask: uint8 (H, W), road where it is not 0; label: uint8 (H, W) as `Pair.read_label` gives
        it. ValueError if the shapes differ.
        """
        if mask.shape != label.shape:
            raise ValueError(f'mask is {mask.shape}, label is {label.shape}')
        scored = ((label == ROAD) | (label == NOT_ROAD)).astype(np.uint8)
        inside = cv2.erode(scored, MARGIN) > 0
        mask_edge, label_edge = (_edge(road) & inside for road in (mask > 0, label == ROAD))
        to_label, to_mask = _distance(label_edge)[mask_edge], _distance(mask_edge)[label_edge]
        self.mask_hits += [np.count_nonzero(to_label <= pixels) for pixels in TOLERANCES]
        self.label_hits += [np.count_nonzero(to_mask <= pixels) for pixels in TOLERANCES]
        self.mask_edge += len(to_label)
        self.label_edge += len(to_mask)

    def f1(self) -> dict[int, float]:
        """Return the F1 of the edge by tolerance in pixels; percentages, 0..100."""
        precision = self.mask_hits / max(self.mask_edge, 1)
        recall = self.label_hits / max(self.label_edge, 1)
        f1 = 200 * precision * recall / np.maximum(precision + recall, 1e-10)
        return dict(zip(TOLERANCES, f1.tolist(), strict=True))


def _edge(road: np.ndarray) -> np.ndarray:
    return road & (cv2.erode(road.astype(np.uint8), np.ones((3, 3), np.uint8)) == 0)


def _distance(edge: np.ndarray) -> np.ndarray:
    """Return each pixel's distance to the edge, float32 (H, W); infinite where there is none."""
    if not edge.any():
        return np.full(edge.shape, np.inf, np.float32)
    return cv2.distanceTransform((~edge).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
