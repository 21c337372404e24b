"""
What goes to a GPU for one image, and what comes back: one block of bytes each way.

One copy of 1.4 MB costs little more than one of 20 bytes, so everything travels together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from road_seg_ros.engines import Wanted
from road_seg_ros.pixels import threshold_level

HEADER = 64  # bytes in front of the pixels: keeps both parts aligned


@dataclass(frozen=True)
class Inputs:
    """
    Views of the bytes that go up.

    controls: float32 (5,): the smallest 8-bit confidence that is road; the share of the image
    that the tint leaves, 1 - alpha; and alpha x color, blue green red.
    frame: uint8 (H, W, 3) BGR.
    """

    controls: torch.Tensor
    frame: torch.Tensor

    def write(self, image: np.ndarray, wanted: Wanted) -> None:
        """Copy an image and what is wanted of it into a block on the host."""
        controls = self.controls.numpy()
        controls[0] = threshold_level(wanted.threshold)
        if wanted.tint is not None:
            controls[1] = 1.0 - wanted.tint.alpha
            # Rounded: OpenCV adds whole numbers.
            controls[2:] = np.round(np.multiply(wanted.tint.color[::-1], wanted.tint.alpha))
        np.copyto(self.frame.numpy(), image)


@dataclass(frozen=True)
class Outputs:
    """
    Views of the bytes that come down.

    peak: float32 (1,), the largest absolute log-odds; not finite where the network's answer is
    not. mask, confidence: uint8 (H, W); overlay: uint8 (H, W, 3) BGR; None where not wanted.
    """

    peak: torch.Tensor
    mask: torch.Tensor
    confidence: torch.Tensor | None
    overlay: torch.Tensor | None


@dataclass(frozen=True)
class Layout:
    """The size of an image and what is wanted of it: all that a captured graph depends on."""

    height: int
    width: int
    confidence: bool
    overlay: bool

    @classmethod
    def of(cls, image: np.ndarray, wanted: Wanted) -> Layout:
        """Return the layout of an image, (H, W, 3), and what is wanted of it."""
        height, width = image.shape[:2]
        return cls(height, width, wanted.confidence, wanted.tint is not None)

    def __str__(self) -> str:
        return f'images of {self.width}x{self.height} pixels'

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    @property
    def input_bytes(self) -> int:
        """Bytes that go up."""
        return HEADER + 3 * self.height * self.width

    @property
    def output_bytes(self) -> int:
        """Bytes that come down."""
        planes = 1 + self.confidence + 3 * self.overlay
        return HEADER + planes * self.height * self.width

    def inputs(self, block: torch.Tensor) -> Inputs:
        """Return views of a uint8 (input_bytes,) block."""
        controls = block[: 5 * 4].view(torch.float32)
        return Inputs(controls, block[HEADER:].view(self.height, self.width, 3))

    def outputs(self, block: torch.Tensor) -> Outputs:
        """Return views of a uint8 (output_bytes,) block."""
        planes = [1] + [1] * self.confidence + [3] * self.overlay
        parts = iter(block[HEADER:].split([plane * self.height * self.width for plane in planes]))
        return Outputs(
            block[:4].view(torch.float32),
            next(parts).view(self.size),
            next(parts).view(self.size) if self.confidence else None,
            next(parts).view(*self.size, 3) if self.overlay else None,
        )
