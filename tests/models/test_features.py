"""From frames to the backbone's input, against the official preprocessing."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from masa_cli.models.features import (
    FrameFeatures,
    Pyramid,
    _resized,
    _sent,
    boxes_in_input,
    input_size,
    to_tensor,
)
from masa_cli.models.variants import PREPROCESSINGS, VARIANTS, Preprocessing
from masa_cli.structures import Frame
from tests.golden import DATA, golden


class Doubling(nn.Module):
    """Counts the pictures of each call."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def forward(self, x):
        self.calls.append(len(x))
        return [x * 2, x[:, :, ::2, ::2] * 2]


def prepare(images):
    x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
    return nn.functional.pad(x, (0, 2)), tuple(x.shape[2:])


def frame(index):
    return Frame(index, Fraction(index), np.full((4, 6, 3), index, np.uint8))


@pytest.fixture
def network():
    return Doubling()


def values(features):
    return [x[:, 0, 0, 0].tolist() for x in features.maps]


def test_a_frame_is_looked_at_once(network):
    features = FrameFeatures(network, prepare)
    frames = [frame(index) for index in range(3)]
    seen = features.of(frames)
    assert (seen.padded, seen.unpadded) == ((4, 8), (4, 6))
    for some in (frames, frames[1:], [frames[2], frames[0]]):
        expected = [2.0 * each.index for each in some]
        assert values(features.of(some)) == [expected, expected]
    assert network.calls == [3]


def test_only_what_is_new_is_looked_at(network):
    features = FrameFeatures(network, prepare)
    features.of([frame(0)])
    assert values(features.of([frame(0), frame(1), frame(2)])) == [[0, 2, 4]] * 2
    assert network.calls == [1, 2]


@pytest.mark.parametrize("num_runs", [1, 2, 3, 5])
def test_as_many_runs_are_remembered_as_are_asked_for(network, num_runs):
    """Threads may be at the next frames while boxes of these are described."""
    features = FrameFeatures(network, prepare)
    features.remember(num_runs)
    for index in range(7):
        features.of([frame(index)])
    for index in range(7 - num_runs, 7):
        assert values(features.of([frame(index)])) == [[2 * index]] * 2
    assert len(network.calls) == 7
    features.of([frame(6 - num_runs)])
    assert len(network.calls) == 8


def test_frames_of_two_sizes_in_one_batch_are_looked_at_once(network):
    features = FrameFeatures(network, prepare)
    large, small = [frame(0), frame(1)], [frame(2)]
    for run in (large, small, large, small):
        features.of(run)
    assert network.calls == [2, 1]


def test_what_is_let_go_is_of_the_earliest_frame_not_what_was_made_first(network):
    features = FrameFeatures(network, prepare)
    features.remember(3)
    for index in (1, 3, 2, 4, 5):  # of two threads, the one at frame 2 was slow
        features.of([frame(index)])
    for index in (3, 4, 5):
        features.of([frame(index)])
    assert len(network.calls) == 5


def test_many_threads_remember_what_they_made(network):
    features = FrameFeatures(network, prepare)
    features.remember(64)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda index: features.of([frame(index)]), range(64)))
    assert [values(features.of([frame(index)]))[0] for index in range(64)] == [
        [2 * index] for index in range(64)
    ]
    assert len(network.calls) == 64


class OnItsWay:
    """Takes down how it is sent."""

    def __init__(self):
        self.told = []

    def pin_memory(self):
        self.told.append("pinned")
        return self

    def to(self, device, **how):
        self.told.append((device.type, how))
        return self


def test_a_gpu_fetches_pinned_memory_while_the_thread_goes_on():
    sent = [_sent(OnItsWay(), torch.device(name)).told for name in ("cuda", "mps", "cpu")]
    assert sent == [["pinned", ("cuda", {"non_blocking": True})], [("mps", {})], [("cpu", {})]]


CPU = (torch.device("cpu"), torch.float32)
MEAN, STD = VARIANTS["r50"].mean, VARIANTS["r50"].std
SIZES = json.loads((DATA / "preprocess_sizes.json").read_text())
NAMES = {"u8": True, "f32": False}


def blank(height, width):
    return np.zeros((height, width, 3), np.uint8)


