"""Where the files that ship with the package are, however it was installed."""

from __future__ import annotations

from pathlib import Path

PACKAGE = 'road_seg_ros'
PACKAGE_DIR = Path(__file__).resolve().parent


def find_resource(relative: str) -> Path | None:
    """
    Return the path of a file or folder that ships with the package, or None if there is none.

    relative: a path such as `weights/road_seg_compact.safetensors` or `config/fastdds.xml`.
    It is looked up in the package, in the source tree round the package (git checkout, editable
    install), then in share/road_seg_ros of the prefix that the package is installed under
    (colcon's install folder, a virtual environment, --user).
    """
    # Unresolved too: with `colcon build --symlink-install` the prefix is where the link is.
    here = (PACKAGE_DIR, Path(__file__).absolute().parent)
    roots = [PACKAGE_DIR, PACKAGE_DIR.parent]
    roots += [parent / 'share' / PACKAGE for folder in here for parent in folder.parents]
    for root in roots:
        if (root / relative).exists():
            return root / relative
    return None
