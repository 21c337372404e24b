"""How the commands of the training half end."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from training import command


def _raise(error: BaseException) -> Callable[[], int]:
    def main() -> int:
        raise error

    return main


@pytest.mark.parametrize(
    ('main', 'status', 'told'),
    [
        (lambda: 0, 0, ''),
        (lambda: 2, 2, ''),
        (_raise(KeyboardInterrupt()), 130, '\ninterrupted\n'),
        (lambda: np.zeros(2**55), 1, 'error: out of memory: Unable to allocate 256. PiB for '),
        (_raise(RuntimeError('Failed to allocate 7\nhere')), 1, 'error: out of memory: Failed'),
        (_raise(ArithmeticError('the answer is inf')), 1, 'error: the answer is inf\n'),
    ],
)
def test_a_command_ends_with_a_status_and_one_line(main, status: int, told: str, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        command.run(main)
    assert ended.value.code == status
    error = capsys.readouterr().err
    assert error.startswith(told) and error.strip().count('\n') == 0 and bool(error) == bool(told)


def test_other_errors_are_for_developers() -> None:
    with pytest.raises(ZeroDivisionError):
        command.run(lambda: 1 // 0)
