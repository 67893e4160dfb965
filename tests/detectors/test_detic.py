"""What Detic's network finds, in the pixels of frames and under the names that are asked for."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import CLIPTokenizerFast

from masa_cli.detectors import DETECTORS, BoxSettings, Detector, DetectorRequest
from masa_cli.detectors.detic import DeticDetector, build_detic, choose_classes, encode_texts
from masa_cli.detectors.lvis import with_lvis_words
from masa_cli.detectors.prompt import parse_prompt
from masa_cli.errors import WeightsError
from masa_cli.masks import unpack
from masa_cli.models import SharedNetworks
from masa_cli.models.detic import Detic, DeticMasks
from masa_cli.models.features import FrameFeatures, Pyramid
from masa_cli.models.neck import NoFusion
from masa_cli.models.published_weights import load_parts, read_weights
from masa_cli.segmenters import SegmenterRequest
from masa_cli.structures import Frame
from tests import plain_detic as plain
from tests.clip import ids_of, plain_vector, write_clip
from tests.golden import assert_close

ROW = DETECTORS["detic"]
PERSON, BIRD = 792, 98


class SaidBefore:
    """A network that finds the same in every image."""

    def __init__(self, boxes, scores):
        self.answer = torch.tensor(boxes), torch.tensor(scores)

    def __call__(self, levels, size):
        self.size = size
        return [self.answer] * len(levels[0])


def pyramid(unpadded):
    """Of frames that are enlarged by two."""
    features = FrameFeatures(
        torch.nn.Flatten(0), lambda images: (torch.zeros(len(images), 3, 8, 8), unpadded)
    )
    features.network.forward = lambda x: [x]
    neck = torch.nn.Identity()
    neck.forward = lambda maps: maps * 5
    return Pyramid(features, neck, NoFusion())


def detector(network, columns, settings=ROW.settings, prompt="a, b", unpadded=(200, 400)):
    prompt = parse_prompt(prompt)
    request = DetectorRequest(ROW, prompt.classes, settings, prompt)
    return DeticDetector(network, pyramid(unpadded), request, columns)


def frames(count=1):
    return [Frame(i, Fraction(i), np.zeros((100, 200, 3), np.uint8)) for i in range(count)]


BOXES = [[20.0, 40, 60, 80], [100, 100, 200, 200], [400, 0, 400, 200]]
SCORES = [[0.3, 0.6, 0.1], [0.5, 0.01, 0.4], [0.9, 0.9, 0.9]]


def test_boxes_are_in_pixels_of_the_frame_and_have_one_class():
    network = SaidBefore(BOXES, SCORES)
    found: Detector = detector(network, [(0,), (1,)])
    (first, second) = found.detect(frames(2))
    assert network.size == (200, 400)
    for detections in (first, second):
        np.testing.assert_allclose(detections.boxes, [[10, 20, 30, 40], [50, 50, 100, 100]])
        np.testing.assert_allclose(detections.scores, [0.6, 0.5], rtol=1e-6)
        assert detections.labels.tolist() == [1, 0]
        assert detections.boxes.dtype == detections.scores.dtype == np.float32


def test_a_word_with_several_meanings_has_the_score_of_the_best():
    (found,) = detector(SaidBefore(BOXES, SCORES), [(2, 0), (1,)]).detect(frames())
    assert found.labels.tolist() == [1, 0]
    (found,) = detector(SaidBefore(BOXES, SCORES), [(1, 2), (0,)]).detect(frames())
    np.testing.assert_allclose(found.scores, [0.6, 0.5], rtol=1e-6)
    assert found.labels.tolist() == [0, 1]


def test_thresholds_of_the_prompt_and_limits_count():
    found = detector(SaidBefore(BOXES, SCORES), [(0,), (1,)], prompt="a:0.5, b:0.7")
    assert len(found.detect(frames())[0]) == 0  # up to it, boxes are dropped
    settings = BoxSettings(0.02, 0.5, min_area=500)
    (found,) = detector(SaidBefore(BOXES, SCORES), [(0,), (1,)], settings).detect(frames())
    assert found.labels.tolist() == [0]


@pytest.fixture(scope="module")
def weights(published_file):
    return published_file("detic", "")


def network_of(weights):
    with torch.device("meta"):
        network = Detic()
    load_parts(weights, "detic", {"detector": network})
    return network


def test_columns_are_those_of_the_file_and_texts_are_of_length_one(weights):
    network, vectors = network_of(weights), torch.full((2, 512), 3.0)
    vectors[1] = 0  # no direction: as background, its logit is 0
    columns = choose_classes(network, ((792, 3), "drone", (3,), "nothing"), vectors)
    assert columns == ((1, 0), (2,), (0,), (3,))
    stored = read_weights(weights)
    for i, stage in enumerate(network.stages):
        own = stored[f"detector.roi_head.bbox_head.{i}.fc_cls.zs_weight"]
        assert stage.classes.shape == (512, 5)
        assert torch.equal(stage.classes[:, :2], own[:, [3, 792]])
        np.testing.assert_allclose(stage.classes[:, 2], 512**-0.5, rtol=1e-6)
        assert not stage.classes[:, 3:].any()


def test_texts_become_the_vectors_of_clip(tmp_path):
    folder = write_clip(tmp_path / "clip")
    texts = ["a zebra", "a Bird house on a  fence"]
    found = encode_texts(texts, folder)
    assert_close(found, np.stack([plain_vector(folder, ids_of(text)) for text in texts]))
    # Whatever it shares a call with.
    assert_close(encode_texts(texts[:1], folder), found[:1])


def test_the_three_files_that_are_asked_for_are_enough(tmp_path):
    folder = write_clip(tmp_path / "clip")
    expected = encode_texts(["a zebra"], folder)
    CLIPTokenizerFast.from_pretrained(folder).save_pretrained(folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    for file in set(folder.iterdir()):
        if file.name not in ("config.json", "pytorch_model.bin", "tokenizer.json"):
            file.unlink()
    assert torch.equal(encode_texts(["a zebra"], folder), expected)


def test_long_texts_are_cut_off_the_same_way_each_time(tmp_path):
    folder = write_clip(tmp_path / "clip")
    long = "a " + "x" * 200
    assert torch.equal(encode_texts([long], folder), encode_texts([long], folder))
    assert_close(encode_texts([long], folder)[0], encode_texts([long[:77]], folder)[0])


@pytest.mark.parametrize("damage", ["model.safetensors", "config.json", "vocab.json"])
def test_a_damaged_text_encoder_is_refused(tmp_path, damage):
    folder = write_clip(tmp_path / "clip")
    (folder / damage).write_text("{")
    with pytest.raises(WeightsError, match="holds no text encoder of CLIP"):
        encode_texts(["a dog"], folder)


def test_a_text_encoder_of_another_size_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="have 256 numbers, Detic's 512"):
        encode_texts(["a dog"], write_clip(tmp_path / "clip", dim=256))


def request(weights, text, settings=ROW.settings):
    prompt = parse_prompt(text)
    bare = DetectorRequest(ROW, prompt.classes, settings, prompt, weights=weights, files=(weights,))
    return with_lvis_words(bare)


def noise(index=0, size=(120, 160)):
    image = np.random.default_rng(index).integers(0, 255, (*size, 3), np.uint8)
    return Frame(index, Fraction(index), image)


def test_one_backbone_serves_detector_masks_and_adapter(published_file):
    from masa_cli.models.adapter import build_adapter

    weights = published_file("detic", "")
    networks = SharedNetworks(device="cpu", side=160)
    found = request(weights, "person, bird").build(networks)
    segmenter = SegmenterRequest("detic", weights).build(networks)
    adapter = build_adapter(
        "detic", weights=weights, pyramid=networks.described("detic", weights), device="cpu"
    )
    looks = []
    backbone = networks.backbone("detic", weights).network
    backbone.register_forward_hook(lambda *_: looks.append(1))
    frame = noise()
    (detections,) = found.detect([frame])
    masks = segmenter.segment(frame, detections.boxes)
    (embeddings,) = adapter.embed([frame], [detections.boxes])
    assert len(detections) == len(masks) == len(embeddings) > 3
    assert looks == [1]


def test_asking_for_a_class_alone_gives_the_scores_it_has_among_all(weights):
    # No softmax ties classes together.
    settings = BoxSettings(0.0, 1.0, 256)
    (alone,) = request(weights, "person", settings).build(small()).detect([noise()])
    prompt = "person, " + ", ".join(["bird", "zebra", "dog", "traffic light"])
    (among,) = (
        request(weights, prompt, BoxSettings(0.0, 1.0, 2000)).build(small()).detect([noise()])
    )
    same = among[among.labels == 0]
    assert_close(np.sort(same.scores), np.sort(alone.scores))


def small():
    return SharedNetworks(device="cpu", side=160)


def test_words_are_found_by_the_text_encoder(weights, tmp_path, monkeypatch):
    monkeypatch.setenv("MASA_WEIGHTS", str(tmp_path))
    write_clip(tmp_path / "clip-vit-base-patch32")
    asked = request(weights, "person, goblin", BoxSettings(0.0, 1.0, 600))
    found = build_detic(asked, small())
    (detections,) = found.detect([noise()])
    assert found.classes == ("person", "goblin")
    assert set(detections.labels.tolist()) == {0, 1}


@torch.inference_mode()
def test_masks_of_boxes_are_those_of_the_head_pasted(weights):
    networks, frame = small(), noise()  # of the size of the input: nothing is scaled
    boxes = np.float32([[10.3, 5, 100, 90.2], [-20, 30, 60, 200], [50, 50, 50, 80]])
    masks = SegmenterRequest("detic", weights).build(networks).segment(frame, boxes)
    with torch.device("meta"):
        head = DeticMasks()
    load_parts(weights, "detic", {"masks": head})
    levels = networks.detector_pyramid("detic", weights).of([frame], range(5))
    inside = np.clip(boxes, 0, [160, 120, 160, 120]).astype(np.float32)
    found = head([levels[level] for level in range(5)], torch.from_numpy(inside[:2]))
    for mask, probabilities, box in zip(masks, found.double().numpy(), inside, strict=False):
        assert 0.05 < (probabilities >= 0.5).mean() < 0.98
        expected = plain.paste(probabilities, box, (120, 160))
        np.testing.assert_array_equal(frames_of_pixels(mask), expected)
    assert masks[2] is None


def frames_of_pixels(mask):
    """(H, W) bool of a whole frame."""
    whole = np.zeros(mask.size, bool)
    pixels, (x, y) = unpack(mask)
    whole[y : y + pixels.shape[0], x : x + pixels.shape[1]] = pixels
    return whole
