"""A bag waits for the nodes, and a launch for their answers."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
from builtin_interfaces.msg import Time
from graph import BEST_EFFORT, Client, ReplacedEngine, running_node, wait_for
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image

from road_seg_ros.engines import Engine, Segmentation, Wanted
from road_seg_ros.launching.replay_watch import ReplayWatch

NODE = '/road_seg'
PIXELS = np.zeros((64, 64, 3), np.uint8)


def test_a_node_is_inactive_until_it_says_otherwise(client: Client, tiny_model: Path) -> None:
    watch = ReplayWatch(client, {NODE: '/camera/image_raw'})
    with running_node(start=False, model_path=str(tiny_model), engine='torch') as node:
        client.wait_for_status('inactive')
        assert watch.inactive() == [NODE]
        assert node.start()
        wait_for(lambda: not watch.inactive(), 'the node to be active')
        watch.forget()
        assert watch.inactive() == [NODE]
        wait_for(lambda: not watch.inactive(), 'the node to say so again')


def test_a_node_is_unmatched_until_it_has_publisher_and_time(
    client: Client, tiny_model: Path
) -> None:
    client.destroy_publisher(client.camera)
    watch = ReplayWatch(client, {NODE: '/camera/image_raw'})
    with running_node(model_path=str(tiny_model), engine='torch', use_sim_time=True):
        clock = client.create_publisher(Clock, '/clock', 10)

        def reports(time: Time | None) -> list[str]:
            """Return who is unmatched by a new report, to whom this time was told."""
            watch.forget()
            client.statuses.clear()
            wait_for(
                lambda: (time and clock.publish(Clock(clock=time))) or client.statuses, 'a report'
            )
            return watch.unmatched()

        assert reports(Time(sec=9)) == [NODE]
        camera = client.create_publisher(Image, '/camera/image_raw', BEST_EFFORT)
        wait_for(lambda: not reports(Time(sec=9)), 'the node to follow the QoS')
        client.destroy_publisher(camera)
        wait_for(lambda: reports(None) == [NODE], 'the camera to be gone')


def test_a_node_without_the_time_is_unmatched(client: Client, tiny_model: Path) -> None:
    watch = ReplayWatch(client, {NODE: '/camera/image_raw'})
    with running_node(model_path=str(tiny_model), engine='torch', use_sim_time=True):
        wait_for(lambda: not watch.inactive(), 'the node to be active')
        client.wait_until_matched()
        assert watch.unmatched() == [NODE]


def test_images_are_unanswered_until_their_masks_are_out(client: Client, tiny_model: Path) -> None:
    watch = ReplayWatch(client, {NODE: '/camera/image_raw'})
    go_on = threading.Event()

    def slowly(engine: Engine, image: np.ndarray, wanted: Wanted) -> Segmentation:
        go_on.wait()
        return engine.submit(image, wanted)

    with running_node(model_path=str(tiny_model), engine='torch') as node:
        ReplacedEngine(node._segmenter, slowly)
        masks = client.listen('mask')
        client.wait_until_matched()
        wait_for(lambda: client.send(PIXELS) and node._health.received, 'the node to hear it')
        try:
            wait_for(lambda: not watch.inactive(), 'a report')
            watch.forget()
            wait_for(lambda: not watch.inactive(), 'another report')
            assert watch.unanswered() == [NODE]
        finally:
            go_on.set()
        wait_for(lambda: not watch.unanswered(), 'the answer')
        assert wait_for(lambda: masks, 'the mask')
