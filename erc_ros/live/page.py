"""A local web page that shows a live session, or a running robot (`robot_page`).

The server listens only on 127.0.0.1. Its address contains a random token, so that other users and
other web pages of this machine cannot guess it, and requests with another host name are refused
(DNS rebinding). Actions also need the page's own origin. Nothing is stored, and the page loads no
external resources.
"""

from __future__ import annotations

import hmac
import json
import secrets
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any

import cv2

from erc_ros.live.session import Observer
from erc_ros.pipeline import Pipeline
from erc_ros.replay.rows import Row
from erc_ros.sensing.faces import FaceObservation
from erc_ros.sensing.frames import Frame
from erc_ros.sensing.images import ImageError, to_bgr
from erc_ros.values.bounds import ID
from erc_ros.values.errors import ErcValueError
from erc_ros.values.nanoseconds import NS, seconds
from erc_ros.values.utterance import speaker_name
from erc_ros.values.why import explain, indicated

HOST = "127.0.0.1"
SHOWN_ROWS = 30
MAX_BODY = 8192  # bytes of an action
MAX_VIEWERS = 8  # pages that are open at the same time
_PERIOD = 0.1  # s between two states
_ALIVE = 5.0  # s after which a state is repeated, which detects closed pages
_NOTES = 20
_RECENT = seconds(10.0)  # for which an emotion is shown at a face
_SEEN = NS  # for which a box is shown after a detection


@dataclass(frozen=True, slots=True)
class Action:
    """What a person who looks at the page requires. speaker: "" where it does not matter."""

    name: str
    id: str
    speaker: str = ""

    @classmethod
    def read(cls, data: bytes, names: Collection[str]) -> Action:
        """The action of a request, which has one of these names.

        Raises:
            ValueError: the data has another form.
        """
        try:
            action = cls(**json.loads(data))
        except (TypeError, RecursionError) as error:
            raise ErcValueError("must be an object with name, id and speaker") from error
        texts = (action.name, action.id, action.speaker)
        if not all(isinstance(text, str) and len(text) <= ID for text in texts):
            raise ErcValueError(f"name, id and speaker must be texts of at most {ID} characters")
        if action.name not in names or not action.id:
            raise ErcValueError(f"name must be one of {', '.join(names)}, and id not be empty")
        return action


class Page(ABC):
    """Serves the page in separate threads. It must be closed.

    Args:
        port: 0: any free one.

    Attributes:
        url: its address with the token. ACTIONS: names of actions that are accepted.
    """

    ACTIONS: Collection[str] = ()

    def __init__(self, port: int = 0) -> None:
        self._changed = threading.Condition()
        self._version = 0
        self._frame: Frame | None = None
        self._number = 0  # number of the frame
        self._rows: list[Row] = []
        self.is_over = False
        token = secrets.token_urlsafe(24)
        self._server = _Server(self, token, port)
        self.url = f"http://{HOST}:{self._server.server_port}/{token}/"
        threading.Thread(target=self._server.serve_forever, name="page", daemon=True).start()

    def close(self) -> None:
        """Notify the pages that the session has ended, and stop the server."""
        with self._changed:
            self.is_over = True
            self._change()
        self._server.shutdown()
        self._server.server_close()

    def _change(self) -> None:
        self._version += 1
        self._changed.notify_all()

    # --- to the page ---

    def wait(self, version: int, timeout: float) -> int:
        """Wait until the state is newer than `version`; return its version."""
        with self._changed:
            self._changed.wait_for(lambda: self._version != version, timeout)
            return self._version

    def state(self) -> dict[str, Any]:
        """Return the content of the page."""
        with self._changed:
            frame = self._frame
            return {
                "is_over": self.is_over,
                "image": self._number if frame else 0,
                "width": frame.width if frame else 0,
                "height": frame.height if frame else 0,
                "rows": [self._row(row) for row in reversed(self._rows)],
                **self._more(),
            }

    @abstractmethod
    def _more(self) -> dict[str, Any]:
        """Return what else the page shows: `speaking`, `notes`, `faces`; `people`."""

    @abstractmethod
    def _time(self, row: Row) -> str:
        """Return when it was spoken, as it is shown."""

    def jpeg(self) -> bytes:
        """Return the last image as JPEG; empty without an image."""
        with self._changed:
            frame = self._frame
        try:
            picture = None if frame is None else to_bgr(frame)
        except ImageError:
            return b""
        if picture is None:
            return b""
        _, data = cv2.imencode(".jpg", picture, (cv2.IMWRITE_JPEG_QUALITY, 80))
        return data.tobytes()

    def act(self, action: Action) -> tuple[bool, str]:
        """Do one of ACTIONS; return whether it was done, and a line about it."""
        raise NotImplementedError

    def _row(self, row: Row) -> dict[str, Any]:
        return {
            "time": self._time(row),
            "speaker": _speaker(row),
            "text": row.text,
            "label": row.label,
            "most_probable": row.most_probable,
            "confidence": row.confidence,
            "reasons": reasons(row),
        }


