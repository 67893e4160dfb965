"""What must be visible on an annotated frame."""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from masa_cli.masks import pack
from masa_cli.render.annotator import TINT, Annotator, DrawingSettings, colour_of, draw_mask
from masa_cli.structures import Frame, Tracks

GREY = 90


def blank(height=120, width=160, index=0):
    return Frame(index, Fraction(index), np.full((height, width, 3), GREY, np.uint8))


def track(box, identity=1, label=0, score=0.87):
    return Tracks(
        np.array([box], np.float32),
        np.array([score], np.float32),
        np.array([label]),
        np.array([identity]),
    )


def changed(frame, drawn):
    return (frame.image != drawn.image).any(axis=2)


def test_the_box_is_drawn_in_the_colour_of_its_id():
    frame = blank()
    drawn = Annotator(DrawingSettings()).draw(frame, track((40, 60, 90, 110), 7), ["object"])
    assert tuple(drawn.image[85, 40]) == colour_of(7)
    assert tuple(drawn.image[110, 65]) == colour_of(7)
    assert not changed(frame, drawn)[70:105, 50:80].any()  # the inside stays visible
    assert (frame.image == GREY).all()


def test_of_an_interpolated_box_only_the_corners_are_drawn():
    frame, found = blank(), track((40, 60, 90, 110), 7)
    guessed = replace(found, interpolated=np.ones(1, np.bool_))
    drawn = Annotator(DrawingSettings()).draw(frame, guessed, ["object"])
    assert tuple(drawn.image[110, 41]) == colour_of(7)
    assert tuple(drawn.image[85, 40]) == tuple(drawn.image[110, 65]) == (GREY,) * 3


def test_colours_are_stable_and_neighbours_differ():
    colours = [np.array(colour_of(identity), int) for identity in range(1, 60)]
    assert [tuple(colour) for colour in colours] == [colour_of(i) for i in range(1, 60)]
    steps = [np.abs(one - two).sum() for one, two in pairwise(colours)]
    assert min(steps) > 100


def test_label_tells_id_name_and_score():
    annotator = Annotator(DrawingSettings())
    assert annotator._text(track((0, 0, 9, 9), 12, 1), 0, ["cat", "dog"]) == "#12 dog 0.87"
    assert annotator._text(track((0, 0, 9, 9), 12), 0, ["object"]) == "#12 0.87"
    bare = Annotator(DrawingSettings(names=False, scores=False))
    assert bare._text(track((0, 0, 9, 9), 12), 0, ["cat"]) == "#12"


@pytest.mark.parametrize("corner", [(-30, -20), (150, -20), (-30, 110), (150, 110), (60, 0)])
def test_a_label_is_whole_wherever_the_box_is(corner):
    x, y = corner
    frame = blank()
    inside = Annotator(DrawingSettings()).draw(frame, track((60, 60, 100, 100)), ["object"])
    drawn = Annotator(DrawingSettings()).draw(frame, track((x, y, x + 40, y + 40)), ["object"])
    black = [(image.image == 0).all(axis=2).sum() for image in (inside, drawn)]
    assert black[1] >= 0.9 * black[0]  # as much ink as when there is room all around


def test_boxes_outside_and_absurd_coordinates_do_no_harm():
    frame = blank()
    for box in ((500, 500, 600, 600), (-1e9, -1e9, 1e9, 1e9), (5, 5, 5, 5)):
        Annotator(DrawingSettings()).draw(frame, track(box), ["object"])


