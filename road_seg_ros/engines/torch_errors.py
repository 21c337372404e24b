"""What the errors of PyTorch, and of what prepares its images, mean."""

from __future__ import annotations

# PyTorch has a class of its own for its CUDA allocator alone; the CPU's, the driver, cuBLAS,
# cuDNN and the memory that processes share only say so. So do OpenCV and OpenVINO, and NumPy in
# another process.
OUT_OF_MEMORY = (
    'out of memory',
    "can't allocate memory",
    'ALLOC_FAILED',
    'unable to allocate shared memory',
    'Insufficient memory',
    'Unable to allocate',
    'Failed to allocate',
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that a device, or the machine, has too little memory."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in OUT_OF_MEMORY)


def in_one_line(error: BaseException) -> str:
    """Return what is wrong, of a message that may be a traceback."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    of_worker = lines[0].startswith('Caught')  # in another process: its traceback follows
    return lines[-1 if of_worker else 0]