class LivePage(Page, Observer):
    """Shows a live session.

    Args:
        pipeline: provides the current speaker.
        port: see `Page`.
    """

    def __init__(self, pipeline: Pipeline, port: int = 0) -> None:
        self._pipeline = pipeline
        self._origin = 0
        self._faces: list[FaceObservation] = []
        self._notes: deque[str] = deque(maxlen=_NOTES)
        self._speaking = ""
        super().__init__(port)

    # --- from the session ---

    def begin(self, origin: int) -> None:
        """See `Observer`."""
        self._origin = origin

    def on_image(self, frame: Frame, faces: Sequence[FaceObservation]) -> None:
        """See `Observer`."""
        conversation, speaker = self._pipeline.perception.speaking()
        with self._changed:
            self._frame, self._number = frame, self._number + 1
            self._faces = [face for face in faces if abs(frame.stamp - face.stamp) <= _SEEN]
            self._speaking = f"{speaker_name(speaker)} speaks" if conversation and speaker else ""
            self._change()

    def estimate(self, row: Row, rows: Sequence[Row]) -> None:
        """See `Observer`."""
        with self._changed:
            self._rows = [each for each in rows if each.is_final][-SHOWN_ROWS:]
            self._change()

    def note(self, text: str) -> None:
        """See `Observer`."""
        with self._changed:
            self._notes.append(text)
            self._change()

    # --- to the page ---

    def _more(self) -> dict[str, Any]:
        return {
            "speaking": self._speaking,
            "notes": list(self._notes),
            "faces": [self._face(face) for face in self._faces],
        }

    def _time(self, row: Row) -> str:
        passed = max(0, row.start - self._origin) // NS
        return f"{passed // 60}:{passed % 60:02}"

    def _face(self, face: FaceObservation) -> dict[str, Any]:
        box = face.box
        place = {"x": box.x, "y": box.y, "width": box.width, "height": box.height}
        row = next((row for row in reversed(self._rows) if row.face_id == face.track_id), None)
        if row is None or face.stamp - row.end > _RECENT:
            return {**place, "text": ""}
        who, label = _speaker(row), row.label or "unknown"
        return {**place, "text": f"{who}: {label} {row.confidence:.0%}" if who else label}


def reasons(row: Row) -> list[str]:
    """Return sentences on what each modality indicates and the result without it."""
    first = indicated(row.why)
    return [*([first] if first else []), *explain(row.most_probable, row.why)]


def _speaker(row: Row) -> str:
    return speaker_name(row.speaker_id, row.person_id)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, page: Page, token: str, port: int) -> None:
        self.page, self.token = page, token
        self.viewers = threading.BoundedSemaphore(MAX_VIEWERS)
        super().__init__((HOST, port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors: a browser may close its connection."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 30
    server_version, sys_version = "erc", ""

    def do_GET(self) -> None:
        name = self._name()
        if name == "":
            self._page()
        elif name == "image.jpg" and (data := self.server.page.jpeg()):
            self._send("image/jpeg", data)
        elif name == "events":
            self._events()
        elif name is not None:
            self._refuse(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        name, page, size = self._name(), self.server.page, self.headers.get("Content-Length", "")
        if name is None:
            return
        if name != "act" or not page.ACTIONS:
            self._refuse(HTTPStatus.NOT_FOUND)
        elif self.headers.get("Origin") != f"http://{self.headers['Host']}":
            self._refuse(HTTPStatus.FORBIDDEN)
        elif not (size.isascii() and size.isdigit()):
            self._refuse(HTTPStatus.LENGTH_REQUIRED)
        elif len(size) > len(str(MAX_BODY)) or int(size) > MAX_BODY:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        else:
            try:
                action = Action.read(self.rfile.read(int(size)), page.ACTIONS)
            except ValueError:
                self._refuse(HTTPStatus.BAD_REQUEST)
                return
            is_done, message = page.act(action)
            reply = json.dumps({"is_done": is_done, "message": message})
            self._send("application/json", reply.encode())

    def _name(self) -> str | None:
        """What is requested of the page; None: the request was refused."""
        _, _, path = self.path.partition("/")
        token, _, name = path.partition("?")[0].partition("/")
        hosts = {f"{host}:{self.server.server_port}" for host in (HOST, "localhost")}
        is_known = hmac.compare_digest(token.encode(), self.server.token.encode())
        if is_known and self.headers.get("Host") in hosts:
            return name
        self._refuse(HTTPStatus.FORBIDDEN)
        return None

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing, because the address contains the token."""

    def _refuse(self, status: HTTPStatus) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _page(self) -> None:
        nonce = secrets.token_urlsafe(16)
        html = files("erc_ros.live").joinpath("page.html").read_text(encoding="utf-8")
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
            "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'"
        )
        data = html.replace("NONCE", nonce).encode()
        self._send("text/html; charset=utf-8", data, {"Content-Security-Policy": policy})

    def _head(self, kind: str, more: dict[str, str]) -> None:
        self.send_response(HTTPStatus.OK)
        headers = {
            "Content-Type": kind,
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "Cross-Origin-Resource-Policy": "same-origin",
        }
        for name, value in {**headers, **more}.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, kind: str, data: bytes, more: dict[str, str] | None = None) -> None:
        self._head(kind, {"Content-Length": str(len(data)), **(more or {})})
        self.wfile.write(data)

    def _events(self) -> None:
        if not self.server.viewers.acquire(blocking=False):
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)
            return
        try:
            self._head("text/event-stream", {})
            page, version = self.server.page, -1
            while True:
                version = page.wait(version, _ALIVE)
                state = page.state()
                self.wfile.write(f"data: {json.dumps(state)}\n\n".encode())
                self.wfile.flush()
                if state["is_over"]:
                    return
                threading.Event().wait(_PERIOD)
        except OSError:
            return  # the page was closed
        finally:
            self.server.viewers.release()
