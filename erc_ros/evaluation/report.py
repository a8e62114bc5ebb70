"""The report of an evaluation: one HTML file with audio, without any network access.

Jinja makes the page (templates/report.html), matplotlib its diagrams as SVG. Audio is stored in it
as Opus and faces as JPEG; above `media.INLINE` bytes in total they are separate files. All input
(names, labels, texts) is escaped, and the page allows no script but its own.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from erc_ros.evaluation.agreement_command import in_words
from erc_ros.evaluation.media import Media
from erc_ros.evaluation.names import clean
from erc_ros.evaluation.page import View, css_of, emotions_of, figures, groups, labels_of
from erc_ros.evaluation.pictures import score_pictures
from erc_ros.evaluation.records import Recording, Scores
from erc_ros.evaluation.results import headline
from erc_ros.evaluation.study import condition_lines
from erc_ros.replay.provenance import lines
from erc_ros.values.files import write_whole

REPORT = "report.html"
MEDIA_FOLDER = "report_media"  # folder next to the report, for media that are too large for it
PAGE = 200  # rows that the table shows at first


def write_report(
    recordings: Sequence[Recording],
    scores: Scores,
    folder: Path,
    with_text: bool = True,
    with_media: bool = True,
    sounds: Mapping[str, Path] | None = None,
    made_with: Mapping[str, Any] | None = None,
    agreement: Mapping[str, Mapping[str, Any]] | None = None,
    conditions: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> Path:
    """Write `folder`/report.html (and `report_media`, see `media.INLINE`) and return it.

    Predictions of several systems for one recording are shown side by side. The same arguments give
    the same bytes.

    Args:
        with_text: False excludes all words. with_media: False excludes audio and faces.
        sounds: name of a recording -> its audio as WAV (mono, 16 bit, 16 kHz) from its first
            message on, so that missed segments can be played; None: the predictions' audio.
        made_with: versions, hashes and parameters, shown at the end.
        agreement, conditions: system -> as in scores.json.

    Raises:
        ValueError: a WAV file of another format.
        OSError: the folder cannot be written to; an earlier report is then unchanged.
    """
    media = Media(with_media)
    names = dict.fromkeys(recording.name for recording in recordings)
    views = []
    for name in names:
        systems = [r for r in recordings if r.name == name]
        views.append(View(systems, with_text, media, (sounds or {}).get(name)))
    emotions = emotions_of(label for r in recordings for label in labels_of(r))
    folder.mkdir(parents=True, exist_ok=True)
    inline, beside = media.placed()
    environment = Environment(
        loader=PackageLoader("erc_ros.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = _template("report.js", environment)
    pages = [view.page(emotions) for view in views]
    page = environment.get_template("report.html").render(
        title=", ".join(map(clean, names)) if len(names) <= 3 else f"{len(names)} recordings",
        systems=[clean(each.system) for each in scores.systems],
        settings=[(clean(k), clean(v)) for k, v in sorted(scores.settings.items())],
        headlines=[
            (clean(each.system), headline(each, recordings, (agreement or {}).get(each.system)))
            for each in scores.systems
        ],
        figures=figures(scores, agreement),
        has_agreement=bool(agreement),
        agreement=[clean(in_words(name, each)) for name, each in (agreement or {}).items()],
        conditions=[
            clean(f"{name}: {line}" if len(scores.systems) > 1 else line)
            for name, each in (conditions or {}).items()
            for line in condition_lines(each)
        ],
        interval=next(
            (f.interval for each in scores.systems for f in each.figures.values() if f.interval), ""
        ),
        comparisons=bool(scores.comparisons),
        groups=groups(scores),
        pictures=score_pictures(scores.systems),
        recordings=pages,
        emotions=list(emotions.values()),
        made_with=[(clean(name), clean(value)) for name, value in lines(made_with or {})],
        page_rows=PAGE,
        data={"beside": MEDIA_FOLDER, "page": PAGE, "recordings": [page["data"] for page in pages]},
        media=inline,
        with_text=with_text,
        with_media=with_media,
        style=Markup(_template("report.css", environment, patterns=Markup(css_of(emotions)))),
        script=Markup(script),
        script_hash=Markup(f"'sha256-{_sha256(script)}'"),
    )
    _write_beside(folder / MEDIA_FOLDER, beside)
    write_whole(folder / REPORT, page.encode())
    return folder / REPORT


def _template(name: str, environment: Environment, **values: Any) -> str:
    return environment.get_template(name).render(values)


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _write_beside(folder: Path, files: Mapping[str, bytes]) -> None:
    if files:
        folder.mkdir(exist_ok=True)
    for name, content in files.items():
        write_whole(folder / name, content)
    if folder.is_dir():  # of an earlier report
        for old in sorted(folder.iterdir()):
            if old.name not in files and old.suffix in (".ogg", ".jpg"):
                old.unlink()
