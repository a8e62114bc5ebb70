"""Start of the system: processes, arguments, signals."""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from erc_msgs.msg import EmotionLabels
from erc_msgs.srv import OptOut
from node_bench import LATCHED, Bench
from std_msgs.msg import String
from std_srvs.srv import Trigger

from erc_ros.nodes import executables
from erc_ros.nodes.restart_memory import VARIABLE, Decisions, memory, remember, remembered
from erc_ros.nodes.run import command, main
from erc_ros.nodes.system import (
    PROFILE_VARIABLES,
    environment,
    mistyped,
    profile_variable,
    read_system,
)

REPOSITORY = Path(__file__).parents[2]
SYSTEM = read_system()
MakeBench = Callable[..., Bench]


@pytest.fixture
def erc_run() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `erc run` with arguments."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        line = [sys.executable, "-m", "erc_ros.nodes.run", *arguments]
        before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it would be ignored
        started.append(subprocess.Popen(line, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True))
        signal.signal(signal.SIGHUP, before)
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)


def first_estimate(bench: Bench, text: str) -> Any:
    """Says it again every 2 s: what processes send before all know each other is lost."""
    talker = bench.talker(String, "speech")
    due = 0.0

    def heard() -> list[Any]:
        nonlocal due
        if time.monotonic() >= due:
            talker.publish(String(data=text))
            due = time.monotonic() + 2.0
        return bench.estimates

    return bench.wait(heard, f"an estimate of {text!r}")[0]


@pytest.mark.parametrize("mode", SYSTEM.modes)
def test_both_modes_work_with_remapped_topics_and_end_with_a_signal(
    mode: str, make_bench: MakeBench, erc_run: Callable[..., Any], bundle: Path, tmp_path: Path
) -> None:
    parameters = tmp_path / "parameters.yaml"
    parameters.write_text(
        "/**/utterance_node: {ros__parameters: {speaker_model: none, expect_text: always}}"
    )
    bench = make_bench(nodes=lambda **_: [])
    process = erc_run(
        f"mode:={mode}",
        f"bundle:={bundle}",
        f"params_file:={parameters}",
        "namespace:=robot",
        "emotions:=/emotions",
        "speech:=/speech",
    )
    listeners = 1 if mode == "split" else 0
    labels = bench.listen(EmotionLabels, "/robot/emotion_labels", LATCHED)
    bench.wait(
        lambda: labels and bench.probe.count_subscribers("/robot/utterances") == listeners,
        "both nodes are ready",
        patience=30.0,
    )
    assert first_estimate(bench, "hello").bundle_name == "tiny"
    assert "/robot/utterance_node: state" not in bench.diagnoses
    running = {name for name, _ in bench.probe.get_node_names_and_namespaces()}
    assert {"utterance_node", "emotion_node"} <= running
    process.send_signal(signal.SIGINT if mode == "single" else signal.SIGTERM)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors and "hello" not in errors


def test_a_process_that_cannot_start_ends_the_system(
    erc_run: Callable[..., Any], tmp_path: Path
) -> None:
    process = erc_run("device:=abacus")
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "abacus" in errors and "emotion ended with status 1" in errors


