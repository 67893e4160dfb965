"""What folders of MOTChallenge sequences tell beside their boxes, and lists of such sequences."""

from __future__ import annotations

import configparser
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from masa_cli.errors import SourceError
from masa_cli.formats.files import TextFile, explained

INFO = "seqinfo.ini"
IMAGES = "img1"
_HEADER = "name"


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


def read_seqmap(path: Path) -> dict[str, int | None]:
    """The sequences in their order, each with its number of frames where the file tells it.

    Raises:
        SourceError: a line is malformed, a sequence comes twice or there is none.
    """
    text = TextFile.read(path)
    found: dict[str, int | None] = {}
    for row, line in enumerate(text.lines):
        fields = line.replace(",", " ").split() or [""]
        if "," in line and not (len(fields) == 4 and fields[3].isdecimal()):
            fields = [line.partition(",")[0].strip()]  # what follows is no matter of ours
        if row == 0 and fields[0].lower() == _HEADER:
            continue
        is_kitti = len(fields) == 4 and fields[3].isdecimal()
        if not fields[0] or not (len(fields) == 1 or is_kitti):
            raise text.wrong(row, "the name of a sequence", "something else")
        if fields[0] in found:
            raise text.wrong(row, "each sequence once", "one that was named before")
        found[fields[0]] = int(fields[3]) + 1 if len(fields) == 4 else None
    if not found:
        raise SourceError(f"{path} names no sequence", fix="write one name per line")
    return found


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
