"""What a synthetic video can be told to show, and the families that make tracking hard.

Nothing heavy is imported here: the choices of `masa demo --kind` and their help are these rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from types import MappingProxyType
from typing import Literal

Look = Literal["textures", "photographs"]

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
    look: Look = "textures"  # rendered objects, or cut out of photographs
    num_appearances: int = (
        0  # objects take turns in so many shapes, colours and patterns; 0: one each
    )
    size: float = 1.0  # of all objects, as a multiple of the default
    stretch: float = 1.0  # their width, as a multiple of the default
    depth: float = 1.0  # how much larger and lower the near ones are; 0: all alike, 0 to 1
    pace: float = 1.0  # how fast they swing, as a multiple of the default
    stay_every: int = 3  # every so-many-th never leaves the frame; 0: all leave
    min_absence: float = 1.0  # seconds for which the others leave it, at least
    max_absence: float = 2.0  # seconds, at most
    relay: bool = False  # in pairs of equal paths, one enters where and when the other has left
    roam: float = 0.0  # seen from above: so far up and down, too; share of the frame's height
    turn: bool = False  # their right side points to where they go; else they stay upright
    escape_every: float = 0.0  # seconds between sudden darts of an object, on average; 0: none
    # The scene:
    wall_width: float = 0.0  # of a wall that hides whatever passes; share of the frame's width
    num_shots: int = 1  # equally long; with each, background and places change
    pan: float = 0.0  # the camera swings so far to either side; share of the frame's width
    zoom: float = 0.0  # and zooms out by so much, now and then; share of its scale
    shake: float = 0.0  # and trembles so far to either side; pixels
    walk: float = 0.0  # and is carried past the objects, step by step; frame widths per second
    # The detector:
    min_detectable: float = 0.25  # it never finds an object of which less is seen; share of area
    miss_rate: float = 0.02  # how often it misses an object in full view, 0 to 1
    occluded_miss_rate: float = 0.5  # the same at `min_detectable`; linear in between
    jitter: float = 0.02  # standard deviation of each side, in widths or heights of the object
    score_noise: float = 0.05  # standard deviation
    false_positives: float = 0.1  # mean number per frame
    max_false_score: float = 0.5  # they score from 0.1 to this
    num_ghosts: int = 0  # places of the scene that it takes for an object, seconds at a time
    part_rate: float = 0.0  # how often it also finds a part of an object that it has found, 0 to 1
    score_scale: float = 1.0  # of all scores

    def __post_init__(self) -> None:
        if self.width < 64 or self.height < 64 or self.frame_rate <= 0:
            raise ValueError(f"width and height must be at least 64, frame_rate positive: {self}")
        counts = ("seed", "num_frames", "num_objects", "num_appearances", "stay_every")
        amounts = ("pan", "shake", "walk", "escape_every", "num_ghosts")
        for name in (*counts, *amounts, "jitter", "score_noise", "false_positives"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        rates = ("min_visible", "min_detectable", "miss_rate", "occluded_miss_rate", "part_rate")
        for name in (*rates, "depth", "wall_width", "max_false_score", "roam"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be within 0..1, got {getattr(self, name)}")
        if min(self.size, self.pace) <= 0 or self.num_shots < 1 or not 0 <= self.zoom < 1:
            raise ValueError(
                f"size and pace must be positive, num_shots at least 1, zoom in 0..1: {self}"
            )
        if min(self.stretch, self.score_scale) <= 0:
            raise ValueError(f"stretch and score_scale must be positive: {self}")
        # Half a period is spent on either side: there must be time to cross the frame, too.
        if not 0 <= self.min_absence <= self.max_absence < _SHORTEST_PERIOD / self.pace / 2:
            raise ValueError(f"min_absence, max_absence and pace do not go together: {self}")


@dataclass(frozen=True, slots=True)
class Scenario:
    """A family of videos: any seed gives another one of its kind."""

    summary: str  # one line for users
    settings: SyntheticSettings


# Ways in which a video is hard to track; each differs from the first in one difficulty.
SCENARIOS: Mapping[str, Scenario] = MappingProxyType(
    {
        "crossings": Scenario(
            "objects cross and hide one another, leave the frame and return",
            SyntheticSettings(),
        ),
        "look-alikes": Scenario(
            "all of one shape, colour and pattern, and nearly of one size",
            SyntheticSettings(num_appearances=1, depth=0.2, num_frames=200),
        ),
        "long-occlusions": Scenario(
            "a wall in the middle hides them for 1 to 3 s",
            SyntheticSettings(wall_width=0.38, pace=0.5, num_frames=300),
        ),
        "re-entry": Scenario(
            "all leave the frame for 3 to 6 s",
            SyntheticSettings(
                pace=0.5, stay_every=0, min_absence=3.0, max_absence=5.8, num_frames=400
            ),
        ),
        "low-frame-rate": Scenario(
            "5 frames per second",
            SyntheticSettings(frame_rate=Fraction(5), num_frames=75),
        ),
        "camera-motion": Scenario(
            "the camera swings, zooms and trembles",
            SyntheticSettings(pan=0.3, zoom=0.15, shake=2.0, num_frames=200),
        ),
        "crowding": Scenario(
            "22 objects at once",
            SyntheticSettings(num_objects=22, size=1.2, num_frames=200),
        ),
        "noise-and-misses": Scenario(
            "loose boxes, one of seven missed, four false ones in a frame",
            SyntheticSettings(
                jitter=0.06,
                miss_rate=0.15,
                false_positives=4.0,
                max_false_score=0.75,
                num_frames=200,
            ),
        ),
        "edge-births": Scenario(
            "where one leaves, another enters within 0.3 s",
            SyntheticSettings(num_objects=8, relay=True, stay_every=0, num_frames=300),
        ),
        "cut": Scenario(
            "a cut to another place at half time",
            SyntheticSettings(num_shots=2, num_frames=200),
        ),
        "turning-look-alikes": Scenario(
            "equal long objects from above, which turn as they go, like insects",
            SyntheticSettings(
                num_objects=8,
                num_appearances=1,
                size=0.6,
                stretch=2.6,
                depth=0.0,
                stay_every=1,
                roam=0.34,
                turn=True,
                num_frames=250,
            ),
        ),
        "sudden-escapes": Scenario(
            "equal objects from above dart elsewhere within 0.1 s, like fish larvae",
            SyntheticSettings(
                num_appearances=1,
                size=0.6,
                depth=0.0,
                pace=0.5,
                stay_every=1,
                roam=0.15,
                escape_every=1.5,
                num_frames=250,
            ),
        ),
        "walking-camera": Scenario(
            "the camera is carried past a crowd, step by step",
            SyntheticSettings(
                num_objects=14,
                size=1.3,
                stay_every=1,
                walk=0.2,
                zoom=0.1,
                shake=1.0,
                num_frames=250,
            ),
        ),
        "weak-detector": Scenario(
            "false boxes that stay, boxes of parts, a third missed",
            SyntheticSettings(
                jitter=0.05,
                miss_rate=0.3,
                occluded_miss_rate=0.8,
                score_noise=0.15,
                false_positives=2.0,
                max_false_score=0.7,
                num_ghosts=6,
                part_rate=0.3,
                num_frames=200,
            ),
        ),
        "scores-to-100": Scenario("scores from 0 to 100", SyntheticSettings(score_scale=100.0)),
        "low-scores": Scenario("no score reaches 0.3", SyntheticSettings(score_scale=0.3)),
        "wide-objects": Scenario(
            "lying objects, about four times as wide as high",
            SyntheticSettings(size=0.55, stretch=4.5, num_frames=200),
        ),
        "2-fps": Scenario(
            "2 frames per second",
            SyntheticSettings(frame_rate=Fraction(2), num_frames=60),
        ),
    }
)

DEFAULT_DEMO = "photographs"
# What `masa demo` shows.
DEMOS: Mapping[str, Scenario] = MappingProxyType(
    {
        DEFAULT_DEMO: Scenario(
            "people, cats and cups cut out of photographs, found by a prompt with lite",
            SyntheticSettings(
                look="photographs", num_objects=6, min_visible=0.25, size=1.75, pace=0.8
            ),
        ),
        "textures": replace(
            SCENARIOS["crossings"], summary="rendered objects, detected with noise; as crossings"
        ),
        **SCENARIOS,
    }
)
