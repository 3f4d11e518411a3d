"""The pages of the documentation as the tests read them: their code blocks and commands."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"
# Paths in the repository of every page that a user reads.
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "benchmarks/README.md",
    *(path.relative_to(ROOT).as_posix() for path in sorted(DOCS.rglob("*.md"))),
)
# The target of a link or picture, without its anchor.
LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)")


def text(page: str) -> str:
    """Return a page's Markdown."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    """Return the fenced code blocks of a language, without the indent of the list that they are in."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", text(page), re.MULTILINE | re.DOTALL)
    return ["\n".join(line.removeprefix(indent) for line in body.splitlines()) for indent, body in found]


def commands(page: str) -> list[str]:
    """Return the lines of a page's shell blocks, in order; comments and empty lines are left out."""
    lines = (line.strip() for block in blocks(page, "sh") for line in block.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def links(page: str) -> set[str]:
    """Return the files to which a page links, as paths in the repository."""
    folder = (ROOT / page).parent
    return {(folder / target).resolve().relative_to(ROOT).as_posix() for target in LINK.findall(text(page))}
