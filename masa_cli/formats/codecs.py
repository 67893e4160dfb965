"""What the FFmpeg that came with PyAV can read and write, as far as masa asks for it."""

from __future__ import annotations

from typing import Literal

from av.codec import Codec
from av.codec.codec import UnknownCodecError

ENCODERS = ("libx264", "aac")  # what annotated videos are made with
DECODERS = ("h264", "hevc", "vp9", "av1", "mpeg4", "mjpeg")  # what most sources are in


def available_codecs() -> dict[str, bool]:
    """Whether each codec is there, encoders first, under names such as "libx264 (encoder)"."""
    return {f"{name} (encoder)": _is_there(name, "w") for name in ENCODERS} | {
        f"{name} (decoder)": _is_there(name, "r") for name in DECODERS
    }


def _is_there(name: str, mode: Literal["r", "w"]) -> bool:
    try:
        Codec(name, mode)
    except UnknownCodecError:
        return False
    return True
