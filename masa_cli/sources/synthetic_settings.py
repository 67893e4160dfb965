"""What a rendered video is to show, and how well it is to be detected: numbers only."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

# Positions are whole multiples of these: the last digits of a sine, which differ between machines,
# do not reach the picture.
PIXEL_STEP, SCALE_STEP = 1 / 32, 1 / 1024

# They keep the random numbers of one seed apart; objects have the numbers below.
PATHS, NOISE, CAMERA, WALL = 1 << 21, 1 << 22, 1 << 23, 1 << 24

_SHORTEST_PERIOD = 8.0  # seconds in which an object that leaves the frame swings there and back


@dataclass(frozen=True, slots=True)
class SyntheticSettings:
    """What is shown, and how well it is detected."""

    seed: int = 42  # with it, five of the objects leave and return within the first 150 frames
    num_frames: int = 150
    width: int = 640  # pixels
    height: int = 360  # pixels
    frame_rate: Fraction = Fraction(25)  # frames per second
    num_objects: int = 7
    min_visible: float = 0.1  # the truth leaves out objects of which less is seen; share of area
    # The objects:
    num_looks: int = 0  # objects take turns in so many shapes, colours and patterns; 0: one each
    size: float = 1.0  # of all objects, as a multiple of the usual
    depth: float = 1.0  # how much larger and lower the near ones are; 0: all alike, 0 to 1
    pace: float = 1.0  # how fast they swing, as a multiple of the usual
    stay_every: int = 3  # every so-many-th never leaves the frame; 0: all leave
    min_absence: float = 1.0  # seconds for which the others leave it, at least
    max_absence: float = 2.0  # seconds, at most
    relay: bool = False  # in pairs of equal paths, one enters where and when the other has left
    # The scene:
    wall_width: float = 0.0  # of a wall that hides whatever passes; share of the frame's width
    num_shots: int = 1  # equally long; with each, background and places change
    pan: float = 0.0  # the camera swings so far to either side; share of the frame's width
    zoom: float = 0.0  # and zooms out by so much, now and then; share of its scale
    shake: float = 0.0  # and trembles so far to either side; pixels
    # The detector:
    min_detectable: float = 0.25  # it never finds an object of which less is seen; share of area
    miss_rate: float = 0.02  # how often it misses an object in full view, 0 to 1
    hidden_miss_rate: float = 0.5  # the same at `min_detectable`; linear in between
    jitter: float = 0.02  # standard deviation of each side, in widths or heights of the object
    score_noise: float = 0.05  # standard deviation
    false_positives: float = 0.1  # mean number per frame
    max_false_score: float = 0.5  # they score from 0.1 to this

    def __post_init__(self) -> None:
        if self.width < 64 or self.height < 64 or self.frame_rate <= 0:
            raise ValueError(f"width and height must be at least 64, frame_rate positive: {self}")
        counts = ("seed", "num_frames", "num_objects", "num_looks", "stay_every")
        camera = ("pan", "shake")
        for name in (*counts, *camera, "jitter", "score_noise", "false_positives"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        rates = ("min_visible", "min_detectable", "miss_rate", "hidden_miss_rate")
        for name in (*rates, "depth", "wall_width", "max_false_score"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be within 0..1, got {getattr(self, name)}")
        if min(self.size, self.pace) <= 0 or self.num_shots < 1 or not 0 <= self.zoom < 1:
            raise ValueError(
                f"size and pace must be positive, num_shots at least 1, zoom in 0..1: {self}"
            )
        # Half a period is spent on either side: there must be time to cross the frame, too.
        if not 0 <= self.min_absence <= self.max_absence < _SHORTEST_PERIOD / self.pace / 2:
            raise ValueError(f"min_absence, max_absence and pace do not go together: {self}")
