"""
Measure what a mask costs on this machine: time, memory, and what the way over DDS adds.

- `cli`: the command road_seg_benchmark
- `machine`: what it runs on; `samples`: frames to run it with, engines to compare
- `timing`: interleaved measurements and their percentiles
- `latency`, `growth`: from image to mask, without ROS; `startup`: a process until its first mask
- `ros_graph`, with the processes `ros_camera` and `ros_viewer`: the whole node over DDS
- `tables`, `chart`: the figures as Markdown and as a picture
"""
