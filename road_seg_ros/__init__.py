"""Drivable road segmentation for ROS 2: FCN-8 on VGG-16, trained on KITTI Road."""

__version__ = '0.1.0'
