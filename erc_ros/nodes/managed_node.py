"""What both nodes have in common: lifecycle, parameters, autostart, diagnostics, QoS complaints."""

from __future__ import annotations

import gc
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from copy import copy
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from erc_msgs.srv import OptOut
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import InvalidParameterValueException
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile, qos_policy_name_from_kind
from rclpy.qos_overriding_options import QoSOverridingOptions

from erc_ros.nodes import diagnostics
from erc_ros.nodes.complaints import Complaints
from erc_ros.nodes.consent import RecordingConsent
from erc_ros.nodes.decoding import DecodingGuard
from erc_ros.nodes.diagnostics import Growth
from erc_ros.nodes.event_log import EventLog, Field
from erc_ros.nodes.inbox import Item
from erc_ros.nodes.memory import give_memory_back
from erc_ros.nodes.parameters import NodeParameters
from erc_ros.values.deployment import UNSET, DeploymentConfig
from erc_ros.values.errors import safe_message
from erc_ros.values.opt_outs import OptOutError, OptOuts, listed
from erc_ros.values.settings import Value

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

RCLError = rclpy_implementation.RCLError
SHOWN_TOPICS = 3  # in a diagnosis
REPORT_PERIOD = 1.0  # s between two diagnostics


class ManagedNode(LifecycleNode, ABC):
    """A lifecycle node with one worker behind it. A subclass says what the transitions do.

    Args:
        kind: name of the node (`parameters.NODES`).
        defaults: other parameter defaults than the config's.
        consent: of another node of this process; None: this node makes its own.
        opt_outs: the same.
        shared: parameters of robot-wide sections, see `NodeParameters`.
        options: passed on to LifecycleNode (namespace, context, parameter_overrides, ...).
    """

    def __init__(
        self,
        kind: str,
        defaults: Mapping[str, Value] | None = None,
        consent: RecordingConsent | None = None,
        opt_outs: OptOuts | None = None,
        shared: Collection[str] = (),
        **options: Any,
    ) -> None:
        super().__init__(kind, **options)
        self._refuse_invalid_transitions()
        self.configured = False
        self.active = False
        self.ending = False  # set when the process ends: what was loaded is not activated any more
        self._finalized = False
        self._problem = ""
        self.undecodable: Counter[str] = Counter()  # topic -> messages
        self._undecodable_growth = Growth()
        self.complaints = Complaints(self.get_logger().warning)
        self.parameters = NodeParameters(self, kind, lambda: self.configured, defaults, shared)
        # These timers measure real time, also while a simulated clock is stopped.
        self.steady = Clock(clock_type=ClockType.STEADY_TIME)
        # For the whole life of the node: a transition must not forget what was not allowed.
        self.events = EventLog(
            self.parameters["event_log"], kind, lambda text: self.complain("event_log", text)
        )
        self.consent = consent or RecordingConsent(
            self,
            self.parameters["recording_allowed"],
            lambda allowed: self.events.write("recording_allowed", allowed=allowed),
        )
        self.opt_outs = self._opted_out() if opt_outs is None else opt_outs
        self.create_service(OptOut, "~/opt_out", self._opt_out)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.create_timer(
            REPORT_PERIOD,
            self._report,
            clock=self.steady,
            callback_group=MutuallyExclusiveCallbackGroup(),
        )
        self._start_timer = (
            self.create_timer(0.0, self._start_by_itself, clock=self.steady)
            if self.parameters["autostart"]
            else None
        )

    # What a subclass does -------------------------------------------------------------------

    @abstractmethod
    def load(self) -> None:
        """Make everything that is needed; an exception is the reason of a failed configure."""

    @abstractmethod
    def start(self) -> None:
        """Begin to listen and to work."""

    @abstractmethod
    def stop(self) -> None:
        """Stop listening, finish what waits. May be called when nothing was started."""

    @abstractmethod
    def release(self) -> None:
        """Give back what load() made. May be called when nothing was loaded."""

    @abstractmethod
    def statuses(self, now: int) -> list[DiagnosticStatus]:
        """Diagnostics while configured; now: ns on the monotonic clock."""

    def event_fields(self) -> dict[str, Field]:
        """What the events of activation and deactivation have: versions and counters."""
        return {}

    # Where it is used, and about whom nothing is inferred --------------------------------------

    @property
    def deployment(self) -> DeploymentConfig:
        """Where the node is used, as the parameters say.

        Raises:
            DeploymentError: use that is prohibited.
        """
        p = self.parameters
        return DeploymentConfig(p["deployment_context"], p["deployment_exception"], p["modalities"])

    def _opted_out(self) -> OptOuts:
        given = self.parameters["opted_out"]
        try:
            return OptOuts(listed(given))
        except OptOutError as error:
            raise InvalidParameterValueException("opted_out", given, str(error)) from error

    def _opt_out(self, request: OptOut.Request, response: OptOut.Response) -> OptOut.Response:
        # In the callback: what waits in the queue is covered as well.
        try:
            self.opt_outs.change(request.id, request.opted_out)
        except OptOutError as error:
            response.success, response.message = False, str(error)
            return response
        self.events.write("opt_out", opted_out=request.opted_out, ids=len(self.opt_outs))
        effect = "nothing is inferred about this person" if request.opted_out else "withdrawn"
        response.success, response.message = True, f"{effect} from now on"
        return response

    # Transitions ----------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load, check and warm up what the parameters name.

        Returns:
            SUCCESS: the node is inactive and ready.
            FAILURE: something is missing or broken, the log and /diagnostics say what; the node
            stays unconfigured, and can be configured again after the parameters are corrected.
        """
        try:
            self.load()
        except Exception as error:  # noqa: BLE001  (rclpy would swallow it without a word)
            self.release()
            self._problem = f"cannot be configured: {error}"
            self.get_logger().error(self._problem)
            return TransitionCallbackReturn.FAILURE
        self._problem = ""
        self.configured = True
        deployment = self.deployment
        if advice := deployment.advice():
            logger = self.get_logger()
            (logger.info if deployment.is_set else logger.warning)(advice)
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Publish, subscribe and start the worker.

        Returns:
            SUCCESS: the node works.
            FAILURE: it could not start, the log says why; the node stays inactive.
        """
        super().on_activate(state)  # publishers first, so that nothing is lost
        try:
            self.start()
        except Exception as error:  # noqa: BLE001  (see on_configure)
            self.stop()
            super().on_deactivate(state)
            self._problem = f"cannot be activated: {error}"
            self.get_logger().error(self._problem)
            return TransitionCallbackReturn.FAILURE
        self._problem = ""
        self.active = True
        deployment = self.deployment
        self.events.write(
            "activated",
            deployment_context=deployment.deployment_context,
            deployment_exception=deployment.deployment_exception,
            modalities=list(deployment.permitted()),
            recording_allowed=self.consent.allowed,
            opted_out=len(self.opt_outs),
            **self.event_fields(),
        )
        # What was loaded stays: looking through it for garbage would take 30 ms every time.
        gc.collect()
        gc.freeze()
        return TransitionCallbackReturn.SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe, finish and publish what was heard until now, stop the worker.

        Returns:
            SUCCESS, always: the node is inactive, what was loaded stays loaded.
        """
        self.active = False
        self.stop()
        self.events.write("deactivated", **self.event_fields())
        super().on_deactivate(state)
        return TransitionCallbackReturn.SUCCESS

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release what was loaded: models, history, publishers.

        Returns:
            SUCCESS, always: the node is unconfigured, parameters can be set again.
        """
        self.configured = False
        self.release()
        gc.unfreeze()
        gc.collect()  # of the objects that were frozen: their cycles hold models and messages
        give_memory_back()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and release, from any state.

        Returns:
            SUCCESS, always: the node is finalized.
        """
        self._finalized = True
        return self._end()

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and release after a transition that raised.

        Returns:
            SUCCESS, always: the node is unconfigured and can be configured again.
        """
        return self._end()

    def _end(self) -> TransitionCallbackReturn:
        self.active = self.configured = False
        self.stop()
        self.release()
        return TransitionCallbackReturn.SUCCESS

    def _refuse_invalid_transitions(self) -> None:
        """Answer a transition that is not possible with "no success".

        Before rclpy 9 it raises in the service's callback and ends the process (rclpy #1209).
        """
        service = self._service_change_state
        change = service.callback

        def guarded(request: Any, response: Any) -> Any:
            try:
                return change(request, response)
            except RCLError as error:
                self.get_logger().error(f"cannot change the state: {error}")
                response.success = False
                return response

        service.callback = guarded

    def close(self) -> None:
        """End from any state and leave the ROS graph."""
        if self.active:
            self.trigger_deactivate()
        if self.configured:
            self.trigger_cleanup()
        self.destroy_node()

    def _start_by_itself(self) -> None:
        # As the first callback while spinning, like a request from outside.
        assert self._start_timer is not None
        self._start_timer.cancel()
        if self.configured or self.active or self.ending:
            return
        configured = self.trigger_configure() == TransitionCallbackReturn.SUCCESS
        if configured and not self.ending:
            self.trigger_activate()

    # Topics ---------------------------------------------------------------------------------

    def publish_on(self, message_type: type, topic: str, qos: QoSProfile) -> Any:
        """A lifecycle publisher whose QoS can be overridden by parameters."""
        return self.create_lifecycle_publisher(
            message_type,
            topic,
            copy(qos),  # an override changes it in place
            event_callbacks=PublisherEventCallbacks(
                incompatible_qos=lambda event: self._incompatible(topic, "publisher", event)
            ),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

    def subscribe_to(
        self,
        message_type: type,
        topic: str,
        receive: Callable[..., None],
        qos: QoSProfile,
        matched: bool = False,
        informed: bool = False,
    ) -> Any:
        """A subscription whose QoS can be overridden by parameters.

        informed: `receive` takes what rclpy tells about a message, too.

        matched: `qos` was taken from the publishers, and may be another one next time. Then the
        parameters are declared only where one was set: they keep the value of the first time.
        """
        prefix = f"qos_overrides.{self.resolve_topic_name(topic)}.subscription."
        is_overridden = any(name.startswith(prefix) for name in self._parameter_overrides)
        options = None
        if is_overridden or not matched:
            options = QoSOverridingOptions.with_default_policies()
        resolved = self.resolve_topic_name(topic)
        guard = DecodingGuard(lambda: self._undecodable_message(resolved, message_type))

        def receive_message(message: Any) -> None:
            guard.decoded()
            receive(message)

        def receive_with_info(message: Any, info: Any) -> None:
            guard.decoded()
            receive(message, info)

        return self.create_subscription(
            message_type,
            topic,
            receive_with_info if informed else receive_message,
            copy(qos),  # see publish_on
            callback_group=guard,
            event_callbacks=SubscriptionEventCallbacks(
                incompatible_qos=lambda event: self._incompatible(topic, "subscription", event)
            ),
            qos_overriding_options=options,
        )

    def _undecodable_message(self, topic: str, message_type: type) -> None:
        self.undecodable[topic] += 1
        self.complain(
            f"{topic} undecodable",
            f"{topic}: a message could not be decoded as {message_type.__name__}: does its "
            "publisher have the same definition of the type?",
        )

    def _incompatible(self, topic: str, side: str, event: Any) -> None:
        resolved = self.resolve_topic_name(topic)
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        other = "publisher" if side == "subscription" else "subscription"
        self.complain(
            resolved,
            f"a {other} of {resolved} does not fit this node's QoS ({policy}), nothing comes "
            f"through: change it there, or set this node's parameter "
            f"qos_overrides.{resolved}.{side}.{policy.lower()} before it is activated",
        )

    # What went wrong ------------------------------------------------------------------------

    def complain(self, about: str, text: str) -> None:
        """Log a warning, unless there were enough of them about the same thing (`Complaints`)."""
        self.complaints.tell(about, text)

    def failed(self, item: Item, error: Exception) -> None:
        """An input could not be handled: say so; the worker carries on."""
        self.complain(item.input, f"{item.input}: {safe_message(error)}")

    def waits_for_clock(self) -> bool:
        """Is time simulated, and has no time been published yet, or by no publisher any more?"""
        if not self.get_parameter("use_sim_time").value:
            return False
        return not self.get_clock().now().nanoseconds or not self.count_publishers("/clock")

    def _report(self) -> None:
        name = self.get_fully_qualified_name().strip("/")  # two robots have two
        statuses = self.statuses(time.monotonic_ns()) if self.configured else []
        state = "active" if self.active else "inactive" if self.configured else "unconfigured"
        state = "finalized" if self._finalized else state
        problems = [diagnostics.error(self._problem)] if self._problem else []
        undecodable = self.undecodable.total()
        if new := self._undecodable_growth.recent(undecodable, time.monotonic_ns()):
            topics = ", ".join(sorted(self.undecodable)[:SHOWN_TOPICS])
            problems.append(diagnostics.warning(f"{new} messages could not be decoded: {topics}"))
        if self.waits_for_clock():
            text = "use_sim_time is true and nothing is published on /clock: play the recording "
            text += "with --clock, or set use_sim_time to false"
            problems.append(diagnostics.warning(text))
        if self.parameters["deployment_context"] == UNSET:
            text = "deployment_context is not set: emotions are estimated from text only"
            problems.append(diagnostics.warning(text))
        values = {
            "state": state,
            "deployment_context": self.parameters["deployment_context"],
            "opted_out": len(self.opt_outs),
            "undecodable": undecodable,
            "not_logged": self.complaints.left_out,
            "recording_allowed": self.consent.allowed,
        }
        statuses.insert(0, diagnostics.status("state", values, problems, fine=state))
        for entry in statuses:
            entry.name = f"{name}: {entry.name}"
        stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(diagnostics.array(stamp, statuses))
