"""Packaging: an ament_python package for colcon, a plain Python package for pip."""

from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = 'road_seg_ros'
SHARE = f'share/{PACKAGE}'
ROOT = Path(__file__).resolve().parent  # not the working directory: colcon builds elsewhere


def files(folder, *patterns):
    """Return the data_files entry that installs the matching files of a folder under share."""
    paths = sorted(str(path) for pattern in patterns for path in Path(folder).glob(pattern))
    return f'{SHARE}/{Path(folder).name}', paths


# The ROS 2 wheels on PyPI are a community build: for demo, tests and CI, so pinned exactly.
KILTED_WHEELS = [
    'ros-rclpy==9.1.2',
    'ros-lifecycle-msgs==2.3.0',
    'ros-std-srvs==5.5.1',
    'ros-sensor-msgs==5.5.1',
    'ros-diagnostic-msgs==5.5.1',
    'ros-rmw-fastrtps-cpp==9.3.3',
]
JAZZY_WHEELS = [
    'ros-rclpy==7.1.6',
    'ros-lifecycle-msgs==2.0.3',
    'ros-std-srvs==5.3.6',
    'ros-sensor-msgs==5.3.6',
    'ros-diagnostic-msgs==5.3.6',
    'ros-rmw-fastrtps-cpp==8.4.3',
]

setup(
    name=PACKAGE,
    version='0.1.0',
    description='Drivable road segmentation for ROS 2: FCN-8 on VGG-16, trained on KITTI Road',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0 AND CC-BY-NC-SA-3.0',  # the second is the weights'
    maintainer='road_seg_ros developers',
    maintainer_email='maintainers@road-seg-ros.invalid',
    python_requires='>=3.10',
    packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        (SHARE, ['package.xml']),
        files('launch', '*.launch.py'),
        files('config', '*.json', '*.rviz', '*.xml', '*.yaml'),
        files(f'{PACKAGE}/weights', '*.safetensors', '*.md'),
    ],
    zip_safe=False,
    # The oldest versions with which the tests of node and frames pass, on Python 3.10. numpy is
    # Ubuntu 22.04's; its OpenCV, 4.5.4, fails on images of 1x1 only. Those of export and training
    # are a careful guess. constraints.txt names what all tests pass with.
    install_requires=[
        'numpy>=1.21.5',
        'opencv-python-headless>=4.5.5',
        'safetensors>=0.4',
        'torch>=2.1',
    ],
    extras_require={
        'demo': ['rosbags>=0.11.2'],  # older ones lose the QoS profiles in mcap
        'openvino': ['openvino>=2024.4'],
        'export': [
            'nncf>=2.13',
            'onnx>=1.17',
            'onnxruntime>=1.19',
            'onnxscript>=0.5',
            'openvino>=2024.4',
        ],
        'training': [
            'lightning>=2.6',
            'matplotlib>=3.6',
            'pyyaml>=6.0',
            'tensorboard>=2.11',
            'torch>=2.5',
            'torchvision>=0.20',
            'tqdm>=4.57',
        ],
        'test': [
            'hypothesis>=6.30',
            'mcap>=1.1',
            'packaging>=21.3',
            'psutil>=5.9',
            'pytest>=7.0',
            'pytest-xdist>=3.0',
            'pyyaml>=6.0',
            'rosbags-image>=0.10',
            'ruff>=0.13',
        ],
        'ros': KILTED_WHEELS,
        'ros-jazzy': JAZZY_WHEELS,
    },
    entry_points={
        'console_scripts': [
            f'road_seg_node = {PACKAGE}.main:main',
            f'road_seg_demo = {PACKAGE}.demo:main',
            f'kitti_to_bag = {PACKAGE}.kitti_bag:main',
            f'road_seg_replay = {PACKAGE}.replay:main',
            f'road_seg_evaluate = {PACKAGE}.graph_evaluation:main',
            f'road_seg_benchmark = {PACKAGE}.benchmark.cli:main',
        ],
    },
)
