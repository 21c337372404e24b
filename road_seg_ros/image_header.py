"""The size of a JPEG or PNG from its first bytes: known before anything is decoded."""

from __future__ import annotations

import struct

JPEG_START, JPEG_END = b'\xff\xd8\xff', b'\xff\xd9'
PNG_START, PNG_END = b'\x89PNG\r\n\x1a\n', b'IEND'
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # markers that carry the size
JPEG_BARE = frozenset((0x00, 0x01, *range(0xD0, 0xD8)))  # markers that nothing belongs to


class TruncatedError(ValueError):
    """A JPEG or PNG without its end."""


def read_size(data: bytes) -> tuple[int, int]:
    """Return width and height of a JPEG or PNG. ValueError says why it is not one."""
    if data.startswith(PNG_START):
        return _png_size(data)
    if data.startswith(JPEG_START):
        return _jpeg_size(data)
    raise ValueError('it is neither JPEG nor PNG')


def is_truncated(data: bytes) -> bool:
    """Whether it is a JPEG or PNG without its end, of which OpenCV 4 makes up the rest."""
    try:
        read_size(data)
    except TruncatedError:
        return True
    except ValueError:
        return False
    return False


def _png_size(data: bytes) -> tuple[int, int]:
    if len(data) < 24 or data[12:16] != b'IHDR':
        raise ValueError('the PNG has no header')
    if data.rfind(PNG_END) < 0:  # OpenCV would say so on stderr, every time
        raise TruncatedError('the PNG is truncated')
    return struct.unpack_from('>II', data, 16)


def _jpeg_size(data: bytes) -> tuple[int, int]:
    # Searches for markers as libjpeg does, so that both find the same size.
    at = 2
    while (at := data.find(b'\xff', at)) >= 0 and at + 9 <= len(data):
        marker, length, height, width = struct.unpack_from('>xBHxHH', data, at)
        if marker in JPEG_FRAMES:
            # OpenCV 4 would fill the rest with gray, and nobody would know.
            if data.rfind(JPEG_END, at) < 0:
                raise TruncatedError('the JPEG is truncated')
            return width, height
        if marker == 0xFF:  # padding
            at += 1
        else:
            at += 2 if marker in JPEG_BARE else 2 + length
    raise ValueError('the JPEG has no header')
