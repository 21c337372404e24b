"""
Play a bag to road_seg_node, in the bag's own time, and on request show it in rviz2.

    ros2 launch road_seg_ros replay.launch.py bag:=kitti_bag rviz:=true
    ros2 launch road_seg_ros replay.launch.py bag:=kitti_bag rviz:=true rate:=0.5 loop:=true
    ros2 launch road_seg_ros replay.launch.py --show-args
"""

from __future__ import annotations

from launch import LaunchDescription
from road_seg_ros.launching.arguments import REPLAY
from road_seg_ros.launching.nodes import describe


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments, and start what their values ask for."""
    return describe(REPLAY)
