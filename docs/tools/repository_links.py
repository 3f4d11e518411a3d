"""MkDocs hook: give files of the repository outside docs/ a place in the site, so that links to them work.

A page links to `../benchmarks/results/network.json` as GitHub expects it. The site has a copy of that file under
`repository/benchmarks/results/network.json`, and the link leads there. A linked Markdown file becomes a page.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent.parent
PREFIX = "repository/"
# The target of a Markdown link or picture, without its anchor: [text](target#anchor).
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")


def repository_path(site_path: str) -> str:
    """Return the path in the repository of a site's source file: both are relative and have forward slashes."""
    return site_path.removeprefix(PREFIX) if site_path.startswith(PREFIX) else f"docs/{site_path}"


def site_path(repository: str) -> str:
    """Return the path in the site of a file of the repository."""
    return repository.removeprefix("docs/") if repository.startswith("docs/") else PREFIX + repository


def linked_files(repository: str) -> set[str]:
    """Return the files outside docs/ to which a Markdown file of the repository links, as repository paths."""
    text = (ROOT / repository).read_text(encoding="utf-8")
    folder = posixpath.dirname(repository)
    targets = {posixpath.normpath(posixpath.join(folder, target)) for target in LINK.findall(text)}
    return {target for target in targets if not target.startswith("docs/") and (ROOT / target).is_file()}


def on_files(files: Files, config: Any) -> Files:
    """Add every file outside docs/ that a page links to, and those that they link to in turn."""
    waiting = [f"docs/{file.src_uri}" for file in files.documentation_pages()]
    waiting += ["CHANGELOG.md", "CONTRIBUTING.md"]
    added: set[str] = set()
    while waiting:
        repository = waiting.pop()
        if not repository.startswith("docs/"):
            if repository in added:
                continue
            added.add(repository)
            absolute = str(ROOT / repository)
            files.append(File.generated(config, site_path(repository), abs_src_path=absolute))
        if repository.endswith(".md"):
            waiting += linked_files(repository)
    return files


def on_page_markdown(markdown: str, page: Page, config: Any, files: Files) -> str:
    """Point links at the copies."""
    here = page.file.src_uri
    folder = posixpath.dirname(repository_path(here))

    def moved(match: re.Match[str]) -> str:
        target = site_path(posixpath.normpath(posixpath.join(folder, match[1])))
        return posixpath.relpath(target, posixpath.dirname(here) or ".")

    return LINK.sub(moved, markdown)
