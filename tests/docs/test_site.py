"""The site builds without a warning, has every page and public name, and its pages load nothing from other hosts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import cpm_fast
from cpm_fast import evaluation, metrics
from support.pages import DOCS, PAGES, ROOT, links, text

OPS = (
    "context_conv",
    "direct_conv",
    "gaussian_targets",
    "merge_peaks",
    "peaks",
    "resize_merge",
    "spectral_conv",
    "transform_weight",
)
# Tags and attributes whose files a browser loads when it shows a page; a plain link (<a href>) loads nothing.
SOURCES = ("script", "img", "iframe", "source", "video", "audio", "embed")
LOADED = {*((tag, "src") for tag in SOURCES), ("img", "srcset"), ("object", "data")}
LOADED_LINKS = {"stylesheet", "icon", "preload", "modulepreload", "prefetch", "preconnect", "dns-prefetch", "manifest"}


class Fetched(HTMLParser):
    """The addresses that a page loads, the names of its anchors, and the targets of its links."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.targets: list[str] = []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.loaded += [given[name] for kind, name in LOADED if kind == tag and given.get(name)]
        if tag == "link" and LOADED_LINKS & set((given.get("rel") or "").split()):
            self.loaded.append(given["href"])
        if tag == "a" and given.get("href"):
            self.targets.append(given["href"])
        if given.get("id"):
            self.anchors.add(given["id"])


def read(page: Path) -> Fetched:
    found = Fetched()
    found.feed(page.read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    pytest.importorskip("mkdocstrings", reason='the site needs pip install -e ".[docs]"')
    pytest.importorskip("material", reason='the site needs pip install -e ".[docs]"')
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
def test_pages_load_nothing_from_elsewhere(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 25
    for page in pages:
        loaded = read(page).loaded
        assert loaded, f"{page.name} has a style sheet at least"
        for address in loaded:
            parts = urlsplit(address)
            assert (not parts.scheme and not parts.netloc) or parts.scheme == "data", f"{page.name} loads {address}"
    # A style sheet loads the addresses in its url() and @import; a script could load any, so hosts in ours are checked.
    for sheet in site.rglob("*.css"):
        for address in re.findall(r"(?:url\(|@import )\s*[\"']?([^\"')\s]+)", sheet.read_text(encoding="utf-8")):
            assert not address.startswith(("http:", "https:", "//")), f"{sheet.name} loads {address}"


def test_the_check_of_addresses_sees_a_font(tmp_path):
    page = tmp_path / "page.html"
    page.write_text('<link rel="stylesheet" href="https://fonts.example/css"><script src="//host/a.js"></script>')
    assert read(page).loaded == ["https://fonts.example/css", "//host/a.js"]


@pytest.mark.slow
def test_links_in_the_site_lead_somewhere(site):
    """This includes links into the copies of files outside docs/."""
    read_pages = {page: read(page) for page in sorted(site.rglob("*.html"))}
    for page, found in read_pages.items():
        if page.name == "404.html":
            continue
        for target in found.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            path = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            path = path / "index.html" if path.is_dir() else path
            assert path.is_file(), f"{page.relative_to(site)} links to {target}"
            if parts.fragment and path.suffix == ".html" and parts.fragment != "__skip":
                assert unquote(parts.fragment) in read_pages[path].anchors, f"{page.name}: no anchor {target}"


@pytest.mark.slow
def test_every_public_name_is_in_the_reference(site):
    anchors = {anchor for page in (site / "api").glob("*.html") for anchor in read(page).anchors}
    names = [f"cpm_fast.{name}" for name in cpm_fast.__all__ if name not in ("metrics", "ops", "__version__")]
    names += [f"cpm_fast.evaluation.{name}" for name in evaluation.__all__ if name != "LSP_PYRAMID"]
    names += [f"cpm_fast.metrics.{name}" for name in metrics.__all__ if not name.isupper()]
    short = {anchor.rpartition(".")[2] for anchor in anchors if anchor.startswith("cpm_fast.")}
    missing = [name for name in names if name not in anchors and name.rpartition(".")[2] not in short]
    missing += [name for name in OPS if f"cpm_fast.ops.{name}.{name}" not in anchors and name not in short]
    assert not missing


def navigation() -> list[str]:
    """Return the pages in the navigation of mkdocs.yml, as paths in docs/."""
    yaml = pytest.importorskip("yaml", reason='the site needs pip install -e ".[docs]"')

    def pages(entry):
        if isinstance(entry, str):
            return [entry]
        return [page for inner in (entry.values() if isinstance(entry, dict) else entry) for page in pages(inner)]

    return pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])


def test_every_page_is_in_the_navigation_once():
    listed = navigation()
    assert len(listed) == len(set(listed))
    written = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert {page for page in listed if not page.startswith("repository/")} == written
    for page in listed:
        assert not page.startswith("repository/") or (ROOT / page.removeprefix("repository/")).is_file()


def test_every_page_is_reached_from_the_readme():
    """One link is enough; a page of the API reference is reached through its index."""
    named = links("README.md")
    for page in PAGES:
        if page != "README.md" and not page.startswith("docs/api/"):
            assert page in named, f"README.md must link to {page}"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for target in links(page):
        assert (ROOT / target).exists(), f"{page} links to {target}"


@pytest.mark.parametrize("page", PAGES)
def test_pictures_have_a_description(page):
    assert not re.findall(r"!\[\s*\]\(", text(page))


def test_error_texts_are_those_of_the_package():
    """Every fixed piece of a message that the page quotes is in the source."""
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "cpm_fast").rglob("*.py"))
    source = re.sub(r'"\s*\n\s*f?"', "", source)
    quoted = re.findall(r"\*\*(.+?)\*\*", text("docs/troubleshooting.md").replace("\n", " "))
    assert len(quoted) > 15
    for message in quoted:
        for piece in message.split("..."):
            piece = re.sub(r"'cuda'", "{device!r}", piece.strip())
            assert piece in source, piece
