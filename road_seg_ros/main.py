"""
road_seg_node, the program: signals, start and end of the process.

Whatever takes time to import is imported inside `main`, where a signal ends it cleanly.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import signal
import sys
import threading
import time
from typing import NoReturn

from road_seg_ros import memory, openmp
from road_seg_ros.stop import STOP_SIGNALS
from road_seg_ros.transport import use_profile

END_SIGNALS = (*STOP_SIGNALS, signal.SIGHUP)  # the last when the terminal is closed
GRACE_S = 1.5  # from a signal to the end, native code or not; the promise is two seconds


def main(args: list[str] | None = None) -> NoReturn:
    """
    Run the node until it is told to stop, and end the process.

    Its status is 0 after SIGINT, SIGTERM or SIGHUP, 1 if the node could not start, for a reason
    that has been logged, and 2 if an argument is none of ROS's.
    """
    _fill_closed_streams()
    memory.use_one_heap()  # before any thread
    openmp.wait_asleep()
    use_profile()  # for who starts the node without it, as ros2 run does
    _end_on_signals()
    try:
        status = _run(args)
    except SystemExit as end:
        status = end.code
    except Exception:
        if not _told_to_stop():
            raise
    if _told_to_stop():  # whatever native code made of the exit on its way through
        status = 0
    # What the exit left in the midst of its work holds the DDS participant, which would leave its
    # shared memory behind: 64 MB with config/fastdds.xml.
    gc.collect()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # closed by whoever started it
            stream.flush()
    # Everything is closed; Python would take another second or two to tear the engines down.
    os._exit(status)


def _fill_closed_streams() -> None:
    """Open what stdin, stdout and stderr lack: else other files get their numbers, and the log."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)


def _end_on_signals() -> None:
    for number in END_SIGNALS:
        # nohup means what it says.
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _exit_once)
    # Python runs that handler between two of its own instructions. Native code that loads a
    # model may keep it waiting for seconds; a thread that the signal wakes does not wait.
    told, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.set_wakeup_fd(tell, warn_on_full_buffer=False)

    def end_after_grace() -> NoReturn:
        os.read(told, 1)
        time.sleep(GRACE_S)
        os._exit(0)

    threading.Thread(target=end_after_grace, name='end_after_grace', daemon=True).start()
    # Python drops the exit, with a traceback, if a __del__ is running at that moment. What runs
    # then ends otherwise: _run asks whether it was told to stop, rclpy ends its spin by itself.
    # And where two signals come at once, it tells the second as an error.
    sys.unraisablehook = _report_unless_told_to_stop


def _told_to_stop() -> bool:
    return signal.getsignal(STOP_SIGNALS[0]) == signal.SIG_IGN  # _exit_once did that


def _exit_once(*_: object) -> NoReturn:
    # Ctrl-C under ros2 launch comes twice, from the terminal and from launch: once is enough.
    for number in END_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    # Not KeyboardInterrupt: when one passes through an extension module that is being imported,
    # Python remembers it and ends with SIGINT even though it was caught.
    sys.exit(0)


def _report_unless_told_to_stop(dropped: sys.UnraisableHookArgs) -> None:
    if not _told_to_stop():
        sys.__unraisablehook__(dropped)


def _run(args: list[str] | None) -> int:
    began = time.monotonic()
    import rclpy
    from rclpy.exceptions import ParameterException
    from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
    from rclpy.utilities import remove_ros_args

    from road_seg_ros import engines, parameters
    from road_seg_ros.graph_names import NODE_NAME
    from road_seg_ros.node import RoadSegNode

    try:
        rclpy.init(args=args)
    except Exception as error:  # rclpy's own types differ between distributions
        no_log = 'logging' in str(error)  # where ROS_LOG_DIR or ~/.ros cannot be written
        what = 'ROS does not start' if no_log else 'bad ROS arguments'
        print(f'{NODE_NAME}: {what}: {error}', file=sys.stderr)
        return 1
    node = None
    try:
        if _told_to_stop():  # before rclpy could hear of it
            return 0
        arguments = sys.argv[1:] if args is None else args
        _refuse_other_arguments(remove_ros_args(arguments), parameters.overview())
        # Seconds that a lifecycle manager would otherwise wait for at the first configure.
        engines.preload()
        node = RoadSegNode()
        node.get_logger().info(f'libraries ready; seconds: {time.monotonic() - began:.2f}')
        if node.autostart and not node.start():
            return 1 if rclpy.ok() else 0
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        executor.spin()
    except ExternalShutdownException:
        pass
    except (parameters.ParameterError, ParameterException) as error:
        rclpy.logging.get_logger(NODE_NAME).fatal(str(error))
        return 1
    except Exception:
        if rclpy.ok():
            raise
        # A signal took the context away from under a callback: a normal end.
    finally:
        if node is not None:
            node.destroy_node()
        context = rclpy.get_default_context()
        rclpy.try_shutdown()
        # Where a signal has shut the context down already, rclpy leaves the last lines of the log
        # to Python's own end, which does not come. There is no public name for this, and no thread
        # is left against which it would have to hold the context's lock.
        with contextlib.suppress(AttributeError):
            context._logging_fini()
    return 0


def _refuse_other_arguments(arguments: list[str], parameters: str) -> None:
    """Exit with 2, or with 0 after --help: ROS would ignore `threshold:=0.5` without its -p."""
    argparse.ArgumentParser(
        'road_seg_node',
        '%(prog)s [--help] [--ros-args [-p PARAMETER:=VALUE] [-r NAME:=NEW_NAME] ...]',
        'Publishes a drivable-road mask for every camera image.',
        f'parameters:\n{parameters}',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args(arguments)


if __name__ == '__main__':
    main()
