"""Segment Anything behind its image encoder: prompts in, small maps of logits out (spec 8.4)."""

from __future__ import annotations

from pathlib import Path

import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer
from torch import Tensor, nn

from masa_cli.models.backbones import build_backbone
from masa_cli.models.device import choose_placement, ready
from masa_cli.models.features import Features, FrameFeatures
from masa_cli.models.published_weights import load_parts
from masa_cli.models.variants import SAM_PREPROCESSING, SAM_SIDE, SAM_VARIANTS, VARIANTS

_WIDTH = 256  # channels of the image's embedding
_CELLS = SAM_SIDE // 16  # per side of it
LOGITS_SIDE = 4 * _CELLS  # cells per side of a map of logits


class SamMasks(nn.Module):
    """The prompt encoder and the mask decoder, as segment-anything builds them."""

    def __init__(self) -> None:
        super().__init__()
        self.prompt_encoder = PromptEncoder(
            embed_dim=_WIDTH,
            image_embedding_size=(_CELLS, _CELLS),
            input_image_size=(SAM_SIDE, SAM_SIDE),
            mask_in_chans=16,
        )
        self.mask_decoder = MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(depth=2, embedding_dim=_WIDTH, mlp_dim=2048, num_heads=8),
            transformer_dim=_WIDTH,
            iou_head_depth=3,
            iou_head_hidden_dim=256,
        )

    def forward(self, embedding: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """One mask for each box.

        Args:
            embedding: (1, 256, 64, 64) of the image.
            boxes: (N, 4) xyxy in pixels of the encoder's input.

        Returns:
            (N, 256, 256) logits over the whole padded input, above 0 where the object is, and
            (N,) what the decoder thinks of them, as an IoU.
        """
        sparse, dense = self.prompt_encoder(points=None, boxes=boxes, masks=None)
        logits, quality = self.mask_decoder(
            image_embeddings=embedding,
            image_pe=self.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        return logits[:, 0], quality[:, 0]


def build_sam_masks(name: str, weights: Path, device: torch.device) -> SamMasks:
    """Those of a row of `SAM_VARIANTS`, always in float32: they are small, positions want it.

    Raises:
        WeightsError: the file is not that of the variant.
    """
    with torch.device("meta"):
        masks = SamMasks()
    # The published names have the two parts side by side.
    load_parts(weights, name, dict(masks.named_children()))
    ready(masks, device, torch.float32)
    return masks


def build_sam_features(
    name: str, *, weights: Path, device: str = "auto", precision: str = "float32"
) -> FrameFeatures:
    """The image encoder of a row of `SAM_VARIANTS`, to be shared.

    Raises:
        SettingsError: it cannot work on this machine.
        WeightsError: the file is not that of the variant.
    """
    backbone = build_backbone(SAM_VARIANTS[name].backbone)
    load_parts(weights, name, {"backbone": backbone})
    like = VARIANTS["sam-b"]  # all kinds want the same colours
    return FrameFeatures.prepared(
        backbone, SAM_PREPROCESSING, like.mean, like.std, *choose_placement(device, precision)
    )


def image_embedding(features: FrameFeatures, encoded: Features) -> Tensor:
    """(B, 256, 64, 64) float32, what masks are decoded from, of what the encoder made."""
    neck: nn.Module = features.network.neck  # type: ignore[assignment]
    last = encoded.maps[-1]
    like = next(neck.parameters(), last)
    embedding: Tensor = neck(last.to(like.dtype))
    return embedding.float()
