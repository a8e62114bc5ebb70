"""Base class of both nodes: lifecycle, parameters, autostart, diagnostics, QoS warnings."""

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
from std_srvs.srv import Trigger

from erc_ros.nodes import diagnostics
from erc_ros.nodes.complaints import Complaints
from erc_ros.nodes.consent import RecordingConsent
from erc_ros.nodes.decoding import DecodingGuard
from erc_ros.nodes.diagnostics import Growth
from erc_ros.nodes.event_log import EventLog, Field
from erc_ros.nodes.inbox import Item
from erc_ros.nodes.memory import trim_heap
from erc_ros.nodes.parameters import NodeParameters
from erc_ros.nodes.restart_memory import Decisions, remember, remembered
from erc_ros.values.deployment import UNSET, DeploymentConfig
from erc_ros.values.errors import safe_message
from erc_ros.values.opt_outs import OptOutError, OptOuts, listed
from erc_ros.values.settings import Value

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

RCLError = rclpy_implementation.RCLError
SHOWN_TOPICS = 3  # in a diagnostic message
REPORT_PERIOD = 1.0  # s between two diagnostics


class ManagedNode(LifecycleNode, ABC):
    """A lifecycle node with one worker thread. Subclasses implement the transitions.

    Args:
        kind: name of the node (`parameters.NODES`).
        defaults: parameter defaults that replace those of the config.
        consent: consent of another node of this process; None: the node creates its own.
        opt_outs: likewise.
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
        self.ending = False  # set when the process ends: the node is not activated after loading
        self._finalized = False
        self._problem = ""
        self.undecodable: Counter[str] = Counter()  # topic -> messages
        self._undecodable_growth = Growth()
        self.complaints = Complaints(self.get_logger().warning)
        self.parameters = NodeParameters(self, kind, lambda: self.configured, defaults, shared)
        # These timers measure real time, also while a simulated clock is stopped.
        self.steady = Clock(clock_type=ClockType.STEADY_TIME)
        # Created once per node, so that no transition forgets that content is not allowed.
        self.events = EventLog(
            self.parameters["event_log"], kind, lambda text: self.complain("event_log", text)
        )
        former = self._remembered() if consent is None or opt_outs is None else Decisions()
        allowed = former.recording_allowed
        self.consent = consent or RecordingConsent(
            self,
            self.parameters["recording_allowed"] if allowed is None else allowed,
            self._consent_changed,
        )
        self.opt_outs = self._opted_out(former.opted_out) if opt_outs is None else opt_outs
        self.create_service(OptOut, "~/opt_out", self._opt_out)
        self.create_service(Trigger, "~/list_opt_outs", self._list_opt_outs)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.create_timer(
            REPORT_PERIOD,
            self._report,
            clock=self.steady,
            callback_group=MutuallyExclusiveCallbackGroup(),
        )
        self._start_timer = (
            self.create_timer(0.0, self._autostart, clock=self.steady)
            if self.parameters["autostart"]
            else None
        )

    # Implemented by subclasses ----------------------------------------------------------------

    @abstractmethod
    def load(self) -> None:
        """Load models and create publishers; an exception makes `configure` fail."""

    @abstractmethod
    def start(self) -> None:
        """Subscribe and start the worker."""

    @abstractmethod
    def stop(self) -> None:
        """Unsubscribe and finish queued work. May be called if nothing was started."""

    @abstractmethod
    def release(self) -> None:
        """Release what `load` created. May be called if nothing was loaded."""

    @abstractmethod
    def statuses(self, now: int) -> list[DiagnosticStatus]:
        """Return the diagnostics of a configured node; now: ns on the monotonic clock."""

    @abstractmethod
    def listens_on(self) -> list[str]:
        """Return the topics from which the active node takes its input, for the log."""

    @abstractmethod
    def has_person(self, name: str) -> bool | None:
        """Return whether a sensed person has this id; None: this process cannot know.

        Called by the executor, in any state of the node.
        """

    def event_fields(self) -> dict[str, Field]:
        """Return the fields (versions, counters) of activation and deactivation events."""
        return {}

    # Deployment and opt-outs --------------------------------------------------------------------

    @property
    def deployment(self) -> DeploymentConfig:
        """The deployment of the node, from its parameters.

        Raises:
            DeploymentError: this use is prohibited.
        """
        p = self.parameters
        return DeploymentConfig(p["deployment_context"], p["deployment_exception"], p["modalities"])

    def _remembered(self) -> Decisions:
        try:
            return remembered()
        except (ValueError, OSError) as error:
            self.get_logger().warning(
                "opt-outs and consent before the restart could not be read "
                f"({safe_message(error)}): repeat them"
            )
            return Decisions()

    def _remember(self, **changes: Any) -> None:
        try:
            remember(**changes)
        except OSError as error:
            self.complain(
                "restart", f"a restart would lose {', '.join(changes)}: {safe_message(error)}"
            )

    def _consent_changed(self, allowed: bool) -> None:
        self._remember(recording_allowed=allowed)
        self.events.write("recording_allowed", allowed=allowed)

    def _opted_out(self, former: Collection[str] | None) -> OptOuts:
        given = self.parameters["opted_out"]
        try:
            opt_outs = OptOuts(listed(given))
        except OptOutError as error:
            raise InvalidParameterValueException("opted_out", given, str(error)) from error
        if former is None:
            return opt_outs
        self.get_logger().info(f"after a restart, {len(former)} opt-outs still apply")
        return OptOuts(former)

    def _opt_out(self, request: OptOut.Request, response: OptOut.Response) -> OptOut.Response:
        # In the callback, so that it also applies to queued input.
        is_sensed = self.has_person(request.id.strip())
        try:
            is_new = self.opt_outs.change(request.id, request.opted_out, is_sensed is False)
        except OptOutError as error:
            response.success, response.message = False, str(error)
            return response
        self._remember(opted_out=sorted(self.opt_outs.ids))
        self.events.write("opt_out", opted_out=request.opted_out, ids=len(self.opt_outs))
        response.success = True
        if not request.opted_out:
            response.message = "withdrawn"
        elif not is_new:
            response.message = "this id has opted out already"
        elif is_sensed:
            response.message = "nothing is inferred about this person from now on"
        else:
            who = "person with a state" if is_sensed is None else "sensed person"
            response.message = f"accepted for later: no {who} has this id now"
        return response

    def _list_opt_outs(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        response.success, response.message = True, "\n".join(sorted(self.opt_outs.ids))
        return response

    # Transitions ----------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load, check and warm up the models that the parameters name.

        Returns:
            SUCCESS: the node is inactive and ready.
            FAILURE: something is missing or broken, see the log and /diagnostics; the node
            stays unconfigured, and can be configured again after the parameters are corrected.
        """
        try:
            self.load()
        except Exception as error:  # noqa: BLE001  (rclpy would silently discard it)
            self.release()
            self._problem = f"cannot be configured: {error}"
            name = self.get_fully_qualified_name()
            self.get_logger().error(
                f"{self._problem}. {name} waits: correct the cause, then start again, or "
                f"configure and activate it: ros2 lifecycle set {name} configure"
            )
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
            FAILURE: it could not start, see the log; the node stays inactive.
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
        self.get_logger().info(f"active; input: {', '.join(self.listens_on()) or 'none'}")
        # Loaded objects persist: collecting garbage among them would take 30 ms each time.
        gc.collect()
        gc.freeze()
        return TransitionCallbackReturn.SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe, finish and publish what was received until now, stop the worker.

        Returns:
            SUCCESS, always: the node is inactive, the models stay loaded.
        """
        self.active = False
        self.stop()
        self.events.write("deactivated", **self.event_fields())
        super().on_deactivate(state)
        return TransitionCallbackReturn.SUCCESS

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release models, history and publishers.

        Returns:
            SUCCESS, always: the node is unconfigured, parameters can be set again.
        """
        self.configured = False
        self.release()
        gc.unfreeze()
        gc.collect()  # cycles among the frozen objects hold models and messages
        trim_heap()
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
        """Respond to an impossible transition with success = false.

        Before rclpy 9, the service's callback raises and ends the process (rclpy #1209).
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
        """Deactivate, clean up and destroy the node, from any state."""
        if self.active:
            self.trigger_deactivate()
        if self.configured:
            self.trigger_cleanup()
        self.destroy_node()

    def _autostart(self) -> None:
        # The first callback while spinning, like an external request.
        assert self._start_timer is not None
        self._start_timer.cancel()
        if self.configured or self.active or self.ending:
            return
        configured = self.trigger_configure() == TransitionCallbackReturn.SUCCESS
        if configured and not self.ending:
            self.trigger_activate()

    # Topics ---------------------------------------------------------------------------------

    def publish_on(self, message_type: type, topic: str, qos: QoSProfile) -> Any:
        """Create a lifecycle publisher whose QoS can be overridden by parameters."""
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
        """Create a subscription whose QoS can be overridden by parameters.

        Args:
            matched: `qos` follows the publishers and may differ next time. Then the parameters,
                which keep their first value, are declared only if one was set.
            informed: `receive` also takes the message info of rclpy.
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
            f"{topic}: a message could not be decoded as {message_type.__name__}: check that its "
            "publisher uses the same definition of the type",
        )

    def _incompatible(self, topic: str, side: str, event: Any) -> None:
        resolved = self.resolve_topic_name(topic)
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        other = "publisher" if side == "subscription" else "subscription"
        self.complain(
            resolved,
            f"a {other} of {resolved} is incompatible with this node's QoS ({policy}), so no "
            f"message is transferred: change its QoS, or set this node's parameter "
            f"qos_overrides.{resolved}.{side}.{policy.lower()} before it is activated",
        )

    # Problems -------------------------------------------------------------------------------

    def complain(self, about: str, text: str) -> None:
        """Log a warning at a limited rate (see `Complaints`)."""
        self.complaints.tell(about, text)

    def failed(self, item: Item, error: Exception) -> None:
        """Log that an input could not be handled; the worker continues."""
        self.complain(item.input, f"{item.input}: {safe_message(error)}")

    def waits_for_clock(self) -> bool:
        """Whether time is simulated, but /clock has no message or no publisher."""
        if not self.get_parameter("use_sim_time").value:
            return False
        return not self.get_clock().now().nanoseconds or not self.count_publishers("/clock")

    def _report(self) -> None:
        name = self.get_fully_qualified_name().strip("/")  # two robots use different names
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
            "not_logged": self.complaints.skipped,
            "recording_allowed": self.consent.allowed,
        }
        statuses.insert(0, diagnostics.status("state", values, problems, fine=state))
        for entry in statuses:
            entry.name = f"{name}: {entry.name}"
        stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(diagnostics.array(stamp, statuses))
