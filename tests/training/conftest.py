"""Small images with regions that are known exactly."""

import cv2
import numpy as np
import pytest

from masa_cli.training.regions import Regions, RegionSet


def polygon(middle, radius, num_corners, turn):
    angles = turn + np.arange(num_corners) * 2 * np.pi / num_corners
    offsets = radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return (np.asarray(middle) + offsets).astype(np.float32)


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """Six images of 96 x 128 pixels with three textured polygons each."""
    folder = tmp_path_factory.mktemp("scenes")
    random = np.random.default_rng(0)
    images = []
    for number in range(6):
        size = (96, 128)
        image = random.integers(60, 120, (*size, 3), np.uint8)
        outlines = []
        for place in range(3):
            middle = (22 + 42 * place, random.uniform(30, 66))
            outline = polygon(middle, random.uniform(14, 19), 5 + place, random.uniform(0, 3))
            colour = tuple(random.integers(0, 255, 3).tolist())
            cv2.fillPoly(image, [np.round(outline).astype(np.int32)], colour)
            outlines.append(outline)
        file = folder / f"{number}.png"
        cv2.imwrite(str(file), image[..., ::-1])
        boxes = np.array([(*o.min(0), *o.max(0)) for o in outlines], np.float32)
        images.append(Regions(file, size, boxes, np.zeros(3, np.int64), tuple(outlines)))
    return RegionSet.of(images, ["object"])
