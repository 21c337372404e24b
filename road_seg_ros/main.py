"""
road_seg_node, the program: signals, start and end of the process.

Whatever takes time to import is imported inside `main`, where a signal ends it cleanly.
"""

from __future__ import annotations

import signal
import sys
from typing import NoReturn

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def main(args: list[str] | None = None) -> int:
    """
    Run the node until it is told to stop. Returns the exit status.

    0 after SIGINT or SIGTERM, 1 if the node could not start; the reason has been logged.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, _exit_once)
    return _run(args)


def _exit_once(*_: object) -> NoReturn:
    # Ctrl-C under ros2 launch comes twice, from the terminal and from launch: once is enough.
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    # Not KeyboardInterrupt: when one passes through an extension module that is being imported,
    # Python remembers it and ends with SIGINT even though it was caught.
    sys.exit(0)


def _run(args: list[str] | None) -> int:
    import rclpy
    from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

    from road_seg_ros.node import NODE_NAME, RoadSegNode
    from road_seg_ros.parameters import ParameterError

    try:
        rclpy.init(args=args)
    except Exception as error:  # rclpy's own types differ between distributions
        print(f'{NODE_NAME}: bad ROS arguments: {error}', file=sys.stderr)
        return 1
    node = None
    try:
        node = RoadSegNode()
        if node.autostart and not node.start():
            return 1 if rclpy.ok() else 0
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        executor.spin()
    except ExternalShutdownException:
        pass
    except ParameterError as error:
        rclpy.logging.get_logger(NODE_NAME).fatal(str(error))
        return 1
    except Exception:
        if rclpy.ok():
            raise
        # A signal took the context away from under a callback: a normal end.
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
