"""`erc web`: real nodes over DDS, the page over HTTP."""

from __future__ import annotations

import http.client
import json
import threading
from array import array
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlparse

import pytest
from erc_msgs.msg import EmotionEstimate
from node_bench import Bench, finals, image_message, play
from sensor_msgs.msg import Image
from std_msgs.msg import Bool
from tones import scene

from erc_ros.cli import main
from erc_ros.live import robot_page
from erc_ros.live.page import MAX_BODY
from erc_ros.live.robot_page import RobotPage
from erc_ros.nodes import people

MakeBench = Callable[..., Bench]
PATIENCE = 30.0


@pytest.fixture
def robot(make_bench: MakeBench, tones: None) -> Iterator[tuple[Bench, RobotPage]]:
    """Nodes that expect no text, and their page."""
    bench = make_bench(parameters={"expect_text": "never"})
    page = RobotPage(bench.context)
    yield bench, page
    page.close()


def request(page: RobotPage, method: str, name: str, body: Any = None, **headers: str) -> Any:
    """(status, content)."""
    address = urlparse(page.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=PATIENCE)
    connection.request(method, name if name.startswith("/") else address.path + name, body, headers)
    answer = connection.getresponse()
    streamed = answer.headers.get_content_type() == "text/event-stream"
    content = answer.fp.readline() if streamed else answer.read()
    connection.close()
    return answer.status, content


