"""OpenVINO computes what torch does, converts once, and stays at home."""

import gc
import json
import logging
import os
import subprocess
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from torch import nn

from masa_cli.boxes import iou
from masa_cli.detectors.lite import build_class_detector
from masa_cli.detectors.prompt import parse_prompt
from masa_cli.detectors.request import request_objects, request_prompt
from masa_cli.errors import SettingsError
from masa_cli.models import SharedNetworks, device, runtime
from masa_cli.models import graphs as graphs_of_openvino
from masa_cli.models.adapter import build_adapter, resolve
from masa_cli.models.device import batches_ahead, quickest_precision
from masa_cli.models.runtime import (
    Converted,
    choose_runtime,
    one_thread_beside,
)
from masa_cli.segmenters import SegmenterRequest
from masa_cli.segmenters.lite import build_learned_segmenter
from masa_cli.sources.prefetch import done_ahead
from masa_cli.structures import Frame
from masa_cli.threads import num_cores
from tests.golden import assert_samples_close, golden
from tests.recipe import recipe_input

openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")

CPU = torch.device("cpu")
BOXES = np.array([[4, 5, 60, 90], [30.5, 20, 120, 100], [-5, 10, 20, 70]], np.float32)


def frame(index, height, width):
    """Noise over large patches: something to see at every scale."""
    random = np.random.default_rng(index)
    patches = random.integers(0, 255, (8, 8, 3)).repeat(height // 8, 0).repeat(width // 8, 1)
    image = np.zeros((height, width, 3), np.uint8)
    image[: patches.shape[0], : patches.shape[1]] = patches
    noise = random.integers(0, 60, image.shape, np.uint8)
    return Frame(index, Fraction(index), image // 2 + noise)


def networks_of(name, precision="float32", kind="openvino"):
    return SharedNetworks(device="cpu", precision=precision, runtime=kind)


def detector_of(networks, words="object"):
    _, weights = resolve("lite")
    settings = {"min_score": 5e-4, "max_overlap": 0.5, "max_boxes": 100}  # of noise
    if words == "object":
        request = request_objects(str(weights), settings)
    else:
        request = request_prompt(parse_prompt(words), str(weights), settings)
    return build_class_detector(request, networks)


@pytest.mark.parametrize("size", [(240, 320), (200, 264)], ids=str)
def test_lite_finds_describes_and_segments_the_same(size):
    name, weights = resolve("lite")
    frames = [frame(index, *size) for index in range(2)]
    results = []
    for kind in ("torch", "openvino"):
        networks = networks_of("lite", kind=kind)
        detector = detector_of(networks)
        adapter = build_adapter(
            name, weights=weights, pyramid=networks.described(name, weights), device="cpu"
        )
        segmenter = build_learned_segmenter(SegmenterRequest(name, weights), networks)
        found = detector.detect(frames)
        # Noise has no proposals.
        astronaut = Frame(0, Fraction(0), skimage.data.astronaut()[: size[0], : size[1]])
        found += detector_of(networks_of("lite", kind=kind), "person, tie").detect([astronaut])
        embedded = adapter.embed(frames, [BOXES, BOXES[:1]])
        with torch.inference_mode():
            logits = segmenter._head(segmenter.cells(frames[1], np.abs(BOXES))).numpy()
        results.append((found, embedded, logits))
    (found, embedded, logits), (others, other_embedded, other_logits) = results
    for one, other in zip(found, others, strict=True):
        assert len(one) > 1
        np.testing.assert_allclose(other.boxes, one.boxes, atol=1e-3)
        np.testing.assert_allclose(other.scores, one.scores, atol=1e-5)
    for one, other in zip(embedded, other_embedded, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-5)
    np.testing.assert_allclose(other_logits, logits, atol=1e-3)


def test_networks_are_gone_with_the_run_that_built_them():
    """Not when circles are looked for, which may be never: results are written in their memory."""
    networks = networks_of("lite")
    detector = detector_of(networks)
    detector.detect([frame(0, 64, 96)])
    gc.collect()
    gc.disable()
    try:
        pyramid, network = (weakref.ref(x) for x in (detector._pyramid, detector._network))
        del networks, detector
        assert pyramid() is None
        assert network() is None
    finally:
        gc.enable()


def test_raw_describes_the_same():
    embedded = []
    for kind in ("torch", "openvino"):
        pyramid = networks_of("raw", kind=kind).described("raw", None)
        adapter = build_adapter("raw", pyramid=pyramid, device="cpu")
        embedded.append(adapter.embed([frame(0, 240, 320)], [BOXES])[0])
    np.testing.assert_allclose(embedded[1], embedded[0], atol=1e-5)


_TAPS = {
    "r50": [(f"r50/c{place}", 64 * 2**place, 2**place) for place in (2, 3, 4, 5)],
    "sam-b": [(f"sam_vitb/b{place}", 768, 16) for place in range(4)],
}


@pytest.mark.parametrize("name", _TAPS)
def test_maps_of_published_weights_are_the_official_ones(name, published_file, caplog):
    """The bounds are those of torch, see test_official_adapters; another size was the example."""
    weights = published_file(name, "masa_adapter.", "track_head.", "rpn_head.", "roi_head.")
    networks = networks_of(name)
    networks._backbones[name, weights] = None
    pyramid = networks.pyramid(name, weights)
    maps = [recipe_input(each, (1, c, 64 // s, 96 // s)) for each, c, s in _TAPS[name]]
    with torch.inference_mode(), caplog.at_level(logging.INFO):
        fused = pyramid._fused(maps, range(5))
    assert "stays in torch" not in caplog.text
    for level in range(5):
        assert_samples_close(fused[level], golden(f"adapter/{name}"), f"fuse_{level}")


class Transformer(nn.Module):
    """Has the size of its input worked in: it learned a number for each cell."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        cells = x.flatten(2).transpose(1, 2)
        return [self.attention(cells, cells, cells, need_weights=False)[0] * float(len(cells[0]))]


def test_what_has_sizes_worked_into_it_is_converted_for_each(graphs):
    network = Transformer().eval()
    own = Converted(network, "a toy", list, "float32", sizes="constants")
    for height, batch in ((4, 1), (6, 1), (6, 2), (4, 1)):
        x = torch.randn(batch, 8, height, 5)
        with torch.inference_mode():
            torch.testing.assert_close(own(x)[0], network(x)[0], rtol=0, atol=1e-4)
    assert not own._in_torch
    assert len(list(graphs.iterdir())) == 3


def test_in_bfloat16_the_sure_boxes_are_the_same():
    whole, short = (
        detector_of(networks_of("lite", precision)).detect([frame(3, 240, 320)])[0]
        for precision in ("float32", "bfloat16")
    )
    overlaps = iou(whole.boxes[:3], short.boxes)
    assert (overlaps.max(axis=1) > 0.8).all()


def test_nothing_stays_in_torch(caplog):
    with caplog.at_level(logging.INFO):
        networks = networks_of("lite")
        for words in ("object", "person, kite"):
            detector_of(networks, words).detect([frame(0, 240, 320)])
    assert "stays in torch" not in caplog.text


class Toy(nn.Module):
    """A convolution; its graph is that of no other network."""

    def __init__(self, seed=0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x):
        return [self.conv(x)]


def converted(network, **gives):
    return Converted(
        network.eval(), "a toy", lambda: [torch.zeros(2, 3, 8, 10)], "float32", **gives
    )


@pytest.fixture
def graphs(tmp_path, monkeypatch):
    """An empty cache."""
    monkeypatch.setattr(runtime, "cache_folder", lambda: tmp_path / "graphs")
    return tmp_path / "graphs"


def check(network, height=8, width=10, batch=1):
    x = torch.randn(batch, 3, height, width)
    with torch.inference_mode():
        torch.testing.assert_close(network(x)[0], network.network(x)[0], rtol=0, atol=1e-5)


def test_a_network_is_converted_once(graphs, monkeypatch):
    check(converted(Toy()))
    monkeypatch.setattr(runtime, "convert", lambda *_: pytest.fail("converted again"))
    again = converted(Toy())
    check(again)
    assert not again._in_torch
    assert len(list(graphs.iterdir())) == 1


def test_what_is_told_of_the_preparation_is_told_of_nothing_else(graphs):
    states = []

    @contextmanager
    def preparing():
        states.append("begun")
        yield
        states.append("done")

    class Told(Toy):
        def forward(self, x):
            states.append("computed")
            return super().forward(x)

    network = converted(Told(), preparing=preparing)
    x = torch.randn(1, 3, 8, 10)
    network(x)
    assert states[0] == "begun"
    assert states[-1] == "done"
    assert "computed" in states  # by torch, to compare
    assert states.count("begun") == states.count("done") == 2  # the graph; and compiling it
    del states[:]
    network(x)
    assert not states
    network(torch.randn(1, 3, 16, 10))
    assert states == ["begun", "done"]  # compiled for another size


def test_networks_of_a_run_are_prepared_where_they_are_told_to():
    states = []

    @contextmanager
    def preparing():
        states.append("begun")
        yield

    networks = SharedNetworks(device="cpu", runtime="openvino", preparing=preparing)
    detector = detector_of(networks)
    assert not states
    detector.detect([frame(0, 96, 128)])
    assert len(states) == 2 * 3  # backbone, maps and detector


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


class Counting(Toy):
    """Takes down how many threads torch has when it computes."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append(torch.get_num_threads())
        return super().forward(x)


@pytest.mark.parametrize("is_refused", [False, True])
def test_torch_has_one_thread_beside_openvino_but_all_for_networks(
    graphs, monkeypatch, two_threads, is_refused
):
    asked = threads_asked_for(monkeypatch)
    if is_refused:
        monkeypatch.setattr(runtime, "_check_same", refuse)
    network = converted(Counting())
    with one_thread_beside(network):
        assert torch.get_num_threads() == 1
        network(torch.randn(1, 3, 8, 10))
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    assert network._in_torch == is_refused
    assert set(network.network.seen) == set(asked) == {2}
    with one_thread_beside(network.network):  # computed by torch
        assert torch.get_num_threads() == 2


def threads_asked_for(monkeypatch):
    """Of all that is compiled from now on."""
    asked, compiled = [], runtime.compiled
    monkeypatch.setattr(runtime, "compiled", lambda *a: asked.append(a[2]) or compiled(*a))
    return asked


def refuse(*_):
    raise ValueError("other numbers")


def test_detecting_describing_and_masks_are_done_beside_openvino(monkeypatch, two_threads):
    name, weights = resolve("lite")
    networks = networks_of("lite")
    detector = detector_of(networks)
    adapter = build_adapter(
        name, weights=weights, pyramid=networks.described(name, weights), device="cpu"
    )
    segmenter = build_learned_segmenter(SegmenterRequest(name, weights), networks)
    seen, asked = [], threads_asked_for(monkeypatch)
    infer = runtime._infer

    def counting(*given, **more):
        seen.append(torch.get_num_threads())
        return infer(*given, **more)

    monkeypatch.setattr(runtime, "_infer", counting)
    for index in range(2):
        del seen[:]
        detector.detect([frame(index, 96, 128)])
        adapter.embed([frame(index, 96, 128)], [BOXES])
        segmenter.segment(frame(index, 96, 128), np.abs(BOXES))
    assert seen == [1] * 4
    assert set(asked) == {2}  # those that are built while others work on one, too
    assert torch.get_num_threads() == 2


def test_of_two_threads_one_computes_after_the_other(graphs, monkeypatch):
    network = converted(Toy())
    check(network)
    infer, meeting, met = runtime._infer, threading.Barrier(2), []

    def together(*given, **more):
        with suppress(threading.BrokenBarrierError):
            meeting.wait(timeout=0.2)
            met.append("both inside")
        return infer(*given, **more)

    monkeypatch.setattr(runtime, "_infer", together)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: check(network), range(2)))
    assert not met
    assert not network._in_torch


def test_several_callers_compute_side_by_side_on_threads_of_their_own(graphs, monkeypatch):
    network = converted(Toy(), callers=2, threads=1)
    check(network)
    infer, meeting, used = runtime._infer, threading.Barrier(2), []

    def together(request, *given, **more):
        used.append(request)
        meeting.wait(timeout=60)
        return infer(request, *given, **more)

    monkeypatch.setattr(runtime, "_infer", together)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: check(network), range(8)))
    assert len({id(each) for each in used}) == 2
    program = used[0].get_compiled_model()
    facts = [program.get_property(name) for name in ("NUM_STREAMS", "INFERENCE_NUM_THREADS")]
    assert facts == [min(2, num_cores())] * 2
    assert not network._in_torch


def test_one_caller_alone_has_the_same_request_again(graphs, monkeypatch):
    network = converted(Toy(), callers=2)
    infer, used = runtime._infer, []
    monkeypatch.setattr(runtime, "_infer", lambda *a, **b: used.append(a[0]) or infer(*a, **b))
    for _ in range(3):
        check(network)
    assert len({id(each) for each in used[1:]}) == 1  # the first was to compare


def test_channels_that_lie_last_are_not_moved(graphs, monkeypatch):
    network = converted(Toy())
    taken, array = [], runtime._array
    monkeypatch.setattr(
        runtime, "_array", lambda x, **how: taken.append((x, array(x, **how))) or taken[-1][1]
    )
    x = torch.randn(1, 6, 8, 3).permute(0, 3, 1, 2)
    for given in (x, x.contiguous(), x):
        expected = network.network(given)[0]
        torch.testing.assert_close(network(given)[0], expected, rtol=0, atol=1e-5)
        tensor, own = taken[-1]
        assert own.ctypes.data == tensor.data_ptr()
    assert not network._in_torch
    assert len(network._requests) == 2


def test_what_is_compiled_for_any_size_takes_channels_in_their_place(graphs):
    network = converted(Toy(), varies=True)
    x = torch.randn(2, 6, 8, 3).permute(0, 3, 1, 2)
    torch.testing.assert_close(network(x)[0], network.network(x)[0], rtol=0, atol=1e-5)
    assert not network._in_torch


def test_what_openvino_computes_in_bfloat16_is_given_float32():
    networks = networks_of("lite", "bfloat16")
    _, weights = resolve("lite")
    assert networks.backbone("lite", weights).dtype == torch.float32
    in_torch = networks_of("lite", "bfloat16", "torch").backbone("lite", weights)
    assert in_torch.dtype == torch.bfloat16
    features = in_torch.of([frame(0, 96, 128)])
    assert features.maps[0].dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("at_once", "kind", "threads", "expected"),
    [
        (2, "auto", 2, 2),
        (2, "openvino", 8, 2),
        (2, "auto", 1, 0),  # they would only take turns
        (2, "torch", 2, 0),  # whose threads are one pool
        (1, "auto", 2, 0),
    ],
)
def test_two_frames_are_looked_at_at_once_where_cores_allow(at_once, kind, threads, expected):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert batches_ahead(at_once, kind, "cpu") == expected
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("ahead", "expected"), [(0, (1, 6)), (1, (1, 6)), (2, (2, 3))])
def test_those_who_look_ahead_share_the_threads(ahead, expected):
    before = torch.get_num_threads()
    torch.set_num_threads(6)
    try:
        networks = SharedNetworks(device="cpu", runtime="openvino", ahead=ahead)
        own = networks.converted(Toy(), "a toy", list)
    finally:
        torch.set_num_threads(before)
    assert (own._callers, own._threads) == expected


