"""Embeddings of the variant "raw", on small synthetic pictures."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from masa_cli.errors import SettingsError
from masa_cli.models.adapter import build_adapter
from masa_cli.models.variants import VARIANTS
from masa_cli.structures import Frame

# Between calls of different batch sizes convolutions sum in another order: about 1e-6 of cosine.
BATCH_NOISE = 1e-5
NO_BOXES = np.empty((0, 4), np.float32)


@pytest.fixture
def adapter():
    return build_adapter("raw", device="cpu")


def make_frame(index=0, size=(96, 128), seed=0):
    """A smooth random picture: every place has a look of its own."""
    height, width = size
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3))
    image = coarse.repeat(8, axis=0).repeat(8, axis=1)[:height, :width].astype(np.uint8)
    return Frame(index, Fraction(index, 10), np.ascontiguousarray(image))


def boxes_of(*rows):
    return np.array(rows, np.float32).reshape(-1, 4)


@pytest.fixture
def clip():
    """Six frames with 0 to 3 boxes each."""
    frames = [make_frame(index, seed=index) for index in range(6)]
    three = boxes_of((4, 4, 30, 60), (50, 20, 90, 90), (80.5, 3.25, 120, 40))
    return frames, [three, three[:1], NO_BOXES, three[1:], three[::-1], three[:2]]


def count_passes(adapter):
    """A list that gets the batch size of every forward pass."""
    passes = []
    adapter._pyramid.features.network.register_forward_pre_hook(
        lambda _, inputs: passes.append(len(inputs[0]))
    )
    return passes


def test_embeddings_are_float32_rows_of_length_one(adapter, clip):
    embeddings = adapter.embed(*clip)
    assert [rows.shape for rows in embeddings] == [(len(b), adapter.dim) for b in clip[1]]
    assert all(rows.dtype == np.float32 for rows in embeddings)
    lengths = np.linalg.norm(np.concatenate(embeddings), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-6)  # float32 rounds at 6e-8


def test_temperature_is_the_variants(adapter):
    assert adapter.temperature == VARIANTS["raw"].temperature


def test_an_unknown_name_is_an_error_for_users():
    with pytest.raises(SettingsError, match="unknown adapter"):
        build_adapter("official")


def test_how_frames_are_split_into_calls_does_not_matter(adapter, clip):
    frames, boxes = clip
    at_once = adapter.embed(frames, boxes)
    for size in (1, 4):
        other = build_adapter("raw", device="cpu")
        split = [
            rows
            for start in range(0, len(frames), size)
            for rows in other.embed(frames[start : start + size], boxes[start : start + size])
        ]
        for one, another in zip(at_once, split, strict=True):
            np.testing.assert_allclose(one, another, atol=BATCH_NOISE)


def test_frames_of_different_sizes_in_one_call_keep_their_order(adapter):
    sizes = [(96, 128), (61, 83), (96, 128), (61, 83), (40, 40)]
    frames = [make_frame(i, size, seed=i) for i, size in enumerate(sizes)]
    boxes = [boxes_of((2 + i, 3, 30, 35)) for i in range(len(sizes))]
    together = adapter.embed(frames, boxes)
    other = build_adapter("raw", device="cpu")
    for frame, rows, embeddings in zip(frames, boxes, together, strict=True):
        alone = other.embed([frame], [rows])[0]
        np.testing.assert_allclose(embeddings, alone, atol=BATCH_NOISE)


def test_frames_of_one_size_share_a_pass_and_frames_without_boxes_cost_none(adapter, clip):
    passes = count_passes(adapter)
    adapter.embed(*clip)
    assert passes == [5]  # of 6 frames one has no boxes
    nothing = adapter.embed(clip[0][:2], [NO_BOXES, NO_BOXES])
    assert [rows.shape for rows in nothing] == [(0, adapter.dim)] * 2
    assert adapter.embed([], []) == []
    assert passes == [5]


def test_a_frame_without_boxes_needs_no_picture_but_one_with_boxes_does(adapter):
    blank = Frame.without_image(7, Fraction(1))
    assert len(adapter.embed([blank], [NO_BOXES])[0]) == 0
    with pytest.raises(ValueError, match="frame 7 has boxes"):
        adapter.embed([blank], [boxes_of((0, 0, 5, 5))])


def test_a_restored_adapter_goes_on_bit_for_bit(adapter, clip, tmp_path):
    frames, boxes = clip
    adapter.embed(frames[:3], boxes[:3])
    np.savez(tmp_path / "state.npz", **adapter.state())
    expected = adapter.embed(frames[3:], boxes[3:])
    with np.load(tmp_path / "state.npz") as state:
        other = build_adapter("raw", device="cpu")
        other.restore(dict(state))
    for one, another in zip(expected, other.embed(frames[3:], boxes[3:]), strict=True):
        np.testing.assert_array_equal(one, another)


def test_what_was_seen_before_counts(adapter, clip):
    frames, boxes = clip
    fresh = adapter.embed(frames[5:], boxes[5:])[0]
    again = build_adapter("raw", device="cpu")
    seasoned = again.embed(frames, boxes)[5]
    assert np.abs(fresh - seasoned).max() > 10 * BATCH_NOISE


def test_a_lone_object_is_still_itself_after_many_frames(adapter):
    """Centring by the mean of boxes would leave nothing of it but noise."""
    frame, box = make_frame(), boxes_of((30, 10, 70, 80))
    generator = np.random.default_rng(1)
    first = adapter.embed([frame], [box])[0][0]
    for index in range(1, 40):
        noise = generator.integers(-12, 13, frame.image.shape)
        image = np.clip(frame.image + noise, 0, 255).astype(np.uint8)
        last = adapter.embed([Frame(index, Fraction(index), image)], [box])[0][0]
    assert first @ last > 0.9


@pytest.mark.parametrize(
    "box",
    [
        (-40, -40, 30, 30),
        (100, 60, 500, 400),
        (-9, -9, -2, -2),  # wholly outside
        (300, 300, 320, 340),
        (20, 20, 20, 20),  # no area
        (0, 0, 128, 96),  # the whole frame
        (60.2, 40.1, 60.3, 40.2),
    ],
)
def test_odd_boxes_get_finite_embeddings(adapter, box):
    embedding = adapter.embed([make_frame()], [boxes_of(box)])[0]
    assert np.linalg.norm(embedding) == pytest.approx(1, abs=1e-6)


def test_a_box_partly_outside_is_described_by_its_part_inside(adapter):
    both = boxes_of((-60, -80, 40, 50), (0, 0, 40, 50))
    outside, inside = adapter.embed([make_frame()], [both])[0]
    np.testing.assert_array_equal(outside, inside)


@pytest.mark.parametrize("size", [(1, 1), (5, 300), (33, 47)])
@pytest.mark.parametrize("shade", [0, 124])
def test_plain_pictures_of_any_size_give_finite_embeddings(adapter, size, shade):
    frame = Frame(0, Fraction(0), np.full((*size, 3), shade, np.uint8))
    embedding = adapter.embed([frame], [boxes_of((0, 0, size[1], size[0]))])[0]
    assert np.isfinite(embedding).all()
    assert np.linalg.norm(embedding) <= 1 + 1e-6


def test_the_network_is_given_whole_strides(adapter):
    shapes = []
    adapter._pyramid.features.network.register_forward_pre_hook(
        lambda _, inputs: shapes.append(inputs[0].shape)
    )
    adapter.embed([make_frame(size=(33, 48))], [boxes_of((0, 0, 20, 20))])
    assert shapes == [(1, 3, 40, 48)]


def test_an_object_is_more_like_itself_elsewhere_than_like_others(adapter):
    """Three things of coloured bands on noise, which change places from frame to frame."""
    generator = np.random.default_rng(0)
    bands = generator.integers(0, 256, (3, 5, 1, 3)).repeat(16, axis=1).repeat(40, axis=2)
    places = boxes_of((21, 12, 61, 92), (94, 45, 134, 125), (183, 30, 223, 110))
    frames, orders = [], [(0, 1, 2), (2, 0, 1), (1, 2, 0)]
    for index, order in enumerate(orders):
        image = generator.integers(100, 156, (144, 256, 3), dtype=np.uint8)
        for thing, (x1, y1, x2, y2) in zip(order, places.astype(int), strict=True):
            image[y1:y2, x1:x2] = bands[thing]
        frames.append(Frame(index, Fraction(index), image))
    embeddings = adapter.embed(frames, [places] * 3)
    for order, rows in zip(orders[1:], embeddings[1:], strict=True):
        similarity = rows @ embeddings[0].T  # (place now, thing)
        assert tuple(similarity.argmax(axis=1)) == order


def test_a_frame_beyond_the_size_limit_is_reduced_with_its_boxes(adapter):
    frame = make_frame(size=(96, 128))
    doubled = frame.image.repeat(15, axis=0).repeat(15, axis=1)  # 1440 x 1920
    reduced_width = []
    adapter._pyramid.features.network.register_forward_pre_hook(
        lambda _, inputs: reduced_width.append(inputs[0].shape[-1])
    )
    whole = Frame(0, Fraction(0), doubled)
    exact = Frame(0, Fraction(0), frame.image.repeat(12, axis=0).repeat(12, axis=1))
    box = boxes_of((20, 10, 60, 70))
    one = adapter.embed([whole], [box * 15])[0]
    another = build_adapter("raw", device="cpu").embed([exact], [box * 12])[0]
    assert reduced_width == [VARIANTS["raw"].preprocessing["demo"].long_side]
    # The same picture drawn at that size: only edges, blended by the reduction, differ.
    assert (one * another).sum() > 0.98


def test_bfloat16_embeds_much_like_float32(adapter, clip):
    coarse = build_adapter("raw", device="cpu", precision="bfloat16").embed(*clip)
    for one, another in zip(adapter.embed(*clip), coarse, strict=True):
        assert another.dtype == np.float32
        # bfloat16 has 8 bits of precision, lost anew in each of some 20 layers.
        assert ((one * another).sum(axis=1) > 0.99).all()


def test_building_leaves_torchs_random_numbers_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    build_adapter("raw", device="cpu")
    assert torch.rand(1) == expected


def test_a_box_that_looks_like_the_mean_of_everything_gets_zeros(adapter, monkeypatch):
    monkeypatch.setattr(
        adapter._pyramid.features,
        "network",
        lambda x: [torch.ones(1, 32, x.shape[2] // 8, x.shape[3] // 8)],
    )
    embedding = adapter.embed([make_frame()], [boxes_of((10, 10, 50, 50))])[0]
    np.testing.assert_array_equal(embedding, np.zeros((1, adapter.dim)))
