"""How the commands of the training half end."""

from __future__ import annotations

import pytest

from training import command


def _interrupted() -> int:
    raise KeyboardInterrupt


@pytest.mark.parametrize(('main', 'status'), [(lambda: 0, 0), (lambda: 2, 2), (_interrupted, 130)])
def test_a_command_ends_with_a_status(main, status: int, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        command.run(main)
    assert ended.value.code == status
    assert capsys.readouterr().err == ('\ninterrupted\n' if status == 130 else '')
