"""Seqmaps: which sequences of a data set to evaluate.

MOTChallenge has a header `name` and one sequence per line; KITTI MOTS has lines of four, such as
`0002 empty 000000 000233`: the name, a word, the first and the last frame, counted from 0.
"""

from __future__ import annotations

from pathlib import Path

from masa_cli.errors import SourceError
from masa_cli.formats.text_file import TextFile

_HEADER = "name"


def read_seqmap(path: Path) -> dict[str, int | None]:
    """The sequences in their order, each with its number of frames where the file tells it.

    Raises:
        SourceError: a line is malformed, a sequence comes twice or there is none.
    """
    text = TextFile.read(path)
    found: dict[str, int | None] = {}
    for row, line in enumerate(text.lines):
        fields = line.replace(",", " ").split()
        if row == 0 and fields[0].lower() == _HEADER:
            continue
        if len(fields) not in {1, 4} or (len(fields) == 4 and not fields[3].isdecimal()):
            raise text.wrong(row, "the name of a sequence", "something else")
        if fields[0] in found:
            raise text.wrong(row, "each sequence once", "one that was named before")
        found[fields[0]] = int(fields[3]) + 1 if len(fields) == 4 else None
    if not found:
        raise SourceError(f"{path} names no sequence", fix="write one name per line")
    return found
