"""The diagnostics tell what goes on in one sentence, and count everything."""

from __future__ import annotations

import pytest
from diagnostic_msgs.msg import DiagnosticStatus

from road_seg_ros.health import Health, Situation

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


class FakeClock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def health(clock: FakeClock) -> Health:
    return Health(clock)


def _situation(**changes: object) -> Situation:
    values = {'lifecycle_state': 'active', 'enabled': True, 'no_image_timeout': 2.0} | changes
    return Situation(**values)


def test_waiting_for_the_first_image_becomes_a_warning_with_a_reason(
    health: Health, clock: FakeClock
) -> None:
    health.begin_anew()
    situation = _situation(no_image_reason='nobody publishes')
    assert health.status(situation) == (OK, 'waiting for the first image')
    clock.now += 2.5
    assert health.status(situation) == (WARN, 'waiting for the first image: nobody publishes')


def test_running_and_then_no_image(health: Health, clock: FakeClock) -> None:
    health.image_received()
    health.mask_published(10.0, 20.0)
    assert health.status(_situation()) == (OK, 'running')
    clock.now += 7.2
    assert health.status(_situation(no_image_reason='why')) == (WARN, 'no image for 7 s: why')


def test_paused_and_inactive(health: Health) -> None:
    level, message = health.status(_situation(enabled=False))
    assert level == OK and message.startswith('paused')
    level, message = health.status(_situation(lifecycle_state='unconfigured'))
    assert level == WARN and message == 'inactive: lifecycle state unconfigured'
    problem = _situation(lifecycle_state='unconfigured', configure_problem='no such file')
    assert health.status(problem) == (ERROR, 'inactive: cannot configure: no such file')
    gone = _situation(lifecycle_state='finalized', configure_problem='no such file')
    level, message = health.status(gone)
    assert level == DiagnosticStatus.STALE and message == 'inactive: lifecycle state finalized'


def test_failing_until_an_image_is_answered_again(health: Health) -> None:
    health.image_received()
    assert [health.inference_failed('no memory'), health.inference_failed('no memory')] == [1, 2]
    assert health.status(_situation()) == (ERROR, 'failing: no memory')
    health.mask_published(1.0, 1.0)
    assert health.status(_situation()) == (OK, 'running')


def test_an_old_error_does_not_hide_that_no_image_comes(health: Health, clock: FakeClock) -> None:
    health.image_received()
    health.inference_failed('boom')
    clock.now += 4.0
    assert health.status(_situation()) == (WARN, 'no image for 4 s')
    assert health.status(_situation(lifecycle_state='inactive'))[1].startswith('inactive')
    assert health.status(_situation(lifecycle_state='unconfigured')) == (ERROR, 'failing: boom')


@pytest.mark.parametrize('refuse', ['image_rejected', 'image_too_old'])
def test_images_that_are_all_refused_are_not_running(
    health: Health, clock: FakeClock, refuse: str
) -> None:
    health.begin_anew()
    for _ in range(40):
        health.image_received()
        getattr(health, refuse)('bad step')
        clock.now += 0.1
    level, message = health.status(_situation())
    assert level == WARN
    assert message == 'failing: images arrive, none answered for 4 s, the last one: bad step'
    health.mask_published(1.0, 1.0)
    health.image_received()  # and the network hangs, for another reason
    clock.now += 1.0
    health.image_received()
    clock.now += 2.0
    assert health.status(_situation()) == (WARN, 'failing: images arrive, none answered for 3 s')
    assert health.values()['last rejection'] == 'bad step'


def test_the_first_image_after_a_silence_is_not_a_failure(
    health: Health, clock: FakeClock
) -> None:
    health.image_received()
    health.mask_published(1.0, 1.0)
    clock.now += 60.0
    health.image_received()  # and the network works on it
    clock.now += 0.05
    assert health.status(_situation()) == (OK, 'running')


def test_a_network_slower_than_the_timeout_is_running(health: Health, clock: FakeClock) -> None:
    health.image_received()
    for _ in range(100):  # 10 Hz come, each inference takes 2.5 s
        for _ in range(25):
            clock.now += 0.1
            health.image_received()
            if health.published:
                assert health.status(_situation()) == (OK, 'running')
        health.mask_published(2500.0, 2500.0)
    for _ in range(60):
        clock.now += 0.1
        health.image_received()
    assert health.status(_situation())[1].startswith('failing: images arrive')


def test_rates_are_those_of_the_last_seconds(health: Health, clock: FakeClock) -> None:
    for _ in range(30):
        health.image_received()
        clock.now += 0.1
    assert health.values()['input rate (Hz)'] == '10.0'
    assert health.values()['output rate (Hz)'] == '0.0'
    clock.now += 10.0
    assert health.values()['input rate (Hz)'] == '0.0'


def test_a_rate_falls_as_soon_as_the_next_event_is_late(health: Health, clock: FakeClock) -> None:
    for _ in range(30):
        health.image_received()
        clock.now += 0.1
    clock.now += 1.9  # two seconds after the last of 2.9
    assert health.values()['input rate (Hz)'] == f'{29 / 4.8:.1f}'


def test_a_camera_slower_than_the_window_has_a_rate(health: Health, clock: FakeClock) -> None:
    for _ in range(5):
        health.image_received()
        clock.now += 10.0
        assert health.values()['input rate (Hz)'] == ('0.1' if health.received > 1 else '0.0')
    clock.now += 10.1  # two of its periods after the last
    assert health.values()['input rate (Hz)'] == '0.0'


def test_a_new_beginning_forgets_rates_and_latencies(health: Health, clock: FakeClock) -> None:
    for _ in range(10):
        health.image_received()
        health.mask_published(1000.0, 2000.0)
        clock.now += 0.1
    health.begin_anew()
    values = health.values()
    assert {values['input rate (Hz)'], values['output rate (Hz)']} == {'0.0'}
    assert {values['inference median (ms)'], values['pipeline p95 (ms)']} == {''}
    assert values['published'] == '10'


def test_latencies_are_median_and_95th_percentile(health: Health) -> None:
    for value in range(1, 101):
        health.mask_published(float(value), 2.0 * value)
    values = health.values()
    assert values['inference median (ms)'] == '50.5'
    assert values['inference p95 (ms)'] == '95.0'
    assert values['pipeline median (ms)'] == '101.0'


def test_everything_is_counted(health: Health) -> None:
    health.image_received(missed=3)
    health.images_dropped(1)
    health.image_rejected('bad step')
    health.inference_failed('broken')
    values = health.values()
    expected = {
        'received': '1',
        'missed': '3',
        'published': '0',
        'dropped': '1',
        'rejected': '1',
        'errors': '1',
    }
    assert {name: values[name] for name in expected} == expected
    assert values['last rejection'] == 'bad step'
    assert values['last error'] == 'broken'


def test_latency_is_never_negative(health: Health) -> None:
    health.mask_published(1.0, -50.0)
    assert health.values()['pipeline median (ms)'] == '0.0'


def test_an_image_without_a_stamp_has_no_pipeline_latency(health: Health) -> None:
    health.mask_published(1.0, None)
    assert health.values()['pipeline median (ms)'] == ''
    health.mask_published(1.0, 30.0)
    assert health.values()['pipeline median (ms)'] == '30.0'
