"""Work that can wait."""

import contextlib
import os
import sys
import threading

LEAST = 19  # of nice


def give_way() -> None:
    """Have the calling thread run when nothing else wants its core; on Linux alone."""
    if sys.platform == 'linux':  # elsewhere it would be the whole process
        with contextlib.suppress(OSError):  # a sandbox may refuse
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LEAST)
