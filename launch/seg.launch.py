"""
Start road_seg_node for one camera or several, and on request rviz2 and a bag.

    ros2 launch road_seg_ros seg.launch.py image_topic:=/kitti/camera_color_left/image_raw
    ros2 launch road_seg_ros seg.launch.py image_topic:="/front/image_raw, /rear/image_raw"
    ros2 launch road_seg_ros seg.launch.py bag:=kitti_bag rviz:=true
    ros2 launch road_seg_ros seg.launch.py --show-args
"""

from __future__ import annotations

from launch import LaunchDescription
from road_seg_ros.launching.arguments import SEG
from road_seg_ros.launching.nodes import describe


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments, and start what their values ask for."""
    return describe(SEG)
