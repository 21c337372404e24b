"""PNG files that claim what they like."""

from __future__ import annotations

import struct
import zlib


def png(width: int, height: int, pixels: bytes = b'') -> bytes:
    """Return a PNG of 1 bit per pixel that claims a size and has these bytes as its rows."""
    header = struct.pack('>IIBBBBB', width, height, 1, 0, 0, 0, 0)
    chunks = ((b'IHDR', header), (b'IDAT', zlib.compress(pixels)), (b'IEND', b''))
    return b'\x89PNG\r\n\x1a\n' + b''.join(_png_chunk(*chunk) for chunk in chunks)


def _png_chunk(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(name + content)
    return struct.pack('>I', len(content)) + name + content + struct.pack('>I', checksum)
