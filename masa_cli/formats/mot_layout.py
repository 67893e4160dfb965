"""MOTChallenge's folders: from a det.txt to the frames it belongs to.

<sequence>/seqinfo.ini
<sequence>/img1/000001.jpg …
<sequence>/det/det.txt
"""

from __future__ import annotations

import configparser
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from masa_cli.errors import SourceError
from masa_cli.formats.text_file import explained

INFO = "seqinfo.ini"
IMAGES = "img1"


@dataclass(frozen=True, slots=True)
class MotSequence:
    """What the folder of a sequence tells of its video; None where it is silent.

    Attributes:
        name: of the sequence, for results.
        images: the folder of frames, if there is one.
        frame_rate: frames per second.
        num_frames: length of the sequence.
        width: pixels.
        height: pixels.
    """

    name: str
    images: Path | None
    frame_rate: Fraction | None
    num_frames: int | None
    width: int | None
    height: int | None


def find_sequence(file: Path) -> MotSequence | None:
    """The sequence a detections file or an image belongs to.

    The nearest of the two folders above the file with a seqinfo.ini or img1 is the sequence; so
    `<sequence>/det/det.txt` is found, and a det.txt beside its seqinfo.ini. None if there is none.

    Raises:
        SourceError: seqinfo.ini is malformed.
    """
    for folder in file.absolute().parents[:2]:
        if (folder / INFO).is_file() or (folder / IMAGES).is_dir():
            return _sequence(folder)
    return None


def _sequence(folder: Path) -> MotSequence:
    info = _read_info(folder / INFO) if (folder / INFO).is_file() else {}
    images = folder / info.get("imdir", IMAGES)
    return MotSequence(
        name=info.get("name", folder.name),
        images=images if images.is_dir() else None,
        frame_rate=_number(folder, info, "framerate"),
        num_frames=_whole(folder, info, "seqlength"),
        width=_whole(folder, info, "imwidth"),
        height=_whole(folder, info, "imheight"),
    )


def _read_info(path: Path) -> dict[str, str]:
    """The entries of [Sequence], their names in lower case."""
    parser = configparser.ConfigParser(interpolation=None)
    with explained(path):
        text = path.read_text(encoding="utf-8-sig")
    try:
        parser.read_string(text)
        return dict(parser["Sequence"])
    except (configparser.Error, KeyError) as error:
        reason = " ".join(str(error).split())
        raise SourceError(
            f"{path} is no seqinfo.ini with a section [Sequence]: {reason}",
            fix="correct it, or take it away",
        ) from None


def _number(folder: Path, info: dict[str, str], key: str) -> Fraction | None:
    if key not in info:
        return None
    try:
        number = Fraction(info[key])
    except (ValueError, ZeroDivisionError):
        number = Fraction(0)
    if number <= 0:
        raise SourceError(
            f"{folder / INFO}: expected a {key} above 0, got {info[key]!r}",
            fix="correct it, or take the line away",
        )
    return number


def _whole(folder: Path, info: dict[str, str], key: str) -> int | None:
    number = _number(folder, info, key)
    return None if number is None else int(number)
