from fractions import Fraction
from pathlib import Path

import pytest

from masa_cli.errors import SourceError
from masa_cli.formats.mot_layout import MotSequence, find_sequence

INFO = """[Sequence]
name=MOT17-02
imDir=pictures
frameRate=29.97
seqLength=600
imWidth=1920
imHeight=1080
imExt=.jpg
"""


def sequence(folder: Path, info: str | None = INFO, images: str | None = "pictures") -> Path:
    (folder / "det").mkdir()
    if images:
        (folder / images).mkdir()
    if info is not None:
        (folder / "seqinfo.ini").write_text(info)
    return folder / "det" / "det.txt"


def test_detections_lead_to_their_sequence(tmp_path: Path):
    assert find_sequence(sequence(tmp_path)) == MotSequence(
        "MOT17-02", tmp_path / "pictures", Fraction("29.97"), 600, 1920, 1080
    )


def test_detections_beside_seqinfo_lead_to_it(tmp_path: Path):
    sequence(tmp_path)
    found = find_sequence(tmp_path / "det.txt")
    assert found is not None
    assert found.name == "MOT17-02"


def test_frames_that_are_not_there_are_none(tmp_path: Path):
    found = find_sequence(sequence(tmp_path, images=None))
    assert found is not None
    assert (found.images, found.num_frames) == (None, 600)


def test_img1_alone_is_a_sequence(tmp_path: Path):
    found = find_sequence(sequence(tmp_path, info=None, images="img1"))
    assert found == MotSequence(tmp_path.name, tmp_path / "img1", None, None, None, None)


def test_elsewhere_there_is_no_sequence(tmp_path: Path):
    assert find_sequence(sequence(tmp_path, info=None, images=None)) is None


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ("name=x\n", "no section headers"),
        ("[Other]\n", "with a section"),
        ("[Sequence]\nframeRate=fast\n", "expected a framerate above 0, got 'fast'"),
        ("[Sequence]\nseqLength=0\n", "expected a seqlength above 0, got '0'"),
    ],
)
def test_a_malformed_seqinfo_is_explained(tmp_path: Path, info: str, message: str):
    with pytest.raises(SourceError, match=message):
        find_sequence(sequence(tmp_path, info))
