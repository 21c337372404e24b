"""How a command of this package ends."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from road_seg_ros.engines.torch_errors import in_one_line, is_out_of_memory


def run(main: Callable[[], int]) -> NoReturn:
    """
    Exit with a command's status.

    In one line, without a traceback, ends what Ctrl-C interrupts (with 130), what runs out of
    memory and what asks a network whose answers are not finite (both with 1).
    """
    try:
        status = main()
    except KeyboardInterrupt:
        print('\ninterrupted', file=sys.stderr)
        status = 128 + signal.SIGINT
    except Exception as error:
        if is_out_of_memory(error):
            print(f'error: out of memory: {in_one_line(error)}', file=sys.stderr)
        elif type(error) is ArithmeticError:  # the engines'
            print(f'error: {error}', file=sys.stderr)
        else:
            raise
        status = 1
    sys.exit(status)
