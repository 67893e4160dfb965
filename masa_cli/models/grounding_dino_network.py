"""Grounding-DINO behind its backbone (arXiv 2303.05499): maps and a text in, boxes out.

The layers are groundingdino-py's, under its names. How they are run is ours: what depends on the
size of the input alone is made once, what nothing reads is not computed, and the two costly steps
are done in quicker ways (`deformable_attention`, `text_fusion`).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from masa_cli.models.grounding_dino_layers import CellPositions, Text, TextEncoder, fuse

if TYPE_CHECKING:
    from masa_cli.models.runtime import Example

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # timm has moved what groundingdino-py imports
    from groundingdino.models.GroundingDINO.transformer import Transformer
    from groundingdino.models.GroundingDINO.utils import MLP

DIM = 256
_HEADS = 8
_LAYERS = 6
_QUERIES = 900
_MAPS = 4
_ROWS_AT_ONCE = 1024


def empty_detector(channels: Sequence[int], least_side: float) -> GroundingDino:
    """The detector with room for weights, which are still to be loaded; made in no time."""
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        return GroundingDino(channels, least_side)


class GroundingDino(nn.Module):
    """The detector without its backbone.

    Args:
        channels: of the backbone's maps.
        least_side: the last layer takes a side of a box, or its distance to an edge, for so much if
            it is less; a part of the image.
    """

    def __init__(self, channels: Sequence[int], least_side: float) -> None:
        super().__init__()
        self.text = TextEncoder(DIM)
        kernels = [(width, 1) for width in channels] + [(channels[-1], 3)]
        self.input_proj = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, DIM, side, stride=(side + 1) // 2, padding=side // 2),
                nn.GroupNorm(32, DIM),
            )
            for width, side in kernels
        )
        self.transformer: Any = Transformer(
            d_model=DIM,
            nhead=_HEADS,
            num_queries=_QUERIES,
            num_encoder_layers=_LAYERS,
            num_decoder_layers=_LAYERS,
            dim_feedforward=2048,
            return_intermediate_dec=True,
            num_feature_levels=_MAPS,
            learnable_tgt_init=True,
            two_stage_type="standard",
            embed_init_tgt=True,
            use_text_enhancer=True,
            use_fusion_layer=True,
            use_text_cross_attention=True,
        )
        self.bbox_embed = nn.ModuleList(MLP(DIM, DIM, 4, 3) for _ in range(_LAYERS))
        self.enc_out_bbox_embed = MLP(DIM, DIM, 4, 3)
        self._least_side = least_side
        self._steps: list[nn.Module] = []  # of the encoder, where another runtime computes them
        self._positions: dict[tuple[object, ...], CellPositions] = {}

    def forward(
        self,
        maps: Sequence[Tensor],
        text: Text,
        *,
        padded: tuple[int, int],
        unpadded: tuple[int, int],
    ) -> tuple[Tensor, Tensor]:
        """What looks like what the text says.

        Args:
            maps: (B, C, H / stride, W / stride) of the backbone, finest first.
            text: T tokens.
            padded: H and W, height and width of the images with their padding.
            unpadded: height and width without.

        Returns:
            (B, Q, T) logits of each box for each token, (B, Q, 4) boxes: x and y of the centre,
            width and height, as parts of the unpadded image.
        """
        projected = self.project(maps)
        positions = self.positions_of(projected, padded, unpadded)
        cells, tokens = self.encode(projected, text, positions)
        boxes = self.propose(cells, tokens, positions)
        queries, boxes = self.decode(cells, tokens, boxes, positions)
        return queries @ tokens.transpose(1, 2), boxes

    def project(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """(B, dim, h, w) maps, one more than the backbone's: the last is of half the size."""
        dtype = self.transformer.level_embed.dtype
        return [
            project(x.to(dtype))
            for project, x in zip(self.input_proj, [*maps, maps[-1]], strict=True)
        ]

    def encode(
        self, maps: Sequence[Tensor], text: Text, positions: CellPositions
    ) -> tuple[Tensor, Tensor]:
        """Cells (B, N, dim) and tokens (B, T, dim) after each has read itself and the other."""
        cells = torch.cat([x.flatten(2).transpose(1, 2) for x in maps], dim=1)
        level = self.transformer.level_embed
        codes = torch.cat([code + own for code, own in zip(positions.codes, level, strict=True)])
        codes = codes.to(cells.dtype)
        tokens = text.features.expand(len(cells), -1, -1)
        read: list[Tensor] = []  # what the layer before has read
        steps = self._steps or self._steps_of_encoder()
        for text_layer, step in zip(self.transformer.encoder.text_layers, steps, strict=False):
            cells, tokens, values, shifts, weights = step(
                [cells, *read], tokens, codes, positions.padding
            )
            tokens = _read_text(text_layer, tokens.to(text.features.dtype), text)
            read = [_read(values, shifts, weights, positions.points[None], None, positions)]
        (cells,) = steps[-1]([cells, *read])
        return cells.to(tokens.dtype), tokens

    def convert_with(self, convert: Callable[[nn.Module, str, Example], nn.Module]) -> None:
        """Let another runtime compute the encoder, but for what it reads of the image.

        Args:
            convert: is given a network, what it is, and an example of its inputs.
        """
        last = _LAYERS
        self._steps = [
            convert(
                step, f"step {index} of the encoder", partial(_example, index > 0, index < last)
            )
            for index, step in enumerate(self._steps_of_encoder())
        ]

    def _steps_of_encoder(self) -> list[nn.Module]:
        encoder = self.transformer.encoder
        layers = [None, *encoder.layers, None]
        fusions = [*encoder.fusion_layers, None]
        return [_EncoderStep(*each) for each in zip(layers[:-1], fusions, layers[1:], strict=True)]

    def propose(self, cells: Tensor, tokens: Tensor, positions: CellPositions) -> Tensor:
        """The boxes, (B, Q, 4), of the cells that look most like any of the tokens."""
        own = self.transformer
        cells = own.enc_output_norm(own.enc_output(cells * positions.is_proposal))
        best = (cells @ tokens.transpose(1, 2)).amax(2)  # (B, N)
        chosen = best.topk(min(_QUERIES, best.shape[1]), dim=1).indices[..., None]
        refined = self.enc_out_bbox_embed(cells.gather(1, chosen.expand(-1, -1, DIM)))
        boxes: Tensor = (refined.float() + positions.proposals[chosen[..., 0]]).sigmoid()
        return boxes

    def decode(
        self, cells: Tensor, tokens: Tensor, boxes: Tensor, positions: CellPositions
    ) -> tuple[Tensor, Tensor]:
        """Queries (B, Q, dim) and their boxes (B, Q, 4), refined layer by layer."""
        decoder = self.transformer.decoder
        num_queries = boxes.shape[1]
        queries = self.transformer.tgt_embed.weight[:num_queries].expand(len(cells), -1, -1)
        refinements = [None, *self.bbox_embed[:-1]]
        for layer, refine in zip(decoder.layers, refinements, strict=True):
            if refine is not None:
                boxes = (refine(queries).float() + _logit(boxes, 1e-3)).sigmoid()
            code = decoder.ref_point_head(_box_codes(boxes * positions.valid[0].repeat(2), queries))
            queries = _decode_layer(layer, queries, code, cells, tokens, boxes, positions)
        queries = decoder.norm(queries)
        last = self.bbox_embed[-1](queries).float() + _logit(boxes, self._least_side)
        return queries, last.sigmoid()

    def positions_of(
        self, maps: Sequence[Tensor], padded: tuple[int, int], unpadded: tuple[int, int]
    ) -> CellPositions:
        """Where the cells of projected maps lie; remembered for the last size of images."""
        key = (padded, unpadded, maps[0].device)
        if key not in self._positions:
            sizes = [(x.shape[2], x.shape[3]) for x in maps]
            self._positions = {
                key: CellPositions(sizes, padded, unpadded, DIM, _HEADS, maps[0].device)
            }
        return self._positions[key]


