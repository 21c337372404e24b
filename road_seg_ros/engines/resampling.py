"""`pixels.resize` as tensor operations, for devices on which OpenCV does not run."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

ALIGNMENT = 8  # numbers of 16 bits, which tensor cores load together

Resize = Callable[[torch.Tensor], torch.Tensor]


def resizer(
    size: tuple[int, int],
    resized: tuple[int, int],
    device: torch.device,
    area_dtype: torch.dtype = torch.float32,
) -> Resize:
    """
    Return what resizes uint8 (H, W, 3) to whole numbers of 0..255, float (3, h, w).

    size, resized: (height, width) before and after. area_dtype: of the sums when it shrinks; with
    float16 one pixel in twenty is a grey level off, with float32 hardly any, nor when it grows.
    """
    if resized == size:
        return lambda image: image.permute(2, 0, 1)
    if resized[0] < size[0] and resized[1] < size[1]:
        return _area_resizer(size, resized, device, area_dtype)
    return _linear_resizer(size, resized, device)


def _area_resizer(
    size: tuple[int, int], resized: tuple[int, int], device: torch.device, dtype: torch.dtype
) -> Resize:
    """Average what each output pixel covers, as INTER_AREA does: two matrix products."""
    vertical, horizontal = (
        torch.from_numpy(_coverage(*lengths)).to(device, dtype)
        for lengths in zip(size, resized, strict=True)
    )  # (h, H) and (w, W), with H and W filled up
    height, width = vertical.shape[1], horizontal.shape[1]
    canvas = torch.zeros((height, width, 3), dtype=dtype, device=device)

    def resize(image: torch.Tensor) -> torch.Tensor:
        canvas[: size[0], : size[1]] = image
        columns = canvas.view(height, -1).t() @ vertical.t()  # (W * 3, h)
        levels = horizontal @ columns.view(width, -1)  # (w, 3 * h)
        # Halves are common at half the size, and OpenCV rounds those up.
        return levels.add_(0.5).floor_().view(resized[1], 3, -1).permute(1, 2, 0)

    return resize


def _coverage(length: int, resized: int) -> np.ndarray:
    """
    Return float64 (resized, length): the share of each input pixel in each output pixel.

    Filled up with zeros to a multiple of ALIGNMENT.
    """
    scale = length / resized
    start = np.arange(resized)[:, None] * scale
    pixel = np.arange(length)
    covered = np.minimum(start + scale, pixel + 1) - np.maximum(start, pixel)
    return np.pad(np.maximum(covered, 0) / scale, ((0, 0), (0, -length % ALIGNMENT)))


def _linear_resizer(
    size: tuple[int, int], resized: tuple[int, int], device: torch.device
) -> Resize:
    """Interpolate as INTER_LINEAR does, with the digits that its integer arithmetic drops."""
    rows, columns = (
        [tap.to(device) for tap in _taps(*lengths)] for lengths in zip(size, resized, strict=True)
    )

    def resize(image: torch.Tensor) -> torch.Tensor:
        before, after, share_before, share_after = columns
        image = image.float()
        wide = image.index_select(1, before) * share_before  # (H, w, 3)
        wide = wide.addcmul_(image.index_select(1, after), share_after).div_(2**4).floor_()
        before, after, share_before, share_after = (tap[..., None] for tap in rows)
        above = (wide.index_select(0, before[:, 0]) * share_before).div_(2**16).floor_()
        below = (wide.index_select(0, after[:, 0]) * share_after).div_(2**16).floor_()
        return above.add_(below).add_(2).div_(4).floor_().permute(2, 0, 1)

    return resize


def _taps(length: int, resized: int) -> tuple[torch.Tensor, ...]:
    """
    Return between which two pixels each output lies, and their shares.

    int64 (resized,) twice; whole numbers of 2048ths, float32 (resized, 1) twice.
    """
    position = np.clip((np.arange(resized) + 0.5) * (length / resized) - 0.5, 0, length - 1)
    before = np.floor(position).astype(np.int64)
    after = np.minimum(before + 1, length - 1)
    share = (position - before)[:, None].astype(np.float32)
    shares = np.round((1 - share) * 2048), np.round(share * 2048)
    return tuple(map(torch.from_numpy, (before, after, *shares)))