@pytest.mark.parametrize("case", SIZES, ids=lambda c: f"{c['w']}x{c['h']} {c['scale'][0]}")
def test_sizes_are_the_official_ones(case):
    image = blank(case["h"], case["w"])
    for divisor in (32, 1024):
        preprocessing = Preprocessing(*case["scale"], divisor=divisor)
        size = input_size(image, preprocessing)
        assert size == (case["new_h"], case["new_w"])
        x, unpadded = to_tensor([image], preprocessing, MEAN, STD, *CPU)
        assert list(x.shape[2:]) == case[f"pad{divisor}"]
        assert unpadded == size


@pytest.mark.parametrize("case", SIZES, ids=lambda c: f"{c['w']}x{c['h']} {c['scale'][0]}")
def test_boxes_are_scaled_per_axis_and_not_clipped(case):
    image, size = blank(case["h"], case["w"]), (case["new_h"], case["new_w"])
    box = np.array([[-10.5, 20, 3000.25, 40]], np.float32)
    factors = np.array([*case["scale_factor"]] * 2)
    scaled = boxes_in_input(box, image, size, clips=False)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, box * factors, rtol=1e-6)


@pytest.mark.parametrize("scale", [(128, 128), (133, 80), (64, 48)])
@pytest.mark.parametrize("kind", NAMES)
def test_resized_pixels_are_the_official_ones(kind, scale):
    """As the demo resizes (numbers with a fraction), and as the benchmarks do (bytes)."""
    file = golden("preprocess")
    expected = file[f"{kind}_{scale[0]}x{scale[1]}"]
    preprocessing = Preprocessing(*scale, divisor=1, rounds=NAMES[kind])
    image = np.ascontiguousarray(file["img"])
    pixels = to_tensor([image], preprocessing, (0, 0, 0), (1 / 255,) * 3, *CPU)[0]
    # OpenCV's versions interpolate with 11 or with 24 bits of a fraction.
    tolerance = {"u8": 1.01, "f32": 1e-3}[kind]
    np.testing.assert_allclose(pixels[0].permute(1, 2, 0), expected, atol=tolerance)
    assert (np.abs(pixels[0].permute(1, 2, 0).numpy() - expected) < 0.01).mean() > 0.99


def test_normalised_and_padded_pixels_are_the_official_ones():
    """The golden picture is BGR; the network is given RGB."""
    file = golden("preprocess")
    image = np.ascontiguousarray(file["img"][..., ::-1])
    preprocessing = next(
        Preprocessing(*scale, divisor=32)
        for scale in ((128, 128), (133, 80))
        if input_size(image, Preprocessing(*scale, divisor=32)) == (80, 128)
    )
    x, _ = to_tensor([image], preprocessing, MEAN, STD, *CPU)
    np.testing.assert_allclose(x[0], file["norm_pad32"], atol=1e-4)


def test_the_padding_is_zero_after_normalisation():
    x, (height, width) = to_tensor(
        [blank(61, 97)], Preprocessing(128, 128, divisor=32), MEAN, STD, *CPU
    )
    assert (x[:, :, height:] == 0).all()
    assert (x[:, :, :, width:] == 0).all()
    assert (x[:, :, :height, :width] < -1).all()


def test_only_pictures_that_may_grow_grow():
    preprocessing = VARIANTS["raw"].preprocessing["demo"]
    assert input_size(blank(50, 80), preprocessing) == (50, 80)
    assert input_size(blank(50, 80), replace(preprocessing, enlarges=True)) == (960, 1536)
    assert input_size(blank(1, 20000), preprocessing) == (1, 1536)


def test_boxes_are_clipped_to_the_frame_where_that_is_asked_for():
    box = np.array([[-10, 5, 300, 40]], np.float32)
    clipped = boxes_in_input(box, blank(20, 100), (40, 200), clips=True)
    np.testing.assert_array_equal(clipped, [[0, 10, 200, 40]])


@pytest.mark.parametrize("preparation", PREPROCESSINGS)
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("r50", {"demo": (576, 1024), "tao": (576, 1024), "bdd": (576, 1024)}),
        ("gdino", {"demo": (768, 1344), "tao": (1024, 1024), "bdd": (1024, 2048)}),
        ("detic", {"demo": (768, 1344), "tao": (768, 1344), "bdd": (768, 1344)}),
        ("sam-b", {"demo": (1024, 1024), "tao": (1024, 1024), "bdd": (1024, 1024)}),
        ("sam-h", {"demo": (1024, 1024), "tao": (1024, 1024), "bdd": (1024, 1024)}),
        ("raw", {"demo": (720, 1280), "tao": (720, 1280), "bdd": (720, 1280)}),
    ],
)
def test_a_frame_of_bdd_fills_the_network_it_is_prepared_for(name, expected, preparation):
    """1280x720, through the resizing and padding of the table in spec section 2."""
    preprocessing = VARIANTS[name].preprocessing[preparation]
    x, _ = to_tensor([blank(720, 1280)], preprocessing, MEAN, STD, *CPU)
    assert x.shape[2:] == expected[preparation]
    assert preprocessing.rounds == (preparation != "demo" or name == "raw")


