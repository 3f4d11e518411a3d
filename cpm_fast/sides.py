"""Left and right in the names of parts: which parts are mirror images of each other."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence

LEFT, RIGHT = "left", "right"
# Letters that Unicode does not take apart into a plain one and an accent.
PLAIN = str.maketrans({"ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "ı": "i", "æ": "ae", "ß": "ss"})


def _bare(name: str) -> str:
    """Return a name without accents."""
    apart = unicodedata.normalize("NFD", name.translate(PLAIN))
    return unicodedata.normalize("NFC", "".join(letter for letter in apart if not unicodedata.combining(letter)))


WORDS = {
    LEFT: "left lft lt sx links linke linker linkes gauche izquierda izquierdo esquerda esquerdo sinistra sinistro "
    "vänster vänstra venstre vasen lewy lewa lewe levý levá levé левый левая левое лівий ліва ліве",
    RIGHT: "right rgt rt dx rechts rechte rechter rechtes droite droit derecha derecho direita direito destra destro "
    "höger högra højre høyre oikea prawy prawa prawe pravý pravá pravé правый правая правое правий права праве",
}
SIDE_OF = {_bare(word): side for side, words in WORDS.items() for word in words.split()} | {"l": LEFT, "r": RIGHT}
# Pairs may also be told apart by these anywhere in the name.
GLUED = (
    *((LEFT, RIGHT), ("左", "右"), ("왼", "오른"), ("linke", "rechte"), ("links", "rechts")),
    *(("izq", "der"), ("izq", "dch"), ("izqda", "dcha"), ("izqdo", "dcho"), ("esq", "dir"), ("sol", "sag")),
    *(
        ("bal", "jobb"),
        ("kiri", "kanan"),
        ("trai", "phai"),
        ("ซ้าย", "ขวา"),
        ("يسر", "يمن"),
        ("يسار", "يمين"),
        ("שמאל", "ימין"),
    ),
)
# A letter at an end of a word (lpaw, pawr) may be a side in words that are longer than lip and rib.
LONGEST_VAGUE = 3
WORD = re.compile(r"[^\W_]+")
# Two letters that name an animal's legs: left fore, hind left, ...; the other letter stays.
LEGS = {pair for one in "lr" for other in "fhbm" for pair in (one + other, other + one)}
# Capitals in a row are one token, and so is a capital with the small letters behind it.
TOKEN = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+|[A-Z]")
PLACE = "*"

Key = tuple[str, ...]


def side_of(name: str) -> tuple[str, Key] | None:
    """Return the side that a part's name holds, and the rest of the name, which its mirror image shares.

    Words and single letters count, in any case, set apart by other characters, by digits or by a capital: left_ear,
    ear-left, "Left ear", earL, l.ear, LF_paw. A single letter before a lone number (L4), and two small letters alone
    (fl), are no side by themselves.

    Returns:
        ("left" or "right", the rest), or None where the name holds no side, or both.

    >>> side_of("left_ear"), side_of("nose")
    (('left', ('*', 'ear')), None)
    """
    return None if _vague(name) else _side(name)


def mirror_pairs(names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Pair the parts whose names differ in the side alone: (left, right), in the order of the left ones.

    Names in which the side is not set apart (earleft, earright; lpaw, rpaw) are pairs too if both are present. If
    several names could be the partner (left_ear, Left_ear), there is no pair.

    >>> mirror_pairs(["nose", "earL", "earR"])
    (('earL', 'earR'),)
    """
    groups: dict[Key, dict[str, list[str]]] = defaultdict(lambda: {LEFT: [], RIGHT: []})
    for name in names:
        side = _side(name)
        if side is not None:
            groups[side[1]][side[0]].append(name)
            continue
        for side_word, rest in _glued(_bare(name).lower()):
            groups[("glued", rest)][side_word].append(name)
    pairs = {group[LEFT][0]: group[RIGHT][0] for group in groups.values() if len(group[LEFT]) == len(group[RIGHT]) == 1}
    return tuple((name, pairs[name]) for name in names if name in pairs)


def _glued(name: str) -> set[tuple[str, str]]:
    """Return each side that a name without accents and capitals may hold if it has a partner, and the rest."""
    found = {
        (side, name.replace(word, PLACE))
        for words in GLUED
        for side, word in zip((LEFT, RIGHT), map(_bare, words), strict=True)
        if name.count(word) == 1
    }
    for word in WORD.finditer(name):
        for at in (word.start(), word.end() - 1) if len(word[0]) > LONGEST_VAGUE else ():
            side = SIDE_OF.get(name[at])
            found |= {(side, name[:at] + PLACE + name[at + 1 :])} if side else set()
    return found


def unpaired(names: Sequence[str], pairs: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """List the names that hold a side but are in no pair: these parts have no name in a mirrored picture.

    >>> unpaired(["nose", "left_ear"], [])
    ('left_ear',)
    """
    paired = {name for pair in pairs for name in pair}
    vague_too = any(_vague(name) for name in paired)
    return tuple(
        name for name in names if name not in paired and _side(name) is not None and (vague_too or not _vague(name))
    )


def _side(name: str) -> tuple[str, Key] | None:
    tokens = [token.lower() for token in TOKEN.findall(_bare(name))]
    places = [place for place, token in enumerate(tokens) if token in SIDE_OF or token in LEGS or _begins(token)]
    if len(places) > 1:
        # The word decides: the letter of "L1_left" or "left_eye_l" is another's.
        words = [place for place in places if len(tokens[place]) > 2]
        places = words or places
    sides = [_of_token(tokens[place])[0] for place in places]
    if not places or (len(places) > 1 and len(set(sides)) > 1):
        return None
    # In a name that holds a side several times, "left_paw_left_toe", all change.
    for place in places:
        tokens[place] = _of_token(tokens[place])[1]
    return sides[0], tuple(tokens)


def _of_token(token: str) -> tuple[str, str]:
    """Return the side of a token, and what is left of it."""
    if token in SIDE_OF:
        return SIDE_OF[token], PLACE
    if token in LEGS:
        return LEFT if "l" in token else RIGHT, token.replace("l", PLACE).replace("r", PLACE)
    side = _begins(token)
    return side, token.replace(side, PLACE, 1)


def _begins(token: str) -> str:
    """Return the side that a token begins with ("leftear"); empty for none."""
    return next((side for side in (LEFT, RIGHT) if token.startswith(side)), "")


def _vague(name: str) -> bool:
    """Return whether a name without its partner may well mean something else: L4, fl."""
    tokens = TOKEN.findall(name)
    small = len(tokens) == 1 and len(tokens[0]) == 2 and tokens[0].islower()
    return small or (len(tokens) == 2 and len(tokens[0]) == 1 and tokens[1].isdigit())
