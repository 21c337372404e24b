"""The SROS 2 policy allows what a running node does, and nothing else."""

from __future__ import annotations

import xml.etree.ElementTree as xml
from pathlib import Path

import pytest
from graph import Client, ros, running_node, wait_for
from rclpy.expand_topic_name import expand_topic_name

POLICY = Path(__file__).parent.parent / 'config' / 'sros2_policy.xml'
# Not on every machine: vision_msgs is a package of its own, and Humble describes no types.
SOMETIMES = {'/road_seg/label_info', '/road_seg/get_type_description'}
RAW, COMPRESSED = '/camera/image_raw', '/camera/image_raw/compressed'
# What the policy calls a right, and how rclpy finds who uses it.
RIGHTS = {
    'publish': Client.get_publisher_names_and_types_by_node,
    'subscribe': Client.get_subscriber_names_and_types_by_node,
    'reply': Client.get_service_names_and_types_by_node,
    'request': Client.get_client_names_and_types_by_node,
}


@pytest.fixture(scope='module')
def allowed() -> dict[str, set[str]]:
    """Return the full names that each right is allowed for."""
    root = xml.parse(POLICY).getroot()
    assert root.get('version') == '0.2.0'
    [profile] = root.iterfind('enclaves/enclave/profiles/profile')
    names: dict[str, set[str]] = {right: set() for right in RIGHTS}
    for rules in profile:
        for right, answer in rules.attrib.items():
            assert answer == 'ALLOW'
            names[right] |= {
                expand_topic_name(rule.text, profile.get('node'), profile.get('ns'))
                for rule in rules
            }
    return names


def _used(client: Client) -> dict[str, set[str]]:
    return {
        right: {name for name, _ in find(client, 'road_seg', '/')}
        for right, find in RIGHTS.items()
    }


@pytest.mark.parametrize(('transport', 'unused'), [('raw', COMPRESSED), ('compressed', RAW)])
def test_the_policy_allows_what_the_node_uses_and_nothing_else(
    allowed: dict[str, set[str]], tiny_model: Path, transport: str, unused: str
) -> None:
    settings = {'model_path': str(tiny_model), 'engine': 'torch', 'use_sim_time': True}
    with ros():
        client = Client()
        try:
            with running_node(input_transport=transport, **settings):
                for right, names in allowed.items():
                    for name in names - SOMETIMES - {unused}:
                        what = f'the node to {right} {name}, as the policy allows'
                        wait_for(lambda r=right, n=name: n in _used(client)[r], what)
                for right, names in _used(client).items():
                    assert names <= allowed[right], f'the node needs more to {right}'
        finally:
            client.close()