def test_two_frames_at_once_are_seen_as_one_after_the_other(two_threads):
    """All that a run asks for: boxes in threads of their own, the rest in that of the run."""
    name, weights = resolve("lite")
    frames = [frame(index, 96, 128) for index in range(6)]
    results = []
    for ahead in (0, 2):
        networks = SharedNetworks(device="cpu", runtime="openvino", ahead=ahead)
        detector, looks = detector_of(networks), []
        adapter = build_adapter(
            name, weights=weights, pyramid=networks.described(name, weights), device="cpu"
        )
        segmenter = build_learned_segmenter(SegmenterRequest(name, weights), networks)
        found = done_ahead(lambda x, d=detector: (x, d.detect([x])[0]), (x for x in frames), ahead)
        seen = []
        for x, boxes in found:
            if not seen:
                pyramid = networks.pyramid(name, weights)
                for network in (pyramid.features.network, *pyramid._converted.values()):
                    network.register_forward_hook(lambda *_, looks=looks: looks.append(1))
                looks.extend([1, 1])  # those of the first frame
            seen.append((boxes, adapter.embed([x], [boxes.boxes])[0]))
            assert len(segmenter.segment(x, boxes.boxes)) == len(boxes)
        assert len(looks) <= 2 * len(frames)  # fewer, as some were begun before
        results.append(seen)
    for (one, embedded), (other, other_embedded) in zip(*results, strict=True):
        assert len(one) > 1
        np.testing.assert_allclose(other.boxes, one.boxes, atol=1e-3)
        np.testing.assert_allclose(other.scores, one.scores, atol=1e-5)
        np.testing.assert_allclose(other_embedded, embedded, atol=1e-4)