class _EncoderStep(nn.Module):
    """From what one layer of the encoder has read to what the next one asks.

    All of the encoder but reading between cells, in which converters are slow, and the few tokens.

    Args:
        before: the layer that has read; None: this is the first step.
        fusion: of image and text before the next layer; None: this is the last step.
        after: the next layer.
    """

    def __init__(self, before: Any, fusion: Any, after: Any) -> None:  # noqa: ANN401
        super().__init__()
        self.before, self.fusion, self.after = before, fusion, after

    def forward(
        self,
        image: Sequence[Tensor],
        tokens: Tensor | None = None,
        codes: Tensor | None = None,
        padding: Tensor | None = None,
    ) -> list[Tensor]:
        """Cells; and unless it is the last step, tokens, and what `_ask` gives.

        Args:
            image: (B, N, dim) cells; unless it is the first step, (B, N, dim) what was read.
            tokens: (B, T, dim).
            codes: (N, dim) of the cells' positions.
            padding: as `CellPositions.padding`.
        """
        cells = image[0]
        if self.before is not None:
            read = self.before.self_attn.output_proj(image[1])
            cells = self.before.norm1(cells + read)
            cells = self.before.norm2(cells + _feed_forward(self.before, cells))
        if tokens is None or codes is None or padding is None:
            return [cells]
        cells, tokens = fuse(self.fusion, cells, tokens, padding)
        return [cells, tokens, *_ask(self.after.self_attn, cells + codes, cells)]


def _example(has_read: bool, asks: bool) -> list[Tensor | list[Tensor]]:
    """Inputs of a step of the encoder."""
    num_cells, num_tokens = 40, 5
    image = [torch.zeros(2, num_cells, DIM) for _ in range(1 + has_read)]
    rest = torch.zeros(2, num_tokens, DIM), torch.zeros(num_cells, DIM), torch.zeros(num_cells)
    return [image, *rest] if asks else [image]


