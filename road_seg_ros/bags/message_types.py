"""Message classes by the names that a bag gives them."""

from __future__ import annotations

import importlib
import importlib.util
import re
from pathlib import Path


def find_message_type(name: str) -> type:
    """
    Return the class of a type such as `sensor_msgs/msg/Image`.

    LookupError if it is not installed. The name may come from anywhere: nothing is imported but
    packages that ROS generated from message definitions, known by their type support.
    """
    missing = LookupError(f'{name} is not installed')
    match = re.fullmatch(r'([a-z][a-z0-9_]*)/msg/([A-Z][A-Za-z0-9]*)', name)
    spec = importlib.util.find_spec(match[1]) if match else None
    folders = spec.submodule_search_locations if spec else None
    support = f'{match[1]}_s__rosidl_typesupport_c*' if match else ''
    if not any(any(Path(folder).glob(support)) for folder in folders or ()):
        raise missing
    try:
        return getattr(importlib.import_module(f'{match[1]}.msg'), match[2])
    except (ImportError, AttributeError) as error:
        raise missing from error
