"""Masks drawn onto frames: a tint one can see through, and an outline."""

from __future__ import annotations

import cv2
import numpy as np

from masa_cli.masks import unpack
from masa_cli.structures import Image, Mask

TINT = 0.4  # how much of the colour covers what is under it, 0 to 1


def draw_mask(image: Image, mask: Mask, colour: tuple[int, int, int], width: int) -> None:
    """Tint the pixels of a mask in place, and draw a line around them.

    Args:
        image: (H, W, 3) RGB; where it is smaller than the mask's frame, the rest is left out.
        mask: in pixels of the frame.
        colour: RGB.
        width: of the line, pixels.
    """
    pixels, (x, y) = unpack(mask)
    window = image[y : y + pixels.shape[0], x : x + pixels.shape[1]]
    pixels = pixels[: window.shape[0], : window.shape[1]]
    if not pixels.any():
        return
    paint = np.empty_like(window)
    paint[:] = colour
    tinted = np.asarray(cv2.addWeighted(window, 1 - TINT, paint, TINT, 0))
    np.copyto(window, tinted, where=pixels[..., None])
    outlines, _ = cv2.findContours(
        pixels.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(x, y)
    )
    cv2.drawContours(image, outlines, -1, colour, width)
