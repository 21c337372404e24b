"""The Fast DDS transport profile that carries camera images without loss."""

from __future__ import annotations

import os
from collections.abc import Mapping

from road_seg_ros.resources import find_resource

PROFILE = 'config/fastdds.xml'
PROFILE_VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
CHOSEN_BY_USER = (*PROFILE_VARIABLES, 'FASTDDS_BUILTIN_TRANSPORTS')


def use_profile() -> None:
    """Have this process, and those that it starts, use config/fastdds.xml where they may."""
    os.environ.update(profile_environment(os.environ))


def profile_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """
    Return the environment variables that make Fast DDS use config/fastdds.xml.

    environment: the one they are to be added to. Empty if the user has chosen transports there
    already, or has kept ROS on this machine by ROS_LOCALHOST_ONLY: Humble would have the profile's
    UDP talk to others beside that. Other middlewares do not read these variables.
    """
    profile = find_resource(PROFILE)
    if environment.get('ROS_LOCALHOST_ONLY') == '1':
        return {}
    if profile is None or any(environment.get(name) for name in CHOSEN_BY_USER):
        return {}
    return {name: str(profile) for name in PROFILE_VARIABLES}
