"""Segment Anything's own generator, on our encoder; the generator's masks become regions."""

from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from masa_cli.training import region_sources


class Network(nn.Module):
    """An encoder that gives four maps, and a neck that makes the last one the embedding."""

    def __init__(self):
        super().__init__()
        self.neck = nn.Conv2d(3, 256, 1)

    def forward(self, x):
        pooled = nn.functional.avg_pool2d(x, 16)
        return [pooled * 0, pooled * 0, pooled * 0, pooled]


class Generator:
    """Takes down what it is given, finds one square and one mask without pixels."""

    made = None

    def __init__(self, model, **settings):
        self.model, self.settings = model, settings
        Generator.made = self

    def generate(self, image):
        square = np.zeros(image.shape[:2], bool)
        square[2:6, 3:9] = True
        return [{"segmentation": square}, {"segmentation": square & False}]


def test_masks_of_the_generator_are_regions(monkeypatch, tmp_path):
    network = Network()
    masks = SimpleNamespace(prompt_encoder=nn.Identity(), mask_decoder=nn.Identity())
    features = SimpleNamespace(network=network)
    monkeypatch.setattr(region_sources, "build_sam_features", lambda *a, **k: features)
    monkeypatch.setattr(region_sources, "build_sam_masks", lambda *a: masks)
    monkeypatch.setattr(region_sources, "SamAutomaticMaskGenerator", Generator)
    source = region_sources.SamRegions("sam-b", tmp_path / "x.pth", "cpu", points=7)
    (region,) = source.regions("x.png", np.zeros((20, 30, 3), np.uint8))
    assert region.box == (3, 2, 6, 4)
    assert region.area == 24
    assert Generator.made.settings["points_per_side"] == 7
    x = torch.rand(1, 3, 1024, 1024)
    with torch.no_grad():
        embedding = Generator.made.model.image_encoder(x)
        torch.testing.assert_close(embedding, network.neck(nn.functional.avg_pool2d(x, 16)))
    assert Generator.made.model.image_encoder.img_size == 1024
