"""The command road_seg_benchmark, as `python -m road_seg_ros.benchmark`."""

import sys

from road_seg_ros.benchmark.cli import main

sys.exit(main())
