"""
A managed ROS 2 node that publishes a drivable-road mask for every camera image.

An image goes: ImageInput -> LatestFrame -> inference thread -> RoadSegmenter -> Outputs.
"""

from __future__ import annotations

import atexit
import re
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, wraps
from typing import TYPE_CHECKING, Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from std_srvs.srv import SetBool

from road_seg_ros import image_msgs, parameters
from road_seg_ros.diagnostics import Report, write_report
from road_seg_ros.engines import Tint
from road_seg_ros.graph_names import NODE_NAME
from road_seg_ros.health import Health, Situation
from road_seg_ros.image_input import ImageInput
from road_seg_ros.image_msgs import ImageError
from road_seg_ros.latest_frame import LatestFrame
from road_seg_ros.outputs import Outputs
from road_seg_ros.parameters import BY_NAME, LIVE, Settings

if TYPE_CHECKING:  # with torch, which takes seconds
    from road_seg_ros.segmenter import RoadSegmenter

DIAGNOSTICS_PERIOD_S = 1.0
SUPERVISION_PERIOD_S = 0.1  # how soon a change of publishers is followed
ERRORS_IN_A_ROW = 5  # from which inference counts as broken
JOIN_TIMEOUT_S = 1.0  # a node that is told to stop has two seconds
EXIT_TIMEOUT_S = 10.0  # of a program that ends without destroying the node
LOG_THROTTLE_S = 1.0
LOG_AT_REPORT = 2  # in a row of the same trouble: Fast DDS may take seconds to find the camera
RIVAL_S = 30.0  # a node that was killed stays on the graph for 20 s with Fast DDS


@dataclass(frozen=True)
class Parts:
    """What an image goes through, from one configure to the next cleanup."""

    frames: LatestFrame[Any]
    input: ImageInput
    segmenter: RoadSegmenter
    outputs: Outputs