@pytest.mark.parametrize(
    "argument", ["imgae:=/camera", "camera", "mode:=triple", "log_level:=loud"]
)
def test_a_wrong_argument_is_named(argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([argument]) == 2
    assert argument.partition(":=")[0] in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--params-file", "--bundle=x"])
def test_an_option_that_is_an_argument_is_written_as_one(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([option, "robot.yaml"])
    assert ended.value.code == 2
    name = option.lstrip("-").partition("=")[0].replace("-", "_")
    assert f"{name}:=" in capsys.readouterr().err


def test_arguments_become_remaps_and_parameters() -> None:
    values = SYSTEM.values({"image": "/camera/image_raw", "bundle": "/my bundle"})
    line = command(SYSTEM, "emotion", values)
    assert line[line.index("-r") + 1] == "image:=/camera/image_raw"
    assert line[line.index("-p") + 1] == "bundle:=/my bundle"
    assert "__ns" not in " ".join(line) and "--params-file" not in line


def test_arguments_go_over_the_parameter_file_and_a_mistyped_file_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "robot.yaml"
    file.write_text("{}")
    values = SYSTEM.values({"params_file": str(file), "device": "cpu"})
    assert SYSTEM.parameter_options(values) == ["--params-file", str(file), "-p", "device:=cpu"]
    assert main([f"params_file:={tmp_path / 'robto.yaml'}"]) == 2
    assert "robto.yaml does not exist" in capsys.readouterr().err


def test_the_documentation_shows_every_argument() -> None:
    page = (REPOSITORY / "docs/how-to/launch.md").read_text()
    for argument in SYSTEM.arguments.values():
        default = f"`{argument.default}`" if argument.default else ""
        assert f"| `{argument.name}` | {default} | {argument.description} |" in page


def test_a_profile_that_the_user_has_set_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROFILE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    profile = environment("fastdds_camera.xml")[profile_variable()]
    assert ElementTree.parse(profile).getroot().tag.endswith("dds")
    monkeypatch.setenv(PROFILE_VARIABLES[0], "/mine.xml")
    assert environment("fastdds_camera.xml") == {}
    monkeypatch.delenv(PROFILE_VARIABLES[0])
    with pytest.raises(FileNotFoundError, match=r"none\.xml"):
        environment("none.xml")
    assert environment("none") == {}


@pytest.mark.parametrize(("package", "variable"), [("fastdds", 0), ("fastrtps", 1)])
def test_the_profile_has_the_one_name_that_this_fast_dds_reads(
    package: str, variable: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in PROFILE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "share" / package).mkdir(parents=True)
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    monkeypatch.setattr(sys, "prefix", "/nowhere")
    assert list(environment("fastdds_camera.xml")) == [PROFILE_VARIABLES[variable]]


def test_none_switches_off_and_true_has_any_case() -> None:
    values = SYSTEM.values({"humans": "none", "respawn": "True", "fastdds_profile": "none"})
    assert values["respawn"] == "true"
    assert "humans_namespace:=''" in SYSTEM.parameter_options(values)


def test_every_executable_of_the_system_is_a_function_and_the_launch_file_compiles() -> None:
    for names in SYSTEM.modes.values():
        for name in names:
            assert callable(getattr(executables, name))
    file = REPOSITORY / "erc_ros/launch/emotion.launch.py"
    compile(file.read_text(), str(file), "exec")


class Recorded:
    """Stands for a class of launch, which PyPI lacks (test_launch.py runs the real one)."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.arguments, self.options = arguments, options

    def execute(self, context: Any) -> list[Any]:  # of an OpaqueFunction or a declared argument
        if "function" in self.options:
            return list(self.options["function"](context, *self.options.get("args", ())) or ())
        configurations = context.launch_configurations
        configurations.setdefault(self.arguments[0], self.options["default_value"])
        return []

    def perform(self, context: Any) -> str:  # of a LaunchConfiguration
        return str(context.launch_configurations[self.arguments[0]])


def launch_file(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The launch file as a module, with stand-ins for launch, which PyPI lacks."""
    names = {
        "launch": ("LaunchDescription",),
        "launch.actions": ("DeclareLaunchArgument", "LogInfo", "OpaqueFunction"),
        "launch.substitutions": ("LaunchConfiguration",),
        "launch_ros": (),
        "launch_ros.actions": ("Node",),
    }
    for module, classes in names.items():
        stand_in = types.ModuleType(module)
        for name in classes:
            setattr(stand_in, name, type(name, (Recorded,), {}))
        monkeypatch.setitem(sys.modules, module, stand_in)
    content: dict[str, Any] = runpy.run_path(str(REPOSITORY / "erc_ros/launch/emotion.launch.py"))
    return types.SimpleNamespace(**content)


def include(file: Any, configurations: dict[str, str]) -> list[Any]:
    """What launch does with an include of the file: the actions that follow from it."""
    context = types.SimpleNamespace(launch_configurations=configurations)
    (description,) = file.generate_launch_description().arguments
    return [action for entity in description for action in entity.execute(context)]


@pytest.mark.parametrize("mode", SYSTEM.modes)
def test_the_launch_file_passes_its_arguments_to_the_processes(
    mode: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in PROFILE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    file = launch_file(monkeypatch)
    parameters = tmp_path / "robot.yaml"
    parameters.write_text("{}")
    given = {"mode": mode, "device": "cpu", "params_file": str(parameters), "respawn": "True"}
    given |= {"audio": "/microphone", "namespace": "robot", "imgae": "/camera"}
    given |= {"ros_namespace": "/robot"}  # of PushRosNamespace
    warning, *nodes = include(file, given)
    assert "imgae" in warning.options["msg"] and "image" in warning.options["msg"]
    assert tuple(node.options["executable"] for node in nodes) == SYSTEM.modes[mode]
    before = dict(os.environ)
    for node in nodes:
        options = node.options
        line = options["arguments"]  # of which the later wins
        assert line[0] == "--ros-args" and "name" not in options
        assert line[line.index("--params-file") + 1] == str(parameters)
        assert line.index("--params-file") < line.index("device:=cpu")
        assert ("audio", "/microphone") in options["remappings"]
        assert options["respawn"] is True and options["namespace"] == "robot"
        # for these processes only
        assert set(options["additional_env"]) == {profile_variable(), VARIABLE}
    assert dict(os.environ) == before
    given["params_file"] = str(tmp_path / "robto.yaml")
    with pytest.raises(FileNotFoundError, match=r"robto\.yaml"):
        include(file, given)


def test_an_include_takes_nothing_from_another_one_and_changes_nothing_of_its_parent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = launch_file(monkeypatch)
    parent = {"mode": "mapping", "audio": "/mic1", "namespace": "one"}
    *_, first = include(file, parent)
    assert ("audio", "/mic1") in first.options["remappings"]
    assert parent == {"mode": "mapping", "audio": "/mic1", "namespace": "one"}
    parent |= {"namespace": "two"}  # the arguments of the second include
    *notes, second = include(file, parent)
    assert second.options["namespace"] == "two" and second.options["remappings"] == []
    assert any("audio" in note.options["msg"] for note in notes)
    parent |= {"audio": "/mic1"}  # given again: the same microphone is meant
    *_, third = include(file, parent)
    assert third.options["remappings"] == [("audio", "/mic1")]


def test_a_wrong_mode_on_the_command_line_of_the_launch_file_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["ros2", "launch", "erc_ros", "emotion.launch.py"])
    with pytest.raises(ValueError, match="triple"):
        include(launch_file(monkeypatch), {"mode": "triple"})


def test_this_run_has_a_separate_domain() -> None:
    assert os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    assert 10 <= int(os.environ["ROS_DOMAIN_ID"]) < 100


@pytest.mark.parametrize(
    "arguments", [["--log-level", "loud"], ["--params-file", "/nowhere.yaml"], ["--bogus"]]
)
def test_what_rcl_cannot_read_is_a_line_and_no_traceback(arguments: list[str]) -> None:
    line = [sys.executable, "-m", "erc_ros.nodes.executables", "emotion", "--ros-args"]
    line += arguments
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr and arguments[-1].strip("-/") in done.stderr


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="processes are tied together on Linux")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP])
def test_the_nodes_end_with_the_process_that_started_them(
    number: int, make_bench: MakeBench, erc_run: Callable[..., Any], bundle: Path
) -> None:
    bench = make_bench(nodes=lambda **_: [])
    process = erc_run(f"bundle:={bundle}", "mode:=split", "namespace:=tied")
    bench.wait(lambda: len(children(process.pid)) == 2, "both have begun")
    nodes = children(process.pid)
    if number == signal.SIGHUP:  # else: killed while they load
        bench.wait(lambda: bench.probe.count_publishers("/tied/emotions") == 1, "they are ready")
    process.send_signal(number)
    process.wait(20)
    bench.wait(lambda: not any(map(is_running, nodes)), "the nodes have ended, too")