class Fusion(nn.Module):
    """The wanted levels as they are; remembers what was wanted, and for how many frames."""

    def __init__(self):
        super().__init__()
        self.wanted = []

    def forward(self, maps, levels):
        self.wanted.append((len(maps[0]), sorted(levels)))
        return {level: maps[level] for level in levels}


class Backbone(nn.Module):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return [x, x * 2, x * 3]


def pyramid():
    fusion, backbone = Fusion(), Backbone()

    def prepare(images):
        values = torch.tensor([float(image[0, 0, 0]) for image in images])
        return values.view(-1, 1, 1, 1).expand(-1, 1, 4, 4), (4, 4)

    return Pyramid(FrameFeatures(backbone, prepare), nn.Identity(), fusion), fusion, backbone


def noise_frame(index):
    return Frame(index, Fraction(index), np.full((4, 4, 3), index, np.uint8))


def test_levels_that_are_there_are_not_made_again():
    maps, fusion, backbone = pyramid()
    maps.of([noise_frame(1)], range(3))
    again = maps.of([noise_frame(1)], {0, 2})
    assert fusion.wanted == [(1, [0, 1, 2])]
    assert backbone.calls == 1
    assert again[2].mean() == 3


def test_levels_that_are_not_there_are_made():
    maps, fusion, backbone = pyramid()
    maps.of([noise_frame(1)], {0})
    assert set(maps.of([noise_frame(1)], {0, 1})) == {0, 1}
    assert fusion.wanted == [(1, [0]), (1, [0, 1])]
    assert backbone.calls == 1


def test_some_frames_of_a_run_come_in_their_own_order():
    maps, fusion, _ = pyramid()
    maps.of([noise_frame(index) for index in (3, 4, 5)], {0})
    some = maps.of([noise_frame(5), noise_frame(3)], {0})[0]
    assert some[:, 0, 0, 0].tolist() == [5, 3]
    assert len(fusion.wanted) == 1


@pytest.mark.parametrize(("num_runs", "made"), [(1, 3), (2, 2)])
def test_frames_before_the_last_runs_are_forgotten(num_runs, made):
    maps, fusion, _ = pyramid()
    maps.remember(num_runs)
    for index in (1, 2, 1):
        maps.of([noise_frame(index)], {0})
    assert len(fusion.wanted) == made
    maps.of([noise_frame(3)], {0})
    maps.of([noise_frame(1)], {0})
    assert len(fusion.wanted) == made + 2


SHAPES = [(96, 128), (577, 768), (20, 1), (1, 50), (1, 1), (64, 64)]


@pytest.mark.parametrize("kind", ["demo", "tao", "bdd"])
@pytest.mark.parametrize("name", ["lite", "raw", "r50"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_bytes_are_looked_up_as_they_are_computed(name, kind, shape):
    """Down to the last bit and to the layout, which tells torch how to convolve."""
    row = VARIANTS[name]
    preprocessing = replace(row.preprocess_as(kind, None), rounds=True)
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (*shape, 3), np.uint8) for _ in range(2)]
    images[0].flat[:256] = range(256)
    for given in (images, images[:1], [image[:, ::-1] for image in images]):
        x, size = to_tensor(given, preprocessing, row.mean, row.std, *CPU)
        resized = np.stack([_resized(image, preprocessing) for image in given])
        pixels = torch.from_numpy(resized).permute(0, 3, 1, 2).float()
        mean, std = (torch.tensor(each).view(1, 3, 1, 1) * 255 for each in (row.mean, row.std))
        normal = (pixels - mean) / std
        height, width = size
        divisor = preprocessing.divisor
        expected = nn.functional.pad(normal, (0, -width % divisor, 0, -height % divisor))
        assert size == tuple(normal.shape[2:])
        if shape != (1, 1):  # a single pixel has no layout
            assert x.stride() == expected.stride()
        assert torch.equal(x, expected)
