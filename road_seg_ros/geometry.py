"""Which size an image has when the network sees it."""

from __future__ import annotations

import math
import re

# Of the network's coarsest layer, after five 2x2 pools: a side that is a multiple of it halves
# evenly all the way down and back up.
STRIDE = 32


def network_size(height: int, width: int, pixels: int) -> tuple[int, int]:
    """
    Return the (height, width) to which an image is resized for the network.

    Both are multiples of 32, their product is close to `pixels`, and the image's own aspect ratio
    is kept as well as that allows. The shorter side is rounded first and the longer one follows
    from the number of pixels: 375x1242 becomes 160x576 and 360x480 becomes 256x352 for 92,160.

    ValueError if a side or `pixels` is below 1.
    """
    if min(height, width, pixels) < 1:
        raise ValueError(f'an image has at least one pixel, got {height}x{width} for {pixels}')
    aspect = max(height, width) / min(height, width)
    short = _to_stride(math.sqrt(pixels / aspect))
    long = _to_stride(pixels / short)
    return (short, long) if height <= width else (long, short)


def parse_size(text: str) -> tuple[int, int]:
    """Turn '160x576' into (160, 576). ValueError for anything else."""
    match = re.fullmatch(r'([1-9]\d{0,4})x([1-9]\d{0,4})', text, re.ASCII)
    if match is None:
        raise ValueError(f'must be HEIGHTxWIDTH in pixels, like 160x576, got {text!r}')
    return int(match[1]), int(match[2])


def _to_stride(side: float) -> int:
    return max(STRIDE, STRIDE * math.floor(side / STRIDE + 0.5))
