"""
Synthetic street scenes with exact road labels, rendered with numpy and OpenCV.

A world is an endless road: a centre line, a cross-section and, every 24 m, whatever stands beside
it, all drawn from one seed. A pinhole camera looks along the road; the ground is ray-cast per
pixel, upright things are textured planes with a depth buffer, and light is linear until the
camera's tone curve. Axes: x east, y north (along the road), z up, in metres; colours are BGR,
linear albedo or radiance as float32 unless stated. The same seed gives the same bytes, so any
change to the order of random draws or of float operations is a change of the data set.

- `frames`: `render` and `drive`, which put the rest together
- `world`, `picking`: the description of a world, and how one is drawn from a seed
- `layout`: what stands along the road, and the traffic on it
- `vehicles`, `buildings`, `plants`, `furniture`: the things; `panels`: what they are made of
- `noise`, `textures`: random numbers, patterns and textures they share
- `ground`, `surfaces`, `shadows`: the ground's geometry, its looks and its light
- `sky`: sky, skyline and haze; `painter`: things drawn over ground and sky
- `camera`: the camera's place and optics
"""

from road_seg_ros.synthetic.frames import Scene, drive, render

__all__ = ['Scene', 'drive', 'render']