def test_other_weights_and_other_precisions_are_other_graphs(graphs):
    check(converted(Toy()))
    check(converted(Toy(seed=1)))
    other = Converted(Toy(), "a toy", lambda: [torch.zeros(2, 3, 8, 10)], "bfloat16")
    other(torch.randn(1, 3, 8, 10))
    assert len(list(graphs.iterdir())) == 3


def test_graphs_that_were_not_used_for_longest_make_room(graphs, monkeypatch):
    for seed in (0, 1):
        check(converted(Toy(seed=seed)))
    first, second = sorted(graphs.iterdir(), key=lambda folder: folder.stat().st_mtime)
    os.utime(first, (1, 1))
    os.utime(second, (2, 2))
    used = graphs / runtime.name_of(Toy(seed=0).eval(), "a toy", "float32", ("any size",))
    check(converted(Toy(seed=0)))  # is used again
    size = sum(file.stat().st_size for file in first.iterdir())
    monkeypatch.setattr(graphs_of_openvino, "_MAX_BYTES", 2.5 * size)
    check(converted(Toy(seed=2)))
    assert first.exists() == (first == used)
    assert second.exists() == (second == used)
    assert len(list(graphs.iterdir())) == 2


@pytest.mark.parametrize("damage", ["cut", "changed", "no digests", "no graph", "nonsense"])
def test_a_damaged_graph_is_made_again(graphs, damage):
    check(converted(Toy()))
    (folder,) = graphs.iterdir()
    weights, graph, digests = (folder / n for n in ("graph.bin", "graph.xml", "digests.json"))
    content = weights.read_bytes()
    {
        "cut": lambda: weights.write_bytes(content[:-8]),
        "changed": lambda: weights.write_bytes(content[:8] + bytes(8) + content[16:]),
        "no digests": digests.unlink,
        "no graph": graph.unlink,
        "nonsense": lambda: digests.write_text("[]"),
    }[damage]()
    network = converted(Toy())
    check(network)
    assert not network._in_torch
    assert weights.read_bytes() == content
    assert json.loads(digests.read_text())