def _never_silent(transition: Callable[..., Any]) -> Callable[..., Any]:
    """Log what a transition raises; rclpy swallows it."""

    @wraps(transition)
    def logged(self: RoadSegNode, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(self, state)
        except Exception as error:
            text = f'{transition.__name__} failed: {type(error).__name__}: {error}'
            self.get_logger().error(text)
            return TransitionCallbackReturn.ERROR

    return logged


class RoadSegNode(LifecycleNode):
    """
    Wires parameters, topics, services and lifecycle to a RoadSegmenter.

    With autostart it configures and activates itself as soon as it is spun; `start`, before that,
    does so at once and tells whether it went well.
    """

    def __init__(self, **node_arguments: Any) -> None:
        # First, so that a node whose start fails can still be destroyed.
        self._health = Health()
        self._enabled = True
        self._active = False
        self._broken = False
        self._configure_problem = ''
        self._trouble = ''  # of the last report
        self._troubled_reports = 0  # in a row, with the same trouble
        self._unrivalled: float | None = time.monotonic()  # when last; None once told
        self._segmenter: RoadSegmenter | None = None
        self._input: ImageInput | None = None
        self._outputs: Outputs | None = None
        self._frames: LatestFrame[Any] = LatestFrame()
        self._thread: threading.Thread | None = None
        # Not the node's clock: simulated time stops and jumps.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._throttle = {
            'throttle_duration_sec': LOG_THROTTLE_S,
            'throttle_time_source_type': steady,
        }

        super().__init__(NODE_NAME, **node_arguments)
        self._service_change_state.callback = partial(
            self._on_change_state, self._service_change_state.callback
        )
        self._settings = parameters.declare(self)
        for wrong, right in parameters.misspelt(self).items():
            self.get_logger().warning(f'ignored the parameter {wrong}; did you mean {right}?')
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self.create_timer(DIAGNOSTICS_PERIOD_S, self._publish_diagnostics, clock=steady)
        self.create_timer(SUPERVISION_PERIOD_S, self._supervise, clock=steady)
        self.create_service(SetBool, '~/enable', self._on_enable)
        self._autostart = self.create_timer(0.0, self._on_autostart, clock=steady)
        if not self.autostart:
            self._autostart.cancel()

    @property
    def autostart(self) -> bool:
        """Whether the node is to configure and activate itself."""
        return self._settings.autostart

    # Lifecycle

    def _on_autostart(self) -> None:
        self._autostart.cancel()
        if self.context.ok() and self._state_machine.current_state[1] == 'unconfigured':
            self.start()

    def _on_change_state(self, change: Callable[..., Any], request: Any, response: Any) -> Any:
        try:
            return change(request, response)
        except rclpy_implementation.RCLError:  # before Kilted rclpy lets it end the spin
            state = self._state_machine.current_state[1]
            wanted = request.transition.label or request.transition.id
            self.get_logger().error(f'no transition {wanted} from state {state}')
            response.success = False
            return response

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model and open the topics."""
        self._configure_problem = ''
        try:
            self._configure(self._settings)
        except ImportError as error:
            problem = (
                f'{error}. With engine {self._settings.engine} and device '
                f'{self._settings.device}, {sys.executable} needs torch and safetensors; the '
                'README says how to install them'
            )
        except Exception as error:  # whatever it is, rclpy would swallow it
            kind = '' if isinstance(error, ValueError) else f'{type(error).__name__}: '
            problem = f'{kind}{error}'
        else:
            return super().on_configure(state)
        self._configure_problem = problem
        self.get_logger().error(f'cannot configure: {problem}')
        self._release()
        return TransitionCallbackReturn.FAILURE

    def _configure(self, settings: Settings) -> None:
        # Only here: importing torch takes seconds, and signals must work by then.
        from road_seg_ros.segmenter import RoadSegmenter

        self._segmenter = RoadSegmenter.from_checkpoint(
            settings.model_path, settings.device, settings.engine, settings.precision
        )
        self._outputs = Outputs(self)
        self._input = ImageInput(
            self, settings.input_transport, settings.input_reliability, self._on_image
        )
        self._frames = LatestFrame()
        # Its own parts: configure makes new ones, and an old thread may still be at work.
        parts = Parts(self._frames, self._input, self._segmenter, self._outputs)
        self._thread = threading.Thread(
            target=self._run_inference, args=[parts], name='inference', daemon=True
        )
        self._thread.start()
        # Python ends in an abort while native code runs in a thread.
        atexit.register(self._release, EXIT_TIMEOUT_S)
        engine = self._segmenter.engine
        took = ', '.join(f'{stage} {s:.2f}' for stage, s in self._segmenter.start_s.items())
        self.get_logger().info(f'model ready; seconds: {took}')
        why = f' ({self._segmenter.why})' if self._segmenter.why else ''
        if settings.threshold >= 0:
            why += f', threshold set to {settings.threshold:.3f}'
        self.get_logger().info(
            f'{self._segmenter.info.describe()}; {engine.name} {engine.precision} on '
            f'{engine.device}{why}; waiting for {self._input.topic}'
        )

    @_never_silent
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Answer images from now on."""
        result = super().on_activate(state)
        self._outputs.publish_label_info()
        self._health.begin_anew()
        self._broken = False
        self._active = True
        return result

    @_never_silent
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop answering; the model stays loaded."""
        self._active = False
        self._health.images_dropped(self._frames.clear())
        if self._broken:
            return TransitionCallbackReturn.ERROR
        return super().on_deactivate(state)

    @_never_silent
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model and close the topics."""
        self._release()
        self._health.begin_anew()  # nothing fails any more
        return super().on_cleanup(state)

    @_never_silent
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything, from any state."""
        self._release()
        return super().on_shutdown(state)

    @_never_silent
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything and go back to unconfigured, from where configure tries again."""
        self._release()
        self._broken = False
        return TransitionCallbackReturn.SUCCESS

    def _release(self, join_timeout_s: float = JOIN_TIMEOUT_S) -> None:
        atexit.unregister(self._release)
        self._active = False
        self._health.images_dropped(self._frames.close())
        # Each is forgotten before it is closed: what raises then is not closed once more.
        segmenter, self._segmenter = self._segmenter, None
        if self._thread is not None:
            thread, self._thread = self._thread, None
            thread.join(join_timeout_s)  # closes the segmenter; one that hangs keeps it
        elif segmenter is not None:
            segmenter.close()
        if self._input is not None:
            image_input, self._input = self._input, None
            image_input.close()
        if self._outputs is not None:
            outputs, self._outputs = self._outputs, None
            outputs.close()

    # Images

    def _on_image(self, message: Any, missed: int) -> None:
        if not self._active or not self._enabled:
            return
        self._health.image_received(missed)
        self._health.images_dropped(self._frames.put(message))

    def _run_inference(self, parts: Parts) -> None:
        while (message := parts.frames.take()) is not None:
            try:
                self._answer(message, parts)
            except Exception as error:
                if self.context.ok() and self._active and not parts.frames.closed:
                    self._inference_failed(error)
                else:
                    self._health.images_dropped(1)
        parts.segmenter.close()  # here, where nothing else uses it

    def _answer(self, message: Any, parts: Parts) -> None:
        settings = self._settings
        age_s = self._age_s(message)
        if age_s is not None and settings.max_image_age and age_s > settings.max_image_age:
            reason = f'{age_s:.2f} s old, max_image_age is {settings.max_image_age} s'
            self._health.image_too_old(reason)
            self._warn(f'dropped an image: {reason}')
            return
        try:
            image = parts.input.to_bgr(message)
        except ImageError as error:
            reason = f'{parts.input.topic}: {error} ({image_msgs.describe(message)})'
            self._health.image_rejected(reason)
            self._warn(f'rejected an image: {reason}')
            return
        segmenter, outputs = parts.segmenter, parts.outputs
        segmenter.threshold = self._threshold(segmenter)
        started = time.perf_counter()
        tint = None
        if outputs.wants_overlay():
            tint = Tint(settings.overlay_color, settings.overlay_alpha)
        result = segmenter.submit(image, outputs.wants_confidence(), tint)()
        inference_ms = 1e3 * (time.perf_counter() - started)
        if parts.frames.closed or not (self._active and self._enabled):  # meanwhile
            self._health.images_dropped(1)
            return
        try:
            outputs.publish(result, message.header)
        except ImageError as error:
            self._warn(f'no compressed overlay: {error}')
        age_s = self._age_s(message)
        self._health.mask_published(inference_ms, None if age_s is None else 1e3 * age_s)

    def _inference_failed(self, error: Exception) -> None:
        reason = f'{type(error).__name__}: {error}'
        in_a_row = self._health.inference_failed(reason)
        self.get_logger().error(f'inference failed: {reason}', **self._throttle)
        if in_a_row >= ERRORS_IN_A_ROW:
            self._broken = True  # the supervision timer takes the node to its error state

    def _threshold(self, segmenter: RoadSegmenter) -> float:
        threshold = self._settings.threshold
        return segmenter.info.threshold if threshold < 0 else threshold

    def _age_s(self, message: Any) -> float | None:
        """Return now - stamp in seconds, negative if it is to come; None without a stamp."""
        if not (stamp_ns := image_msgs.stamp_ns(message)):
            return None
        return (self.get_clock().now().nanoseconds - stamp_ns) / 1e9

    # Services, parameters, timers

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> Any:
        changed = request.data != self._enabled
        self._enabled = request.data
        if not self._enabled:
            self._health.images_dropped(self._frames.clear())
        if changed and self._active:
            self._health.begin_anew()  # the wait for images begins anew
        response.success = True
        if not self._enabled:
            response.message = 'paused'
        else:
            response.message = 'running' if self._active else 'enabled, but the node is not active'
        return response

    def _on_set_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        if problem := parameters.broken_rule(changes):
            return SetParametersResult(successful=False, reason=problem)
        self._settings = self._settings.changed(changes)
        later = [c.name for c in changes if c.name in BY_NAME and BY_NAME[c.name].effect != LIVE]
        if later and self._segmenter is not None:
            # Not as the result's reason: rclpy drops that of a success.
            self.get_logger().warning(f'{", ".join(later)}: takes effect at the next configure')
        return SetParametersResult(successful=True)

    def _supervise(self) -> None:
        if self._broken and self._active:
            self.get_logger().error(
                f'{ERRORS_IN_A_ROW} inferences in a row failed; unloading the model. Check '
                'device, engine, precision and free memory, then configure and activate again, or '
                'start the node again: a GPU that failed works in no process that used it'
            )
            self.trigger_deactivate()
        elif self._input is not None:
            self._input.match_publishers()

    def _publish_diagnostics(self) -> None:
        values = self._health.values()
        hardware_id = ''
        if self._segmenter is not None:
            engine = self._segmenter.engine
            hardware_id = engine.device
            values |= {
                'device': engine.device,
                'engine': engine.name,
                'precision': engine.precision,
                'model': self._segmenter.info.describe(),
                'threshold': f'{self._threshold(self._segmenter):.3f}',
            }
        situation = Situation(
            lifecycle_state=self._state_machine.current_state[1],
            enabled=self._enabled,
            no_image_timeout=self._settings.no_image_timeout,
            no_image_reason=self._input.why_silent() if self._input is not None else '',
            configure_problem=self._configure_problem,
        )
        level, message = self._health.status(situation)
        self._tell(level, message)
        self._tell_of_rivals()
        stamp = self.get_clock().now().to_msg()
        name, report = self.get_fully_qualified_name(), Report(message, values)
        self._diagnostics.publish(write_report(stamp, name, hardware_id, level, report))

    def _tell(self, level: bytes, message: str) -> None:
        """Log once what the diagnostics warn of every second, unless it is soon over."""
        trouble = ''
        if self._active and level == DiagnosticStatus.WARN:
            trouble = re.sub(r'\d+', '', message)  # how long it lasts is no other trouble
        self._troubled_reports = self._troubled_reports + 1 if trouble == self._trouble else 1
        self._trouble = trouble
        if trouble and self._troubled_reports == LOG_AT_REPORT:
            self.get_logger().warning(message)

    def _tell_of_rivals(self) -> None:
        """Log once that masks of another node mix with this one's."""
        outputs, now = self._outputs, time.monotonic()
        rivals = outputs.rivals() if outputs is not None and self._active else []
        if not rivals:
            self._unrivalled = now
        elif self._unrivalled is not None and now - self._unrivalled > RIVAL_S:
            self._unrivalled = None
            self.get_logger().warning(
                f'{", ".join(rivals)} publishes {self.resolve_topic_name("~/mask")} too: whoever '
                'subscribes gets the masks of both; is this node running twice?'
            )

    def _warn(self, text: str) -> None:
        self.get_logger().warning(text, **self._throttle)

    def start(self) -> bool:
        """Configure and activate. False if that failed; the reason has been logged."""
        self._autostart.cancel()
        return (
            self.trigger_configure() == TransitionCallbackReturn.SUCCESS
            and self.trigger_activate() == TransitionCallbackReturn.SUCCESS
        )

    def destroy_node(self) -> None:
        """Free everything, then the node."""
        self._release()
        super().destroy_node()
        # rclpy leaves it to the garbage collector; until then the graph would show the node.
        self._state_machine.destroy_when_not_in_use()
