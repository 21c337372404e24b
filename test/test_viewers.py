"""What rviz2 and Foxglove are told to show is what the node publishes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from graph import Client, ros, running_node, wait_for

CONFIG = Path(__file__).resolve().parent.parent / 'config'
IMAGE = 'sensor_msgs/msg/Image'
CAMERA, OVERLAY, MASK = '/camera/image_raw', '/road_seg/overlay', '/road_seg/mask'
# What Foxglove plots: an item of the diagnostics, by the name of the status and its own key.
PLOTTED = re.compile(
    r'/diagnostics\.status\[:\]\{name=="(.+)"\}\.values\[:\]\{key=="(.+)"\}\.value'
)


@pytest.fixture(scope='module')
def node(tiny_model: Path) -> Iterator[tuple[dict[str, list[str]], Any]]:
    """Return the types of a running node's topics, and its diagnostics with an image answered."""
    with ros():
        client = Client()
        try:
            with running_node(model_path=str(tiny_model), engine='torch', device='cpu') as running:
                client.wait_until_matched()
                client.send(np.zeros((64, 64, 3), np.uint8))
                wait_for(
                    lambda: running._health.published,
                    'an image to be answered',
                )
                status = client.wait_for_status('running')
                yield dict(client.get_topic_names_and_types()), status
        finally:
            client.close()


@pytest.fixture(scope='module')
def rviz() -> dict[str, Any]:
    return yaml.safe_load((CONFIG / 'seg.rviz').read_text(encoding='utf-8'))


@pytest.fixture(scope='module')
def foxglove() -> dict[str, Any]:
    return json.loads((CONFIG / 'foxglove_layout.json').read_text(encoding='utf-8'))


def test_rviz_shows_camera_overlay_and_mask_and_nothing_else(
    rviz: dict[str, Any], node: tuple[dict[str, list[str]], Any]
) -> None:
    displays = rviz['Visualization Manager']['Displays']
    assert {d['Name']: d['Topic']['Value'] for d in displays} == {
        'Camera': CAMERA,
        'Overlay': OVERLAY,
        'Mask': MASK,
    }
    for display in displays:
        assert display['Class'] == 'rviz_default_plugins/Image'
        assert display['Enabled']
        assert node[0][display['Topic']['Value']] == [IMAGE]


def test_rviz_takes_the_camera_from_any_publisher(rviz: dict[str, Any]) -> None:
    reliability = {
        display['Name']: display['Topic']['Reliability Policy']
        for display in rviz['Visualization Manager']['Displays']
    }
    assert reliability == {'Camera': 'Best Effort', 'Overlay': 'Reliable', 'Mask': 'Reliable'}


def test_rviz_needs_no_tf(rviz: dict[str, Any]) -> None:
    transformation = rviz['Visualization Manager']['Transformation']
    assert transformation == {'Current': {'Class': 'rviz_common/Identity'}}


def test_every_panel_of_rviz_has_its_place_in_the_window(rviz: dict[str, Any]) -> None:
    panels = {panel['Name'] for panel in rviz['Panels']}
    panels |= {display['Name'] for display in rviz['Visualization Manager']['Displays']}
    geometry = rviz['Window Geometry']
    state = bytes.fromhex(geometry['QMainWindow State'])  # Qt's, with names in UTF-16
    for name in panels:
        assert geometry[name] == {'collapsed': False}
        assert name.encode('utf-16-be') in state


def test_foxglove_shows_camera_overlay_and_mask(
    foxglove: dict[str, Any], node: tuple[dict[str, list[str]], Any]
) -> None:
    panels = foxglove['configById'].items()
    images = {p['imageMode']['imageTopic'] for name, p in panels if name.startswith('Image!')}
    assert images == {CAMERA, OVERLAY, MASK}
    for topic in images:
        assert node[0][topic] == [IMAGE]


def test_foxglove_plots_what_the_node_reports(
    foxglove: dict[str, Any], node: tuple[dict[str, list[str]], Any]
) -> None:
    status = node[1]
    values = {item.key: item.value for item in status.values}
    plots = [p for name, p in foxglove['configById'].items() if name.startswith('Plot!')]
    plotted = [PLOTTED.fullmatch(path['value']).groups() for p in plots for path in p['paths']]
    assert {name for name, _ in plotted} == {status.name}
    for _, key in plotted:
        assert float(values[key]) >= 0
    assert {key for _, key in plotted} == {
        *(f'{what} {of} (ms)' for what in ('pipeline', 'inference') for of in ('median', 'p95')),
        *(f'{which} rate (Hz)' for which in ('input', 'output')),
    }


def test_every_panel_of_foxglove_is_in_its_layout(foxglove: dict[str, Any]) -> None:
    def names(part: Any) -> list[str]:
        if isinstance(part, str):
            return [part]
        return names(part['first']) + names(part['second'])

    assert sorted(names(foxglove['layout'])) == sorted(foxglove['configById'])
