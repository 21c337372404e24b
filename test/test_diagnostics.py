"""The node's DiagnosticArray, written and read."""

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

from road_seg_ros.diagnostics import Report, read_reports, write_report

REPORT = Report('running', {'received': '3', 'published': '2', 'a (ms)': '1'})


def test_a_report_is_one_status() -> None:
    array = write_report(Time(sec=5), '/road_seg', 'cpu', DiagnosticStatus.OK, REPORT)
    assert array.header.stamp.sec == 5
    [status] = array.status
    assert (status.name, status.hardware_id, status.level, status.message) == (
        '/road_seg: road segmentation',
        'cpu',
        DiagnosticStatus.OK,
        'running',
    )
    assert [(value.key, value.value) for value in status.values] == [*REPORT.values.items()]


def test_a_report_is_read_by_the_name_of_its_node() -> None:
    array = write_report(Time(), '/front/road_seg', 'cpu', DiagnosticStatus.OK, REPORT)
    array.status.append(DiagnosticStatus(name='/front/road_seg: temperature', message='hot'))
    array.status.append(DiagnosticStatus(name='/road_seg', message='alive'))
    reports = read_reports(array)
    assert reports['/front/road_seg'] == REPORT
    assert '/road_seg' not in reports
    assert read_reports(DiagnosticArray()) == {}


def test_a_paused_node_is_active() -> None:
    assert Report('paused: call the enable service', {}).active
    assert not Report('inactive: lifecycle state inactive', {}).active


def test_counters_are_added() -> None:
    assert REPORT.count('received', 'published') == 5