def act(page: RobotPage, body: Any, **headers: str) -> tuple[int, Any]:
    """As the page's own script does."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    origin = "http://" + urlparse(page.url).netloc
    status, content = request(page, "POST", "act", data, **{"Origin": origin, **headers})
    return status, json.loads(content) if status == 200 else None


def state(page: RobotPage) -> Any:
    return json.loads(json.dumps(page.state()))


def test_the_page_shows_who_is_sensed_and_enrolls_forgets_and_opts_out(
    robot: tuple[Bench, RobotPage],
) -> None:
    bench, page = robot
    play(bench, scene((1, 9, 4), end=11), bench.now())
    bench.wait(lambda: finals(bench), "a person spoke")
    final = finals(bench)[-1]
    speaker = f"{final.conversation_id}/{final.speaker_id}"
    bench.wait(lambda: state(page)["rows"], "the estimate")
    bench.wait(lambda: speaker in [p["speaker"] for p in state(page)["people"]], "the speaker")
    status, line = request(page, "GET", "events")
    shown = json.loads(line.removeprefix(b"data: "))
    assert (
        status == 200 and shown["rows"][0]["label"] == bench.estimates[-1].label and shown["notes"]
    )
    status, reply = act(page, {"name": "enrol", "id": "Ada", "speaker": speaker})
    assert (status, reply["is_done"]) == (200, True)
    assert act(page, {"name": "forget", "id": "Ada"})[1]["is_done"]
    assert not state(page)["rows"]  # nothing of a forgotten person stays on the page
    assert not act(page, {"name": "forget", "id": "Ada"})[1]["is_done"]
    assert act(page, {"name": "opt-out", "id": speaker})[1]["is_done"]
    assert all(speaker in node.opt_outs.ids for node in bench.nodes)
    bench.wait(
        lambda: (
            state(page)["opted_out"] == 1
            and not any(person["speaker"] for person in state(page)["people"])
        ),
        "the opt-out",
    )
    assert act(page, {"name": "opt-in", "id": speaker})[1]["is_done"]
    assert not act(page, {"name": "opt-in", "id": "a stranger"})[1]["is_done"]


def test_the_image_goes_when_consent_does(robot: tuple[Bench, RobotPage]) -> None:
    bench, page = robot
    images = bench.talker(Image, "image_emotions", 1)
    allowed = bench.probe.create_publisher(Bool, "recording_allowed", 1)
    bench.wait(lambda: allowed.get_subscription_count(), "the nodes look for consent")
    for consent in (False, True):
        allowed.publish(Bool(data=consent))
        bench.wait(lambda c=consent: page._sensing.recording_allowed == c, "the consent")
    images.publish(Image(encoding="no such", height=2, width=2))
    images.publish(image_message(bench.now()))
    bench.wait(lambda: state(page)["width"] == 64, "the image")
    assert request(page, "GET", "image.jpg")[1].startswith(b"\xff\xd8")
    allowed.publish(Bool(data=False))
    bench.wait(lambda: not state(page)["image"], "the image is removed")
    images.publish(image_message(bench.now()))
    assert request(page, "GET", "image.jpg")[0] == 404


def test_messages_of_other_programs_do_not_reach_the_page(robot: tuple[Bench, RobotPage]) -> None:
    bench, page = robot
    estimates = bench.talker(EmotionEstimate, "emotions")
    fields: dict[str, Any] = {"labels": ["joy"], "is_final": True, "label": "joy"}
    estimates.publish(EmotionEstimate(**fields))  # a label without a probability
    estimates.publish(EmotionEstimate(**{**fields, "label": "x" * 300}, probabilities=[1.0]))
    text = "<script>alert(1)</script>"
    good = EmotionEstimate(**fields, probabilities=array("f", [1.0]), text=text)
    estimates.publish(good)
    bench.wait(lambda: state(page)["rows"], "the last one")
    assert [row["text"] for row in state(page)["rows"]] == [text]  # shown as text by the script
    assert b"innerHTML" not in request(page, "GET", "")[1]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b"[" * 5000,
        {"name": "opt-out"},
        {"name": "opt-out", "id": ""},
        {"name": "opt-out", "id": 7},
        {"name": "opt-out", "id": "x" * 257},
        {"name": "marry", "id": "anna"},
        {"name": "opt-out", "id": "anna", "speaker": None},
        {"name": "opt-out", "id": "anna", "namespace": "/other"},
    ],
)
def test_an_action_of_another_form_is_refused(robot: tuple[Bench, RobotPage], body: object) -> None:
    bench, page = robot
    assert act(page, body) == (400, None)
    assert not any(node.opt_outs.ids for node in bench.nodes)


def test_only_the_page_itself_can_act(
    robot: tuple[Bench, RobotPage], capfd: pytest.CaptureFixture[str]
) -> None:
    bench, page = robot
    address = urlparse(page.url)
    body, own = {"name": "opt-out", "id": "anna"}, f"http://{address.netloc}"
    data = json.dumps(body).encode()
    for origin in ("null", "http://evil.example", f"http://127.0.0.1:{address.port + 1}", own[:-1]):
        assert act(page, body, Origin=origin)[0] == 403
    assert request(page, "POST", "act", data)[0] == 403  # without an origin
    host = {"Host": f"evil.example:{address.port}"}
    assert act(page, body, Origin=f"http://evil.example:{address.port}", **host)[0] == 403
    for path in ("/act", "/x/act", f"{address.path[:-2]}/act"):  # without the token
        assert request(page, "POST", path, data, Origin=own)[0] == 403
    for name in ("", "events", "act/", "../act", "..%2f..%2fetc/passwd"):
        assert request(page, "POST", name, data, Origin=own)[0] == 404
    assert request(page, "GET", "act")[0] == 404
    assert act(page, b"", **{"Content-Length": str(MAX_BODY + 1)})[0] == 413
    assert act(page, b"", **{"Content-Length": "9" * 400})[0] == 413
    assert act(page, b"", **{"Content-Length": "-1"})[0] == 411
    assert not any(node.opt_outs.ids for node in bench.nodes)
    assert act(page, body)[1]["is_done"]
    told = "".join(capfd.readouterr())
    assert "anna" not in told and address.path.strip("/") not in told


def test_nodes_that_are_not_running_are_named(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people, "PATIENCE", 0.2)
    bench = make_bench()
    page = RobotPage(bench.context, "robot7")
    try:
        assert state(page)["speaking"] and not state(page)["people"]
        status, reply = act(page, {"name": "opt-out", "id": "anna"})
        assert status == 200 and not reply["is_done"]
        assert "/robot7/utterance_node/opt_out" in reply["message"]
    finally:
        page.close()


def test_the_command_serves_until_it_is_stopped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Stopped(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            address = urlparse(capsys.readouterr().out.split()[1])
            assert address.hostname == "127.0.0.1" and len(address.path) > 30
            connection = http.client.HTTPConnection("127.0.0.1", address.port, timeout=PATIENCE)
            connection.request("GET", address.path)
            assert connection.getresponse().status == 200
            return True

    class Signals:
        def __enter__(self) -> Stopped:
            return Stopped()

        def __exit__(self, *error: object) -> None: ...

    monkeypatch.setattr(robot_page, "stopped_by_signals", Signals)
    assert main(["web", "--namespace", "robot7"]) == 0
