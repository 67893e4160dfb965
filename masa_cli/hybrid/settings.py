"""The settings of `hybrid`: each ingredient is one of them, with its meaning and unit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HybridSettings:
    """How much each witness counts, and when a track begins and ends."""

    birth_score: float = 0.6  # a box above this score that continues nothing may be a new object
    confirm_hits: int = 4  # it is one when it is found in so many frames without a gap
    duplicate_iou: float = 0.7  # not if it overlaps a tracked box by more
    confident_score: float = 0.5  # boxes above this score are assigned first
    continue_score: float = 0.1  # boxes below this score are ignored
    least_nats: float = -4.0  # evidence below which a confident box continues nothing
    weak_nats: float = -2.0  # the same for other boxes
    learn_nats: float = 4.0  # a match that beats every other by less teaches no look
    wait_nats: float = 0.5  # one that beats every other by less waits: its box gets no identity
    # Motion.
    gate: float = 6.0  # farthest a box may be from where it is expected, standard deviations
    memory_seconds: float = 4.0  # a track unseen for longer is expected nowhere any more
    position_noise: float = 0.08  # of a detector's box, box heights
    start_speed: float = 1.0  # of the unknown speed of a new track, heights per second
    acceleration: float = 0.5  # of the change of speed within one second, heights per second
    size_weight: float = 0.5  # of the evidence of width and height; place has 1
    edge_share: float = 0.3  # a track of which less is expected inside the frame may only go on
    # with a box that is as much alike as one that returns
    follow_camera: bool = True  # find from the picture how the camera moved, and cuts
    # Appearance; likeness is 1 for equal looks and 0 for those of strangers (likeness.py).
    neutral_likeness: float = 0.4  # looks that are less alike speak against a pair
    look_nats: float = 10.0  # nats per unit of likeness; 0 turns appearance off
    momentum: float = 0.2  # weight of a new look in a track's mean look, 0 to 1
    clear_iou: float = 0.3  # a box that overlaps another by more teaches no look
    edge_gap: float = 0.02  # nor does one that is nearer to the frame's edge, box heights
    fisher_pairs: float = 200.0  # looks are divided by how much one object's vary, which is
    # believed to be equal in all directions like so many pairs at first; 0 turns it off
    # Return after a long absence, by looks alone, decided when a new track is confirmed.
    return_seconds: float = 20.0  # how long looks are remembered; 0 turns returning off
    return_likeness: float = 0.65  # least likeness of the mean looks
    return_margin: float = 0.08  # by so much every other pair must be less alike
    return_speed: float = 2.0  # farthest it may have gone meanwhile, heights per second
    # For the second look (trace.py).
    tracklet_seconds: float = 0.5  # unseen for longer, another tracklet begins

    def __post_init__(self) -> None:
        positive = (self.memory_seconds, self.position_noise, self.start_speed, self.acceleration)
        if min(positive) <= 0:
            raise ValueError("memory_seconds, noise, speed and acceleration must be positive")
        if not 0 <= self.momentum <= 1:
            raise ValueError("momentum is within 0..1")
        if self.confirm_hits < 1 or self.fisher_pairs < 0:
            raise ValueError("confirm_hits is at least 1, fisher_pairs at least 0")
