"""Bare pictures, one after the other, as FFmpeg's `-f rawvideo` has them: what nothing tells."""

from __future__ import annotations

from dataclasses import dataclass

# Names of FFmpeg (`-pix_fmt`), of what programs and cameras give. Not all it has: some of them it
# cannot turn into RGB, and ends the program.
PIXEL_FORMATS = (
    *("rgb24", "bgr24", "rgba", "bgra", "argb", "abgr", "rgb0", "bgr0", "gbrp", "rgb48le"),
    *("gray", "gray10le", "gray12le", "gray16le"),
    *("yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le"),
    *("nv12", "nv21", "p010le", "yuyv422", "uyvy422"),
)


@dataclass(frozen=True, slots=True)
class RawPictures:
    """What bare pictures are like.

    Attributes:
        width: pixels.
        height: pixels.
        pixel_format: one of PIXEL_FORMATS.
    """

    width: int
    height: int
    pixel_format: str = "rgb24"

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1 or self.pixel_format not in PIXEL_FORMATS:
            raise ValueError(f"expected a size and one of PIXEL_FORMATS, got {self}")

    @property
    def size(self) -> str:
        """As FFmpeg writes it: 640x480."""
        return f"{self.width}x{self.height}"