def _read_text(layer: Any, tokens: Tensor, text: Text) -> Tensor:  # noqa: ANN401
    """One of groundingdino-py's text layers."""
    asked = (tokens + text.positions).transpose(0, 1)
    read, _ = layer.self_attn(
        asked, asked, tokens.transpose(0, 1), attn_mask=text.apart, need_weights=False
    )
    tokens = layer.norm1(tokens + read.transpose(0, 1))
    normed: Tensor = layer.norm2(tokens + _feed_forward(layer, tokens))
    return normed


def _decode_layer(
    layer: Any,  # noqa: ANN401
    queries: Tensor,
    code: Tensor,
    cells: Tensor,
    tokens: Tensor,
    boxes: Tensor,
    positions: CellPositions,
) -> Tensor:
    """One of groundingdino-py's decoder layers: queries ask each other, the text, the image."""
    asked, values = (queries + code).transpose(0, 1), queries.transpose(0, 1)
    read, _ = layer.self_attn(asked, asked, values, need_weights=False)
    queries = layer.norm2(queries + read.transpose(0, 1))

    asked, values = (queries + code).transpose(0, 1), tokens.transpose(0, 1)
    read, _ = layer.ca_text(asked, values, values, need_weights=False)
    queries = layer.catext_norm(queries + read.transpose(0, 1))

    centres = (
        boxes[..., :2, None] * positions.valid.T * positions.table.size + 0.5
    )  # (B, Q, 2, maps)
    sides = boxes[..., 2:, None] * positions.valid.T * positions.table.size
    read = _attend(layer.cross_attn, queries + code, cells, centres, sides, positions)
    queries = layer.norm1(queries + read)
    normed: Tensor = layer.norm3(queries + _feed_forward(layer, queries))
    return normed


def _feed_forward(layer: Any, x: Tensor) -> Tensor:  # noqa: ANN401
    """(B, N, dim) through a layer's two linear steps, not all at once.

    What is between them is eight times as wide; in parts it never leaves the processor's cache.
    """
    if torch.compiler.is_compiling():  # for a runtime that has ways of its own
        whole: Tensor = layer.linear2(layer.linear1(x).relu())
        return whole
    parts = torch.split(x, _ROWS_AT_ONCE, dim=1)
    return torch.cat([layer.linear2(layer.linear1(part).relu_()) for part in parts], dim=1)


def _attend(
    attention: Any,  # noqa: ANN401
    queries: Tensor,
    cells: Tensor,
    points: Tensor,
    sides: Tensor | None,
    positions: CellPositions,
) -> Tensor:
    """One of groundingdino-py's deformable attentions.

    Args:
        attention: a `MultiScaleDeformableAttention`.
        queries: (B, Q, dim).
        cells: (B, N, dim).
        points: (B or 1, Q, 2, maps) around which each query looks, as `Table.read` counts.
        sides: the same, of the box by which its steps are measured; None: steps are cells.
        positions: of the cells.
    """
    read = _read(*_ask(attention, queries, cells), points, sides, positions)
    attended: Tensor = attention.output_proj(read)
    return attended


def _ask(attention: Any, queries: Tensor, cells: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ANN401
    """What a deformable attention shall read, and how.

    Returns:
        (B, N, dim) values of the cells; (B, Q, heads, maps, points, 2) steps from where each query
        is, and (B, Q, heads, maps, points) weights of what is read there, in float32.
    """
    shape = (_HEADS, _MAPS, attention.num_points)
    steps = attention.sampling_offsets(queries).float().unflatten(2, (*shape, 2))
    weights = attention.attention_weights(queries).float()
    weights = weights.unflatten(2, (_HEADS, -1)).softmax(-1).unflatten(3, shape[1:])
    return attention.value_proj(cells), steps, weights


def _read(
    values: Tensor,
    steps: Tensor,
    weights: Tensor,
    points: Tensor,
    sides: Tensor | None,
    positions: CellPositions,
) -> Tensor:
    """(B, Q, dim) what was asked for; arguments as of `_ask` and `_attend`."""
    steps = steps.movedim(-1, 2)
    if sides is not None:
        steps = steps * (0.5 / steps.shape[-1]) * sides[:, :, :, None, :, None]
    if positions.is_padding is not None:
        values = values.masked_fill(positions.is_padding[:, None], 0)
    steps = steps + points[:, :, :, None, :, None]  # (B, Q, 2, heads, maps, points)
    return positions.table.read(positions.table.fill(values), steps, weights)


def _box_codes(boxes: Tensor, like: Tensor) -> Tensor:
    """(B, Q, 4) as (B, Q, 2 * dim) sines and cosines of y, x, width and height."""
    wavelengths = 10000 ** (torch.arange(0, DIM // 2, 2, device=boxes.device) / (DIM // 2))
    angles = boxes[..., [1, 0, 2, 3], None] * 2 * math.pi / wavelengths
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(2).to(like.dtype)


def _logit(x: Tensor, least: float) -> Tensor:
    """The inverse of a sigmoid, with x and 1 - x taken for `least` where they are less."""
    return torch.log(x.clamp(min=least) / (1 - x).clamp(min=least))