@pytest.mark.parametrize("delay", [0.2, 0.7, 1.2, 1.8, 2.5])
def test_a_signal_at_any_time_of_the_start_ends_it_without_a_traceback(
    delay: float, bundle: Path
) -> None:
    line = [sys.executable, "-m", "erc_ros.nodes.executables", "emotion", "--ros-args"]
    line += ["-p", f"bundle:={bundle}", "-r", "__ns:=/early"]
    process = subprocess.Popen(line, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
    try:
        process.wait(delay)  # no condition can be waited for: any moment is meant
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    # Python itself tells of an interrupt that comes before a line of ours has run, and ends with 1.
    is_early = "KeyboardInterrupt" in errors and "executables.py" not in errors
    assert "Traceback" not in errors or is_early, errors
    assert process.returncode in (0, -signal.SIGINT) or (process.returncode == 1 and is_early)


def test_signals_that_follow_the_first_one_do_not_turn_a_clean_end_into_a_crash(
    make_bench: MakeBench, bundle: Path
) -> None:
    bench = make_bench(nodes=lambda **_: [])
    labels = bench.listen(EmotionLabels, "/impatient/emotion_labels", LATCHED)
    line = [sys.executable, "-m", "erc_ros.nodes.executables", "emotion", "--ros-args"]
    line += ["-p", f"bundle:={bundle}", "-r", "__ns:=/impatient"]
    process = subprocess.Popen(line, cwd=REPOSITORY, stderr=subprocess.DEVNULL)
    bench.wait(lambda: labels, "it runs", patience=60.0)
    process.send_signal(signal.SIGINT)

    def has_ended() -> bool:
        """Every 5 ms another signal, so that some arrive after the nodes are closed."""
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        return process.poll() is not None

    bench.wait(has_ended, "it ends")
    assert process.returncode == 0


def test_a_process_that_ended_is_restarted_with_respawn(
    make_bench: MakeBench, erc_run: Callable[..., Any], bundle: Path
) -> None:
    bench = make_bench(nodes=lambda **_: [])
    process = erc_run(f"bundle:={bundle}", "respawn:=true", "namespace:=robot")
    labels = bench.listen(EmotionLabels, "/robot/emotion_labels", LATCHED)
    bench.wait(lambda: labels, "it runs", patience=60.0)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    (first,) = children.read_text().split()
    for name in ("anna", "bob"):
        request = OptOut.Request(id=name, opted_out=True)
        assert bench.call(OptOut, "/robot/utterance_node/opt_out", request).success
    request = OptOut.Request(id="bob", opted_out=False)
    assert bench.call(OptOut, "/robot/emotion_node/opt_out", request).success
    os.kill(int(first), signal.SIGKILL)
    bench.wait(lambda: len(labels) == 2, "it runs again", patience=60.0)
    listed = bench.call(Trigger, "/robot/utterance_node/list_opt_outs", Trigger.Request())
    assert listed.message == "anna"
    assert children.read_text().split() != [first]
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 0 and "emotion ended with status -9" in errors


def test_opt_outs_are_in_memory_that_only_the_user_can_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    remember(opted_out=["anna"])
    assert remembered() == Decisions()  # without a process that restarts this one
    (file,) = (Path(path) for path in memory().values())
    monkeypatch.setenv(VARIABLE, str(file))
    assert remembered() == Decisions()
    remember(opted_out=["zoë", "anna"])
    remember(opted_out=["zoë"])
    assert remembered() == Decisions(("zoë",), None)
    remember(recording_allowed=False)
    assert remembered() == Decisions(("zoë",), False)
    assert file.stat().st_mode & 0o077 == 0 and file.stat().st_nlink == 0
    remember(opted_out=[])
    assert remembered() == Decisions((), False)


def test_a_node_starts_with_a_warning_where_former_opt_outs_cannot_be_read(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wrong = '{"opted_out": "anna", "recording_allowed": null}'
    for content in ('{"opted_out', "[1]", "{}", '"anna"', wrong):
        (tmp_path / "decisions").write_text(content)
        monkeypatch.setenv(VARIABLE, str(tmp_path / "decisions"))
        bench = make_bench(running=False, parameters={"opted_out": "bob", "autostart": False})
        assert bench.nodes[1].opt_outs.ids == {"bob"}
        bench.close()


def test_only_a_mistyped_argument_is_reported() -> None:
    given = {"imgae": "/camera", "bundel": "x", "mode": "split", "robot_description": "..."}
    given["ros_namespace"] = "/robot"
    assert mistyped(given, SYSTEM.arguments) == {"imgae": "image", "bundel": "bundle"}
