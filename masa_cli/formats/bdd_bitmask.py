"""BDD100K's bitmasks: the objects of a frame as the four channels of a png."""

from __future__ import annotations

from math import nan
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from masa_cli.errors import SourceError
from masa_cli.formats.bdd_labels import CLASSES, BddLabel
from masa_cli.formats.bdd_masks import write_rle
from masa_cli.formats.text_file import explained
from masa_cli.structures import BoolArray

_IGNORED, _CROWD = 1, 2  # bits of the second channel; 4 and 8 are occluded and truncated
_FIX = "use the files of the folder bitmasks of the data set"


def read_bitmask(path: Path) -> list[BddLabel]:
    """The objects, in the order of their ids.

    The channels are the class from 1 (0: nothing), flags, and the higher and lower byte of the id
    (formats.md section 5).

    Raises:
        SourceError: it is no png with four channels, or has a class that is not known.
    """
    with explained(path):
        try:
            picture = Pillow.open(path)
        except UnidentifiedImageError:
            raise SourceError(f"{path} is no picture", fix=_FIX) from None
        if picture.mode != "RGBA":
            raise SourceError(f"{path} is a picture of {picture.mode}, expected RGBA", fix=_FIX)
        channels = np.asarray(picture).astype(np.int64)  # (H, W, 4)
    category, flags, high, low = np.moveaxis(channels, 2, 0)
    ids = (high << 8) + low
    found, firsts = np.unique(ids, return_index=True)
    return [
        _label(path, id_, int(category.flat[first]), int(flags.flat[first]), ids == id_)
        for id_, first in zip(found.tolist(), firsts.tolist(), strict=True)
        if id_
    ]


def _label(path: Path, id_: int, category: int, flags: int, mask: BoolArray) -> BddLabel:
    if not 1 <= category <= len(CLASSES):
        raise SourceError(
            f"{path} id {id_}: its class is {category}, expected 1 to {len(CLASSES)}", fix=_FIX
        )
    is_crowd, is_ignored = bool(flags & _CROWD), bool(flags & _IGNORED)
    return BddLabel(str(id_), category - 1, (nan,) * 4, 1.0, is_crowd, is_ignored, write_rle(mask))
