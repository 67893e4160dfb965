"""Trackers: observations in, identities out. Each is a row of TRACKERS.

Nothing is imported before a tracker is built, so that the command line can name them all at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from masa_cli.errors import SettingsError
from masa_cli.settings import current_names, with_changes

if TYPE_CHECKING:
    from masa_cli.structures import EndedTracklets, FrameTracks, Observation, State
    from masa_cli.tracking.follow import FollowSettings
    from masa_cli.tracking.hat import HatSettings
    from masa_cli.tracking.hybrid import HybridSettings
    from masa_cli.tracking.masa import MasaSettings

# For trackers by their names: "name=value" changes to their settings.
SettingsChanges: TypeAlias = Mapping[str, Sequence[str]]


class Tracker(Protocol):
    """Gives boxes identities; all state lives in the instance, and no image is looked at."""

    @property
    def uses_camera_motion(self) -> bool:
        """Whether observations should tell how the camera moved."""
        ...

    def update(self, observation: Observation) -> FrameTracks:
        """The boxes of the next frame that carry an identity."""
        ...

    def finish(self) -> EndedTracklets:
        """The tracklets that had not ended with the last frame; none if there are no records."""
        ...

    def state(self) -> State:
        """What `restore` needs."""
        ...

    def restore(self, state: State) -> None:
        """Go on from a `state()` of a tracker with the same settings."""
        ...


@dataclass(frozen=True, slots=True)
class Birth:
    """When a track begins, for those who have none, and the settings that say so.

    Attributes:
        score: that a box must exceed, on the scale of settings.
        score_name: of the setting.
        frames: on end in which it must be found.
        frames_name: of the setting; "" where one frame is enough.
    """

    score: float
    score_name: str
    frames: int = 1
    frames_name: str = ""
    scales_scores: bool = False

    def is_reached(self, highest: float) -> bool:
        """Whether a track can begin where this is the highest score."""
        if self.scales_scores:
            from masa_cli.tracking.scene import score_factor

            highest *= score_factor(highest)
        return highest > self.score


@dataclass(frozen=True, slots=True)
class TrackerRow:
    """One way to associate, and what it needs.

    Attributes:
        summary: one line for help and documents.
        settings: makes its default settings, a frozen dataclass.
        build: from settings and the temperature of the embeddings.
        needs_embeddings: of the boxes, so images too; without, boxes alone suffice.
        works_without_embeddings: if none can be had.
        is_refinable: whether its frames have records, so that there can be offline refinement.
        takes_all_boxes: as a published preset of MASA, it is made for every box that a detector
            has, with its duplicates and the weakest scores.
        birth_score: name of the setting that a box must exceed in score to begin a track.
        birth_frames: name of that in how many frames on end it must be found; "": in one.
        scales_scores: whether low scores are scaled up, so that a lower one may begin a track.
    """

    summary: str
    settings: Callable[[], Any]
    build: Callable[[Any, float], Tracker]
    needs_embeddings: bool = True
    works_without_embeddings: bool = False
    is_refinable: bool = False
    takes_all_boxes: bool = False
    birth_score: str = "birth_score"
    birth_frames: str = ""
    scales_scores: bool = False

    def birth(self, changes: Sequence[str] = ()) -> Birth:
        """When a track begins with these changes; SettingsError for one that cannot be made."""
        settings = with_changes(self.settings(), changes)
        score = float(getattr(settings, self.birth_score))
        frames = int(getattr(settings, self.birth_frames)) if self.birth_frames else 1
        return Birth(score, self.birth_score, frames, self.birth_frames, self.scales_scores)


def _hybrid_settings() -> HybridSettings:
    from masa_cli.tracking.hybrid import HybridSettings

    return HybridSettings()


def _hybrid(settings: HybridSettings, temperature: float) -> Tracker:
    from masa_cli.tracking.hybrid import HybridTracker

    return HybridTracker(settings)  # finds its own scale of similarity


def _preset(name: str) -> Callable[[], MasaSettings]:
    def settings() -> MasaSettings:
        from masa_cli.tracking.masa import PRESETS

        return PRESETS[name]

    return settings


def _masa(settings: MasaSettings, temperature: float) -> Tracker:
    from masa_cli.tracking.masa import MasaTracker

    return MasaTracker(settings, temperature=temperature)


def _hat_preset(name: str) -> Callable[[], HatSettings]:
    def settings() -> HatSettings:
        from masa_cli.tracking.hat import PRESETS

        return PRESETS[name]

    return settings


def _hat(settings: HatSettings, temperature: float) -> Tracker:
    from masa_cli.tracking.hat import HatTracker

    return HatTracker(settings, temperature=temperature)


def _hat_row(name: str, data_set: str) -> TrackerRow:
    summary = f"by appearance, projected to what tells tracks apart, as HAT on {data_set}"
    return TrackerRow(summary, _hat_preset(name), _hat, takes_all_boxes=True)


def _motion(settings: HybridSettings, temperature: float) -> Tracker:
    from masa_cli.tracking.hybrid import HybridTracker

    return HybridTracker(settings, by_motion_alone=True)


def _follow_settings() -> FollowSettings:
    from masa_cli.tracking.follow import FollowSettings

    return FollowSettings()


def _follow(settings: FollowSettings, temperature: float) -> Tracker:
    from masa_cli.tracking.follow import FollowTracker

    return FollowTracker(settings)  # who runs it says what it follows


TRACKERS: dict[str, TrackerRow] = {
    "hybrid": TrackerRow(
        "by motion and appearance together, refined offline",
        _hybrid_settings,
        _hybrid,
        works_without_embeddings=True,
        is_refinable=True,
        birth_frames="confirm_hits",
        scales_scores=True,
    ),
    "masa-demo": TrackerRow(
        "by appearance, as MASA's demo", _preset("masa-demo"), _masa, takes_all_boxes=True
    ),
    "masa-benchmark": TrackerRow(
        "by appearance, as MASA on TAO", _preset("masa-benchmark"), _masa, takes_all_boxes=True
    ),
    "masa-bdd": TrackerRow(
        "by appearance, as MASA on BDD100K", _preset("masa-bdd"), _masa, takes_all_boxes=True
    ),
    "masa-hat": _hat_row("masa-hat", "TAO"),
    "masa-hat-dance": _hat_row("masa-hat-dance", "DanceTrack"),
    "masa-hat-sports": _hat_row("masa-hat-sports", "SportsMOT"),
    "masa-hat-bdd": _hat_row("masa-hat-bdd", "BDD100K"),
    "motion": TrackerRow(
        "as hybrid, by motion alone, without images",
        _hybrid_settings,
        _motion,
        needs_embeddings=False,
        works_without_embeddings=True,
        is_refinable=True,
        birth_frames="confirm_hits",
        scales_scores=True,
    ),
}
# What is taken with images, and what without.
DEFAULT, DEFAULT_WITHOUT_IMAGES = "hybrid", "motion"
DEFAULT_FALSE_MATCHES = 0.02  # share of objects that are taken for known ones, and are not

# What is pointed at is followed in this way alone, so nobody chooses it by name.
FOLLOW = "follow"
_FOLLOW_ROW = TrackerRow(
    "what was pointed at, by motion, appearance and correlation", _follow_settings, _follow
)

# A file of a preset (formats.preset) may be named where one of TRACKERS may; it is known by this.
PRESET_ENDING = ".toml"


def find_tracker(name: str) -> TrackerRow:
    """The row of that name.

    Raises:
        SettingsError: there is none.
    """
    if name == FOLLOW:
        return _FOLLOW_ROW
    if name not in TRACKERS:
        raise SettingsError(
            f'unknown association "{name}"',
            fix=f"use one of: {', '.join(TRACKERS)}; or a file {PRESET_ENDING} of masa tune",
        )
    return TRACKERS[name]


def in_current_names(changes: SettingsChanges) -> SettingsChanges:
    """Changes that a file remembers, perhaps of an earlier version, by the names of today."""
    known = {name: each for name, each in changes.items() if name in TRACKERS}
    return {name: current_names(TRACKERS[name].settings(), each) for name, each in known.items()}


def build_tracker(name: str, *, changes: Sequence[str] = (), temperature: float = 1.0) -> Tracker:
    """The tracker of that name.

    Args:
        name: of a row of TRACKERS.
        changes: "name=value" texts that change single settings.
        temperature: of the adapter's embeddings: dot products are divided by it.

    Raises:
        SettingsError: for an unknown name or a change that cannot be made.
    """
    row = find_tracker(name)
    return row.build(with_changes(row.settings(), changes), temperature)
