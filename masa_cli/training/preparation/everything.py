"""Regions that Segment Anything finds by itself, from a grid of points over the image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import Sam
from torch import Tensor, nn

from masa_cli.models.sam_masks import build_sam_features, build_sam_masks
from masa_cli.models.sam_variants import SAM_SIDE
from masa_cli.structures import Image
from masa_cli.training.preparation.found import FoundRegion


class _Encoder(nn.Module):
    """The image encoder as segment-anything expects it."""

    img_size = SAM_SIDE

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._network = network

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, 1024, 1024) to (B, 256, 64, 64)."""
        y: Tensor = self._network.neck(self._network(x)[-1])  # type: ignore[operator] # a module
        return y


class EverySegment:
    """Segment Anything's automatic masks, by its own generator.

    Args:
        name: a row of `sam_variants.SAM_VARIANTS`.
        weights: its file.
        device: auto, cpu, cuda or mps.
        points: of the grid, per side; all are asked about 64 at a time.
    """

    def __init__(self, name: str, weights: Path, device: str, points: int) -> None:
        features = build_sam_features(name, weights=weights, device=device)
        place = next(features.network.parameters()).device
        masks = build_sam_masks(name, weights, place)
        sam = Sam(_Encoder(features.network), masks.prompt_encoder, masks.mask_decoder).to(place)
        # Specks and holes of less than a few pixels are artefacts of enlarging small maps.
        self._generator = SamAutomaticMaskGenerator(
            sam.eval(), points_per_side=points, min_mask_region_area=25
        )

    @torch.inference_mode()
    def regions(self, name: str, image: Image) -> list[FoundRegion]:
        """See `RegionSource`."""
        found = (
            FoundRegion.of_pixels(np.asarray(each["segmentation"], np.bool_))
            for each in self._generator.generate(image)
        )
        return [region for region in found if region is not None]
