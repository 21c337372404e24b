"""Counters, rates and latencies of the node, and how it is by them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus

RATE_WINDOW_S = 5.0
LATENCY_WINDOW = 200  # frames


class Rate:
    """Events a second over the last seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._times: deque[float] = deque(maxlen=1000)

    def tick(self) -> None:
        """Count one event, now."""
        self._times.append(self._clock())

    def hz(self) -> float:
        """
        Return the rate over the last RATE_WINDOW_S seconds, or of the last two if they are slower.

        It falls as soon as the next event is late, to 0 once nothing comes any more.
        """
        now = self._clock()
        while len(self._times) > 2 and now - self._times[0] > RATE_WINDOW_S:
            self._times.popleft()
        if len(self._times) < 2 or self._times[-1] <= self._times[0]:
            return 0.0
        intervals, span_s = len(self._times) - 1, self._times[-1] - self._times[0]
        usual_s, quiet_s = span_s / intervals, now - self._times[-1]
        if quiet_s > max(RATE_WINDOW_S, 2 * usual_s):
            return 0.0
        return intervals / (span_s + max(0.0, quiet_s - usual_s))


@dataclass(frozen=True)
class Situation:
    """What the node knows beside the counters when it reports."""

    lifecycle_state: str  # unconfigured, inactive, active, ...
    enabled: bool
    no_image_timeout: float  # s
    no_image_reason: str = ''  # why none may arrive, if that can be told
    configure_problem: str = ''  # why the last configure failed, if it did


class Health:
    """
    Counts what happens to images. Every method may be called from any thread.

    clock: seconds, monotonic; replaced in tests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self.received = 0
        self.missed = 0  # sent, but never received
        self.published = 0
        self.dropped = 0  # overtaken by a newer frame, or too old
        self.rejected = 0  # malformed
        self.errors = 0  # inference failed
        self.errors_in_a_row = 0
        self.last_rejection = ''
        self.last_error = ''
        self._why_unanswered = ''  # the last rejection since a mask was published
        self._last_received: float | None = None
        self._unanswered_since: float | None = None  # arrival of the first unanswered image
        self._since = clock()
        self._input_rate = Rate(clock)
        self._output_rate = Rate(clock)
        self._inference_ms: deque[float] = deque(maxlen=LATENCY_WINDOW)
        self._pipeline_ms: deque[float] = deque(maxlen=LATENCY_WINDOW)

    def image_received(self, missed: int = 0) -> None:
        """An image arrived; so many that were sent before it did not."""
        with self._lock:
            self.received += 1
            self.missed += missed
            self._last_received = self._clock()
            if self._unanswered_since is None:
                self._unanswered_since = self._last_received
            self._input_rate.tick()

    def images_dropped(self, count: int) -> None:
        """So many images were overtaken by newer ones, or by the end of the node's work."""
        with self._lock:
            self.dropped += count

    def image_too_old(self, reason: str) -> None:
        """An image was dropped for its age."""
        with self._lock:
            self.dropped += 1
            self.last_rejection = self._why_unanswered = reason

    def image_rejected(self, reason: str) -> None:
        """An image was malformed."""
        with self._lock:
            self.rejected += 1
            self.last_rejection = self._why_unanswered = reason

    def mask_published(self, inference_ms: float, pipeline_ms: float | None) -> None:
        """An image was answered; pipeline_ms is now - stamp, None for an image without one."""
        with self._lock:
            self.published += 1
            self.errors_in_a_row = 0
            self._unanswered_since = None
            self._why_unanswered = ''
            self._output_rate.tick()
            self._inference_ms.append(inference_ms)
            if pipeline_ms is not None:
                self._pipeline_ms.append(max(0.0, pipeline_ms))

    def inference_failed(self, reason: str) -> int:
        """Inference raised. Returns how many times in a row it did."""
        with self._lock:
            self.errors += 1
            self.errors_in_a_row += 1
            self.last_error = reason
            return self.errors_in_a_row

    def begin_anew(self) -> None:
        """The node starts to wait for images, or has stopped to; earlier trouble is over."""
        with self._lock:
            self._since = self._clock()
            self._input_rate, self._output_rate = Rate(self._clock), Rate(self._clock)
            self._inference_ms.clear()
            self._pipeline_ms.clear()
            self._last_received = None
            self._unanswered_since = None
            self._why_unanswered = ''
            self.errors_in_a_row = 0

    def status(self, situation: Situation) -> tuple[bytes, str]:
        """
        Return the DiagnosticStatus level and one sentence.

        The sentence begins with waiting for the first image, running, paused, inactive, no image
        for N s, or failing.
        """
        ok, warn, error = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
        with self._lock:
            now = self._clock()
            waiting = self._last_received is None
            quiet_s = now - (self._since if waiting else self._last_received)
            unanswered_s = 0.0 if self._unanswered_since is None else now - self._unanswered_since
            failing = f'failing: {self.last_error}' if self.errors_in_a_row else ''
            why_unanswered = self._why_unanswered
            inference_ms = self._inference_ms[-1] if self._inference_ms else 0.0
        state, timeout = situation.lifecycle_state, situation.no_image_timeout
        if state != 'active':
            if situation.configure_problem and state == 'unconfigured':
                return error, f'inactive: cannot configure: {situation.configure_problem}'
            if failing and state == 'unconfigured':  # error processing ended there
                return error, failing
            # Stale is also what monitors show of a node that is gone altogether.
            level = DiagnosticStatus.STALE if state == 'finalized' else warn
            return level, f'inactive: lifecycle state {state}'
        if not situation.enabled:
            return ok, 'paused: call the enable service with data true to go on'
        if quiet_s > timeout:
            reason = f': {situation.no_image_reason}' if situation.no_image_reason else ''
            what = 'waiting for the first image' if waiting else f'no image for {quiet_s:.0f} s'
            return warn, what + reason
        if waiting:
            return ok, 'waiting for the first image'
        if failing:
            return error, failing
        # A network may take longer than that for every image.
        if unanswered_s > max(timeout, 2e-3 * inference_ms):
            reason = f', the last one: {why_unanswered}' if why_unanswered else ''
            return warn, f'failing: images arrive, none answered for {unanswered_s:.0f} s{reason}'
        return ok, 'running'

    def values(self) -> dict[str, str]:
        """Return the counters, rates and latencies as strings, with units in the keys."""
        with self._lock:
            inference, pipeline = list(self._inference_ms), list(self._pipeline_ms)
            values = {
                'input rate (Hz)': f'{self._input_rate.hz():.1f}',
                'output rate (Hz)': f'{self._output_rate.hz():.1f}',
                'received': str(self.received),
                'missed': str(self.missed),
                'published': str(self.published),
                'dropped': str(self.dropped),
                'rejected': str(self.rejected),
                'errors': str(self.errors),
            }
            for name, samples in (('inference', inference), ('pipeline', pipeline)):
                for label, percent in (('median', 50), ('p95', 95)):
                    value = f'{np.percentile(samples, percent):.1f}' if samples else ''
                    values[f'{name} {label} (ms)'] = value
            values['last rejection'] = self.last_rejection
            values['last error'] = self.last_error
        return values
