"""How a command of this package ends."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import NoReturn


def run(main: Callable[[], int]) -> NoReturn:
    """Exit with a command's status; where Ctrl-C interrupts it, with 130 and one line."""
    try:
        status = main()
    except KeyboardInterrupt:
        print('\ninterrupted', file=sys.stderr)
        status = 128 + signal.SIGINT
    sys.exit(status)