def test_lines_and_letters_grow_with_the_picture():
    ink = {}
    for height in (360, 2160):
        frame = blank(height, height * 16 // 9)
        box = np.array([0.3, 0.3, 0.6, 0.8]) * height
        drawn = Annotator(DrawingSettings()).draw(frame, track(box), ["object"])
        ink[height] = changed(frame, drawn).sum() / frame.image[..., 0].size
    assert 0.3 < ink[2160] / ink[360] < 3  # the same share of the picture


def test_a_picture_smaller_than_its_text_is_left_alone():
    Annotator(DrawingSettings()).draw(blank(4, 4), track((0, 0, 3, 3)), ["object"])


def test_trails_follow_the_foot_and_end():
    annotator = Annotator(DrawingSettings(trail_frames=3))
    for index in range(6):
        frame = blank(120, 400, index)
        x = 40 * index
        drawn = annotator.draw(frame, track((x, 20, x + 20, 100)), ["object"])
    # Feet at x = 130, 170, 210 remain; the line between them is drawn, the older ones are gone.
    # Anti-aliasing shifts a colour by a few steps.
    np.testing.assert_allclose(drawn.image[100, 150], colour_of(1), atol=16)
    np.testing.assert_array_equal(drawn.image[100, 100], GREY)


NAMES = ["car", "person"]


def two_tracks():
    return Tracks.joined([track((10, 60, 60, 110), 3, 0), track((90, 60, 140, 110), 7, 1)])


@pytest.mark.parametrize(
    ("settings", "left", "right"),
    [
        (DrawingSettings(), True, True),
        (DrawingSettings(only=frozenset({7})), False, True),
        (DrawingSettings(only=frozenset({9})), False, False),
        (DrawingSettings(classes=frozenset({"car"})), True, False),
        (DrawingSettings(boxes=False, labels=False), False, False),
        (DrawingSettings(boxes=False), True, True),
    ],
    ids=str,
)
def test_only_what_is_chosen_is_drawn(settings, left, right):
    frame = blank()
    marks = changed(frame, Annotator(settings).draw(frame, two_tracks(), NAMES))
    assert (marks[:, :75].any(), marks[:, 85:].any()) == (left, right)


def test_lines_and_letters_grow_with_their_settings():
    frame = blank(600, 800)

    def num_changed(**settings):
        drawn = Annotator(DrawingSettings(**settings)).draw(frame, two_tracks(), NAMES)
        return changed(frame, drawn).sum()

    assert num_changed(labels=False, thickness=3) > 2 * num_changed(labels=False)
    assert num_changed(boxes=False, text_size=2) > 3 * num_changed(boxes=False)


def noise():
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    return Frame(0, Fraction(0), image)


def test_blurred_classes_are_unrecognisable_even_if_they_are_not_drawn():
    frame = noise()
    settings = DrawingSettings(blur=frozenset({"person"}), only=frozenset({99}))
    drawn = Annotator(settings).draw(frame, two_tracks(), NAMES).image
    inside = drawn[60:110, 90:140].astype(float)
    assert inside.std() < 15 < frame.image[60:110, 90:140].std()
    assert np.array_equal(drawn[:, :80], frame.image[:, :80])  # the car stays
    assert np.array_equal(drawn[:50], frame.image[:50])
    for axis in (0, 1):  # no detail is left: neighbours hardly differ
        assert np.abs(np.diff(inside, axis=axis)).max() < 12


def test_all_classes_can_be_blurred_and_boxes_may_be_anywhere():
    frame = noise()
    everywhere = Tracks.joined(
        [
            track((-30, -30, 20, 20), 1),
            track((150, 110, 400, 400), 2, 1),
            track((500, 500, 600, 600), 3),
            track((80.2, 60.1, 80.4, 60.3), 4),
        ]
    )
    settings = DrawingSettings(blur=frozenset({"all"}), boxes=False, labels=False)
    marks = changed(frame, Annotator(settings).draw(frame, everywhere, NAMES))
    assert marks[:20, :20].mean() > 0.9
    assert marks[112:, 152:].mean() > 0.9
    assert not marks[:, 60:75].any()


COLOUR = (200, 100, 50)


def test_pixels_are_tinted_and_outlined_and_others_stay():
    image = np.full((40, 60, 3), 100, np.uint8)
    mask = pack(np.ones((20, 30), bool), (10, 5), (40, 60))
    draw_mask(image, mask, COLOUR, 1)
    inside = [round(100 * (1 - TINT) + part * TINT) for part in COLOUR]
    np.testing.assert_array_equal(image[15, 25], inside)
    np.testing.assert_array_equal(image[5, 10], COLOUR)
    assert (image[4] == 100).all()
    assert (image[:, 41:] == 100).all()


def test_a_smaller_image_gets_the_part_of_the_mask_it_shows():
    image = np.full((20, 20, 3), 100, np.uint8)
    draw_mask(image, pack(np.ones((20, 30), bool), (10, 5), (40, 60)), COLOUR, 1)
    assert (image[12, 15] != 100).any()
    beyond = np.full((4, 4, 3), 100, np.uint8)
    draw_mask(beyond, pack(np.ones((20, 30), bool), (10, 5), (40, 60)), COLOUR, 1)
    assert (beyond == 100).all()
