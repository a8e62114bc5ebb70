"""mkdocs hook: add pages outside docs/ and generated pages to the site.

The pages stay in the repository where GitHub and the links of README.md expect them.
"""

from __future__ import annotations

import html
import json
import os
import re
import sys
from pathlib import Path
from urllib.parse import quote

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import reference  # noqa: E402

# Page of the repository -> page of the site.
PAGES = {
    "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changelog.md",
    "SECURITY.md": "project/security.md",
    "USE.md": "project/use.md",
    "QUALITY_DECLARATION.md": "project/quality.md",
    **{
        f"erc_ros/models/{name}/README.md": f"project/models/{name}.md"
        for name in ("edge-small", "edge-open", "speaker-campplus", "segmentation")
    },
}
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Replace a folder in the navigation (`results/`) by its pages."""
    docs = Path(config.docs_dir)
    for entry in config.nav or []:
        for title, value in entry.items():
            if isinstance(value, str) and value.endswith("/"):
                pages = sorted((docs / value).glob("*.md"))
                pages.sort(key=lambda page: page.name != "index.md")
                entry[title] = [page.relative_to(docs).as_posix() for page in pages]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages to the site."""
    for source, uri in PAGES.items():
        content = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, uri, content=content))
    for name, make in reference.PAGES.items():
        files.append(File.generated(config, f"reference/{name}", content=make()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Convert links to pages of the site; a link to a source file becomes its plain name."""
    uri = page.file.src_uri
    places = {ROOT / source: uri for source, uri in PAGES.items()}
    sources = {uri: ROOT / source for source, uri in PAGES.items()}
    docs = Path(config.docs_dir)
    source = sources.get(uri, docs / uri)

    def resolve(match: re.Match[str]) -> str:
        mark, text, link = match.groups()
        path, hash_, anchor = link.partition("#")
        if not path or re.match(r"[a-z][a-z0-9+.-]*:", link):
            return match[0]
        target = (source.parent / path).resolve()
        if target in places:
            to = places[target]
        elif target.suffix in (".msg", ".srv"):
            to, hash_, anchor = "reference/messages.md", "#", target.stem.lower()
        elif docs in target.parents:
            to = target.relative_to(docs).as_posix()
        elif target == ROOT / "README.md":
            to = "index.md"
        else:
            return text if text.startswith("`") else f"{text} (`{target.relative_to(ROOT)}`)"
        return f"{mark}[{text}]({quote(os.path.relpath(to, os.path.dirname(uri)))}{hash_}{anchor})"

    return LINK.sub(resolve, markdown)


def on_post_build(config: MkDocsConfig) -> None:
    """Write the search index as JavaScript, as a page opened from disk cannot read JSON."""
    folder = Path(config.site_dir) / "search"
    docs = json.loads((folder / "search_index.json").read_text(encoding="utf-8"))["docs"]
    titles = {each["location"].partition("#")[0]: each["title"] for each in reversed(docs)}
    entries = [
        {
            "location": each["location"] or "index.html",
            "page": plain(titles[each["location"].partition("#")[0]]),
            "title": plain(each["title"]),
            "text": plain(each["text"]),
        }
        for each in docs
    ]
    text = json.dumps(entries, ensure_ascii=False)
    (folder / "index.js").write_text(f"const siteIndex = {text};\n", encoding="utf-8")


def plain(text: str) -> str:
    """Remove the tags from a text of the index."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())
