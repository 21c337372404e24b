"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """
    Return a table, one line a row. ValueError if a row is not as long as the heads.

    What is no character, in a file's name that is not UTF-8, becomes a question mark.
    """
    lines = [_line(heads), f'|{"---|" * len(heads)}']
    for row in rows:
        if len(row) != len(heads):
            raise ValueError(f'a row of {len(row)} cells under {len(heads)} heads')
        lines.append(_line(row))
    return '\n'.join(lines)


def _line(cells: Sequence[str]) -> str:
    return f'| {" | ".join(cells)} |'.encode('utf-8', 'replace').decode()
