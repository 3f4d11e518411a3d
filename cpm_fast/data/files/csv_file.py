"""The text of CSV files, as spreadsheets of any country write them."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from cpm_fast.system.limits import check_file

LARGEST_BYTES = 1 << 30
COMMA, SEMICOLON, TAB = ",", ";", "\t"
# The comma may be the decimal point if it does not separate cells.
DECIMAL_COMMA = re.compile(r"\s*[-+]?\d+,\d+\s*")
# Spellings of a number that is missing, besides an empty cell.
MISSING = frozenset({"", "nan", "na", "n/a", "<na>", "none", "null", "-"})


def read_csv_text(path: Path) -> tuple[str, str]:
    """Return the text of a CSV file, in UTF-8 or in UTF-16 with its mark, and its delimiter.

    That is the first of comma, semicolon and tab that stands in the first line.

    Raises:
        FileNotFoundError: no such file.
        ValueError: too large, or of another encoding; the message names the file.
    """
    check_file(path, LARGEST_BYTES)
    data = path.read_bytes()
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file in UTF-8: {error}; save it as CSV UTF-8") from None
    head = text.partition("\n")[0]
    return text, next((mark for mark in (COMMA, SEMICOLON, TAB) if mark in head), COMMA)


def number(cell: str, mark: str = COMMA) -> float:
    """Return the number in a cell; NaN where it is missing.

    Args:
        cell: its text.
        mark: the delimiter of cells.

    Raises:
        ValueError: it is no number.

    >>> number("12,5", ";"), number("NA")
    (12.5, nan)
    """
    text = cell.strip()
    if text.lower() in MISSING:
        return float("nan")
    if mark != COMMA and DECIMAL_COMMA.fullmatch(text):
        text = text.replace(",", ".")
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"must be a number, got {text!r:.40}") from None
