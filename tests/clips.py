"""A small video with its detections, written to disk: what most end-to-end tests need."""

from fractions import Fraction

import av
import numpy as np

from masa_cli.render.video import VideoWriter
from masa_cli.structures import Frame, VideoInfo

WIDTH, HEIGHT, RATE = 96, 64, Fraction(25)


def boxes_at(index):
    """Two boxes that pass each other, one to the right, one to the left."""
    return [(5 + index, 8, 20, 24), (70 - index, 34, 18, 22)]  # left, top, width, height


def image_at(index):
    """Each box with a texture of its own on grey."""
    image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    textures = np.random.default_rng(0).integers(0, 255, (2, HEIGHT, WIDTH, 3), np.uint8)
    for (left, top, width, height), texture in zip(boxes_at(index), textures, strict=True):
        view = image[top : top + height, left : left + width]
        view[:] = texture[: view.shape[0], : view.shape[1]]
    return image


def write_clip(folder, num_frames=30):
    """`street.mp4` and `dets.txt` in `folder`; both paths."""
    video, dets = folder / "street.mp4", folder / "dets.txt"
    info = VideoInfo("street", WIDTH, HEIGHT, RATE, 1 / RATE, num_frames)
    with VideoWriter(video, info) as writer:
        for index in range(num_frames):
            writer.write(Frame(index, index / RATE, image_at(index)))
    dets.write_text(dets_text(num_frames))
    return video, dets


def read_frames(video):
    """(N, H, W, 3) the frames of a video.

    imageio's reader would do, but it collects all garbage each time: seconds, beside torch.
    """
    with av.open(str(video)) as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])


def dets_text(num_frames):
    """MOTChallenge detections of all frames."""
    return "".join(
        f"{index + 1},-1,{left},{top},{width},{height},0.9\n"
        for index in range(num_frames)
        for left, top, width, height in boxes_at(index)
    )
