"""The form of one line of a submission, and what is wrong with it."""

from __future__ import annotations

import re
from typing import NamedTuple

# 18 digits always fit into 64 bits.
GOOD = re.compile(r'([^\s,"\']+),((?:[0-9]{1,18}(?: [0-9]{1,18})*)?)')
WHOLE = re.compile(r"-?[0-9]{1,18}")
FLOAT = re.compile(r"(-?[0-9]{1,18})\.0*")
LOOKS_FLOAT = re.compile(r"[+-]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)([eE][+-]?[0-9]+)?")


class Row(NamedTuple):
    """One line below the header: what it means, as far as that can be told."""

    line: int
    image_id: str
    numbers: str
    """Whole numbers with one space between them; empty where there are none."""
    empty: bool
    """The second field was meant to be empty."""


def parse(line: int, text: str) -> tuple[Row, list[str]]:
    """Return the row in a line, and each way in which its form breaks the rules.

    A row of bad form is still read as far as it can be, so that its numbers are checked as well.

    >>> parse(2, "a,1 2 3 4")
    (Row(line=2, image_id='a', numbers='1 2 3 4', empty=False), [])
    >>> parse(3, "a,[1, 2.0]")[0].numbers
    '1 2'
    """
    if good := GOOD.fullmatch(text):
        return Row(line, good[1], good[2], not good[2]), []
    if not text.strip():
        return Row(line, "", "", False), ["blank line"]
    reasons = []
    plain = text.replace('"', "").replace("'", "")
    if plain != text:
        reasons.append("quoted field; write it without quotes")
    image_id, comma, field = plain.partition(",")
    if not comma:
        reasons.append("expected 2 fields 'ImageId,EncodedPixels', got 1")
    if image_id.strip() == "":
        reasons.append("no ImageId")
    numbers, more = _numbers(field)
    if image_id != image_id.strip() or field != " ".join(field.split()):
        reasons.append("padded field; write no spaces around a field and one between numbers")
    return Row(line, image_id.strip(), numbers, bool(comma) and not field.strip()), reasons + more


def _numbers(field: str) -> tuple[str, list[str]]:
    """Return the whole numbers in a second field of bad form, and what else it holds."""
    reasons = []
    bare = field.translate(str.maketrans("[](){}", "      "))
    if bare != field:
        reasons.append("brackets, as of a printed list; write 'start length start length …'")
    if "," in bare:
        reasons.append("commas in the second field: a printed list, or more than 2 fields")
    words = bare.replace(",", " ").split()
    numbers = []
    for word in words:
        if WHOLE.fullmatch(word):
            numbers.append(word)
        elif whole := FLOAT.fullmatch(word):
            numbers.append(whole[1])
    if floats := [
        w for w in words if not WHOLE.fullmatch(w) and LOOKS_FLOAT.fullmatch(w) and not w.isdigit()
    ]:
        reasons.append(f"a float, '{floats[0][:20]}'; numbers are whole")
    if large := [w for w in words if w.lstrip("-").isdigit() and not WHOLE.fullmatch(w)]:
        reasons.append(f"the number {large[0][:20]}… is too large")
    if strange := [w for w in words if not LOOKS_FLOAT.fullmatch(w)]:
        reasons.append(f"'{strange[0][:20]}' is no number")
    # A word that could not be read would shift the pairs, and every check of them would be wrong.
    return (" ".join(numbers) if len(numbers) == len(words) else ""), reasons