def test_of_two_processes_that_convert_the_first_one_writes(graphs, monkeypatch):
    check(converted(Toy()))
    (folder,) = graphs.iterdir()
    before = (folder / "graph.xml").stat().st_ino
    read = runtime.read
    monkeypatch.setattr(runtime, "read", lambda path: None)  # it was not there when we looked
    check(converted(Toy()))
    assert (folder / "graph.xml").stat().st_ino == before
    assert list(graphs.iterdir()) == [folder]
    assert read(folder) is not None


def test_without_a_cache_that_can_be_written_it_works_all_the_same(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(runtime, "cache_folder", lambda: tmp_path / "file" / "graphs")
    network = converted(Toy())
    check(network)
    assert not network._in_torch


def test_any_size_and_number_of_images_is_computed(graphs):
    network = converted(Toy())
    for number in range(8):
        check(network, height=4 + number, width=20 - number, batch=1 + number % 3)
        check(network)
    assert len(network._requests) <= runtime._MOST_SIZES + 1


class Flattened(Toy):
    """Makes constants of the sides of images."""

    def forward(self, x):
        rows = self.conv(x).flatten(2)
        return [rows.reshape(len(x), 4, *x.shape[2:])]


def test_a_graph_of_convolutions_is_traced_at_one_size_and_holds_for_all(graphs, monkeypatch):
    sizes = []
    convert = runtime.convert
    monkeypatch.setattr(
        runtime, "convert", lambda *given: sizes.append(given[-1]) or convert(*given)
    )
    network = converted(Toy(), sizes="free")
    for number in range(8):
        check(network, height=4 + number, width=20 - number, batch=1 + number % 3)
    assert sizes == [None]
    assert not network._in_torch


def test_of_backbones_those_of_convolutions_are_traced_so():
    networks = networks_of("lite")
    _, weights = resolve("lite")
    own = networks.pyramid("lite", weights).features.network
    assert own._sizes == "free"


def test_what_only_seems_to_be_convolutions_stays_in_torch(graphs):
    network = converted(Flattened(), sizes="free")
    check(network, height=12, width=6)
    assert network._in_torch
    assert not graphs.exists()


class Stubborn(Toy):
    """Cannot be exported."""

    def forward(self, x):
        if torch.compiler.is_compiling():
            raise RuntimeError("no")
        return super().forward(x)


class Tricky(Toy):
    """Makes a constant of the number of images."""

    def forward(self, x):
        return [self.conv(x) * float(len(x))]


@pytest.mark.parametrize("kind", [Stubborn, Tricky])
def test_what_cannot_be_converted_stays_in_torch_and_says_so_once(graphs, caplog, kind):
    network = converted(kind())
    with caplog.at_level(logging.INFO):
        check(network)
        check(network)
    told = [each for each in caplog.messages if "stays in torch" in each]
    assert told == ["a toy cannot be computed by OpenVINO here: it stays in torch"]
    assert not graphs.exists() or not list(graphs.iterdir())


def test_threads_are_those_of_torch(graphs):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        network = converted(Toy())
        check(network)
    finally:
        torch.set_num_threads(before)
    with next(iter(network._requests.values())).lent() as request:
        pass
    threads = request.get_compiled_model().get_property("INFERENCE_NUM_THREADS")
    assert threads == 1


def test_auto_takes_openvino_on_a_cpu_only():
    assert choose_runtime("auto", CPU) == "openvino"
    assert choose_runtime("auto", torch.device("cuda")) == "torch"
    assert choose_runtime("torch", CPU) == "torch"


@pytest.mark.parametrize(
    ("networks", "kind", "is_able", "expected"),
    [
        (["lite"], "auto", True, "bfloat16"),
        (["lite", "lite"], "openvino", True, "bfloat16"),
        (["raw"], "auto", True, "bfloat16"),
        (["lite"], "auto", False, "float32"),
        (["lite"], "torch", True, "float32"),
        (["lite", "r50"], "auto", True, "float32"),
        (["onnx", "raw"], "auto", True, "float32"),
        (["lite-learned"], "auto", True, "float32"),
    ],
    ids=str,
)
def test_auto_takes_bfloat16_where_all_networks_are_as_good_and_quicker(
    monkeypatch, networks, kind, is_able, expected
):
    monkeypatch.setattr(device, "computes_bfloat16", lambda: is_able)
    assert quickest_precision(networks, kind, "cpu") == expected


def test_auto_is_float32_on_a_gpu(monkeypatch):
    monkeypatch.setattr(device, "choose_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr(device, "computes_bfloat16", lambda: True)
    assert quickest_precision(["lite"], "auto", "auto") == "float32"


def test_this_machine_tells_what_its_cpu_computes_in():
    able = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert runtime.computes_bfloat16() == ("BF16" in able)


def test_a_runtime_that_cannot_be_is_an_error(monkeypatch):
    with pytest.raises(SettingsError, match='unknown runtime "tensorrt"'):
        choose_runtime("tensorrt", CPU)
    with pytest.raises(SettingsError, match="on the cpu, not on cuda"):
        choose_runtime("openvino", torch.device("cuda"))
    monkeypatch.setattr(runtime, "find_spec", lambda name: None)
    assert choose_runtime("auto", CPU) == "torch"
    with pytest.raises(SettingsError, match="not installed") as caught:
        choose_runtime("openvino", CPU)
    assert "pip install openvino" in caught.value.fix


ALONE = """
import socket, sys
def refuse(event, arguments):
    if event.startswith("socket."):
        raise SystemExit("a socket was opened")
sys.addaudithook(refuse)
import torch
from masa_cli.models.runtime import Converted
class Enlarged(torch.nn.Conv2d):
    def forward(self, x):
        return torch.nn.functional.interpolate(super().forward(x), (12, 12))
network = Converted(Enlarged(3, 4, 3), "a toy", lambda: [torch.zeros(2, 3, 8, 10)],
    "float32", is_one=True)
network(torch.randn(1, 3, 9, 9))
assert not network._in_torch
import logging
print("openvino_telemetry" in sys.modules, logging.getLogger().handlers)
"""


def test_no_socket_is_opened_nothing_written_elsewhere_and_no_log_changed(tmp_path):
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    home.mkdir()
    temporary.mkdir()
    environment = {
        **{n: v for n, v in os.environ.items() if not n.startswith("XDG_")},
        "HOME": str(home),
        "TMPDIR": str(temporary),
        "PYTHONPATH": str(Path(runtime.__file__).parents[2]),
    }
    done = subprocess.run(
        [sys.executable, "-c", ALONE],
        env=environment,
        cwd=temporary,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "False []"), done.stderr
    written = {path.parent.parent for path in home.rglob("*") if path.is_file()}
    assert written == {home / ".cache/masa/openvino"}
    assert [path for path in temporary.rglob("*") if path.is_file()] == []
