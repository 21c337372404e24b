"""Tables are Markdown."""

from __future__ import annotations

import pytest

from road_seg_ros import markdown


def test_a_table_has_a_line_a_row() -> None:
    text = markdown.table(('a', 'b'), [('1', '2'), ('3', '')])
    assert text == '| a | b |\n|---|---|\n| 1 | 2 |\n| 3 |  |'


def test_a_row_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match='a row of 1 cells under 2 heads'):
        markdown.table(('a', 'b'), [('1',)])
