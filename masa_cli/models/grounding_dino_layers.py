"""The costly layers of Grounding-DINO, fast where nothing is compiled.

Deformable attention over several maps (arXiv 2010.04159), the text encoder, and attention between
image and text in both directions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import BertConfig, BertModel

_QUERIES_AT_ONCE = 2048  # so that what is worked on stays in the processor's cache


class Table:
    """Where the cells of several maps lie in one table of rows.

    Each query of deformable attention reads a few points of each map, between their cells. A read
    between cells is a sum of four cells by weights, so a whole query is one weighted sum of rows of
    this table: an `embedding_bag`, which torch has a quick kernel for. Beside `grid_sample` per map
    it is 20 times faster on the cpu.

    Each map has a border of empty cells: points outside it read nothing, without being asked about.

    Args:
        sizes: height and width of each map.
        num_heads: rows per cell.
        device: of the table.
    """

    def __init__(
        self, sizes: Sequence[tuple[int, int]], num_heads: int, device: torch.device
    ) -> None:
        self.num_heads = num_heads
        starts, cells, start = [], [], 0
        for height, width in sizes:
            rows = torch.arange(1, height + 1)[:, None] * (width + 2)
            cells.append((start + rows + torch.arange(1, width + 1)).flatten())
            starts.append(start)
            start += (height + 2) * (width + 2)
        self._cells = torch.cat(cells).to(device)  # index of each cell of the maps
        # The last cell's neighbours are read, too, by weights of 0.
        self._num_places = start + max(width for _, width in sizes) + 3
        # All below are counted in rows, and are small enough to be exact in float32.
        size = torch.tensor(sizes, dtype=torch.float32, device=device)  # (maps, 2)
        self.size = size.flip(1).T.contiguous()  # (2, maps): widths, heights
        self._last = (self.size + 1).view(2, 1, -1, 1)
        self._down = (self.size[0] + 2).view(1, -1, 1) * num_heads
        heads = torch.arange(num_heads, device=device).view(-1, 1, 1)
        self._first = heads + torch.tensor(starts, device=device).view(1, -1, 1) * num_heads
        down = self._down.int()
        self._corners = torch.stack([down * 0, down * 0 + num_heads, down, down + num_heads], 1)
        # (1, 4, maps, 1)

    def fill(self, values: Tensor) -> Tensor:
        """(B, N, C) values of all cells as the table, (B, rows, C / heads)."""
        batch, _, channels = values.shape
        table = values.new_zeros(batch, self._num_places, channels)
        table[:, self._cells] = values
        return table.view(batch, -1, channels // self.num_heads)

    def read(self, table: Tensor, points: Tensor, weights: Tensor) -> Tensor:
        """The weighted sum of what each query's points read.

        Args:
            table: (B, rows, D) of `fill`.
            points: (B, Q, 2, heads, maps, P) x and y in cells of the map, with the middle of the
                first cell at 1; is overwritten.
            weights: (B, Q, heads, maps, P).

        Returns:
            (B, Q, heads * D).
        """
        return torch.stack(
            [
                torch.cat(
                    [
                        self._read(rows, *part)
                        for part in zip(
                            p.split(_QUERIES_AT_ONCE), w.split(_QUERIES_AT_ONCE), strict=True
                        )
                    ]
                )
                for rows, p, w in zip(table, points, weights, strict=True)
            ]
        )

    def _read(self, table: Tensor, points: Tensor, weights: Tensor) -> Tensor:
        """The same for some queries of one image: (Q, heads * D)."""
        # Beyond the border is as empty as the border.
        points.clamp_(min=0)
        torch.minimum(points, self._last, out=points)
        cell = points.floor()
        points -= cell
        row = torch.addcmul(self._first, cell[:, 1], self._down)
        row = row.add_(cell[:, 0], alpha=self.num_heads).int()  # (Q, heads, maps, P)
        rows = row[:, :, None] + self._corners  # (Q, heads, 4, maps, P)
        lower = weights * points[:, 1]
        upper = weights - lower
        lower_right, upper_right = lower * points[:, 0], upper * points[:, 0]
        parts = (upper - upper_right, upper_right, lower - lower_right, lower_right)
        shares = torch.stack(parts, dim=2)  # (Q, heads, 4, maps, P)
        num_bags = rows.shape[0] * self.num_heads
        read = F.embedding_bag(
            rows.view(num_bags, -1),
            table,
            per_sample_weights=shares.view(num_bags, -1).to(table.dtype),
            mode="sum",
        )  # (Q * heads, D)
        return read.view(rows.shape[0], -1)


class CellPositions:
    """The cells of several maps, N in all, in one sequence: the first map first, row by row.

    Images fill the upper left part of maps; the rest is padding.

    Made once for each size of images.

    Args:
        sizes: height and width of each map.
        padded: height and width of the images with their padding.
        unpadded: height and width of the images.
        dim: numbers per cell of `codes`.
        num_heads: of deformable attention.
        device: of all tensors.
    """

    def __init__(
        self,
        sizes: Sequence[tuple[int, int]],
        padded: tuple[int, int],
        unpadded: tuple[int, int],
        dim: int,
        num_heads: int,
        device: torch.device,
    ) -> None:
        self.table = Table(sizes, num_heads, device)
        masks = [_is_padding(size, padded, unpadded) for size in sizes]
        # (maps, 2): the share of each map's width and height that is no padding.
        valid = torch.stack(
            [
                torch.stack([(~mask[0]).float().mean(), (~mask[:, 0]).float().mean()])
                for mask in masks
            ]
        )
        is_padding = torch.cat([mask.flatten() for mask in masks])
        self.valid = valid.to(device)
        # (N,) bool; None where there is none, which spares all that goes with it.
        self.is_padding = is_padding.to(device) if is_padding.any() else None
        # (N,) what is added to logits for the text not to read a cell: 0, or minus infinity.
        self.padding = torch.zeros(len(is_padding)).masked_fill(is_padding, -math.inf).to(device)
        self.codes = [_sine_codes(mask, dim).to(device) for mask in masks]  # (cells, dim) each
        middles = torch.cat([_middles(*size) / v for size, v in zip(sizes, valid, strict=True)])
        # Cells' own middles in the cells of each map, as `Table.read` counts them.
        self.points = (middles[:, :, None] * valid.T).to(
            device
        ) * self.table.size + 0.5  # (N, 2, maps)
        self.proposals, self.is_proposal = _proposals(sizes, middles, is_padding, device)


def _is_padding(
    size: tuple[int, int], padded: tuple[int, int], unpadded: tuple[int, int]
) -> Tensor:
    """(h, w) bool: which cells lie, by their upper left corners, in the padding."""
    mask = torch.ones(1, 1, *padded)
    mask[..., : unpadded[0], : unpadded[1]] = 0
    return F.interpolate(mask, size=size)[0, 0].bool()


def _sine_codes(is_padding: Tensor, dim: int) -> Tensor:
    """(h * w, dim): half of it tells the row, half the column, as parts of the unpadded size."""
    frequencies = 2 * math.pi / 20 ** (torch.arange(0, dim // 2, 2) / (dim // 2))
    halves = []
    for axis in (0, 1):
        count = (~is_padding).cumsum(axis, dtype=torch.float32)
        part = count / (count.select(axis, -1).unsqueeze(axis) + 1e-6)
        angles = part.flatten()[:, None] * frequencies
        halves.append(torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1))
    return torch.cat(halves, dim=1)


def _middles(height: int, width: int) -> Tensor:
    """(h * w, 2) x and y of the middles of cells, as parts of the map with its padding."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([(x + 0.5) / width, (y + 0.5) / height], dim=2).flatten(0, 1)


def _proposals(
    sizes: Sequence[tuple[int, int]], middles: Tensor, is_padding: Tensor, device: torch.device
) -> tuple[Tensor, Tensor]:
    """A square on each cell as logits of centre and size, (N, 4), and whether it counts, (N, 1).

    Those that do not are infinite.
    """
    sides = [torch.full((h * w, 2), 0.05 * 2**level) for level, (h, w) in enumerate(sizes)]
    boxes = torch.cat([middles, torch.cat(sides)], dim=1)
    inside = ((boxes > 0.01) & (boxes < 0.99)).all(1, keepdim=True) & ~is_padding[:, None]
    logits = torch.log(boxes / (1 - boxes)).masked_fill(~inside, math.inf)
    return logits.to(device), inside.to(device)


@dataclass(frozen=True)
class Text:
    """A text of T tokens as the detector reads it.

    Attributes:
        features: (T, dim).
        positions: (T, dim) code of each token's position in its sentence.
        apart: (T, T) bool, true where two tokens are of different sentences.
    """

    features: Tensor
    positions: Tensor
    apart: Tensor


class TextEncoder(nn.Module):
    """bert-base-uncased and a projection; under the names of groundingdino-py.

    Args:
        dim: numbers per token.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        # BertConfig's defaults are bert-base-uncased. No pooler: nothing reads it.
        self.bert: Any = BertModel(BertConfig(), add_pooling_layer=False)  # type: ignore[no-untyped-call]
        # What is told with each text; so every tensor of the network is in the published files.
        del self.bert.embeddings.position_ids, self.bert.embeddings.token_type_ids
        self.feat_map = nn.Linear(self.bert.config.hidden_size, dim)

    def forward(self, ids: Sequence[int], sentences: Sequence[int]) -> Text:
        """Read tokens; those of one sentence see each other and no others.

        Args:
            ids: T tokens of the vocabulary.
            sentences: the number of tokens of each sentence, in order; their sum is T.
        """
        device, dim = self.feat_map.weight.device, self.feat_map.out_features
        lengths = torch.tensor(sentences)
        sentence = torch.arange(len(sentences)).repeat_interleave(lengths)
        together = sentence[:, None] == sentence
        indices = torch.cat([torch.arange(length) for length in sentences])
        tokens = torch.tensor([ids], device=device)
        read = self.bert(
            input_ids=tokens,
            token_type_ids=torch.zeros_like(tokens),
            attention_mask=together[None].to(device),
            position_ids=indices[None].to(device),
        ).last_hidden_state  # (1, T, 768)
        features = self.feat_map(read)[0]  # (T, dim)
        positions = _sines(indices, dim).to(features)
        return Text(features, positions, ~together.to(device))


def _sines(indices: Tensor, dim: int) -> Tensor:
    """(T, dim) sines and cosines of whole numbers, at wavelengths from 1 to 10000."""
    wavelengths = 10000 ** (torch.arange(0, dim, 2) / dim)
    angles = indices[:, None] * 2 * math.pi / wavelengths
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)


def fuse(
    layer: Any,  # noqa: ANN401 - groundingdino-py has no types
    image: Tensor,
    text: Tensor,
    padding: Tensor,
) -> tuple[Tensor, Tensor]:
    """What groundingdino-py's `BiAttentionBlock` gives, for short texts and large images.

    It projects every cell of the image into four heads of 256 numbers before it meets the text. The
    same sums are taken in another order: the few tokens are projected back into the image's own
    numbers, and the large matrix products are gone.
    Its guards against overflow in 16 bits, which change nothing in float32, are left out.

    Args:
        layer: a `BiAttentionBlock`.
        image: (B, N, C).
        text: (B, T, C), without padding.
        padding: (N,), minus infinity for cells that the text shall not read, 0 for others.
    """
    image, text = layer.layer_norm_v(image), layer.layer_norm_l(text)
    attention, num_heads = layer.attn, layer.attn.num_heads
    batch, num_tokens, _ = text.shape

    # What a cell must be like to be asked by a token: (B, heads, T, C), and a constant.
    keys = _in_heads(attention.l_proj(text), num_heads) * attention.scale
    weight, bias = attention.v_proj.weight, attention.v_proj.bias
    wanted = keys @ weight.view(num_heads, -1, weight.shape[1])
    constant = (keys * bias.view(num_heads, 1, -1)).sum(-1, keepdim=True)
    logits = torch.baddbmm(
        constant.flatten(1, 2), wanted.flatten(1, 2), image.transpose(1, 2)
    )  # (B, heads * T, N)

    # From the text to the image: what the tokens say is brought into C numbers beforehand.
    from_text = _in_heads(attention.values_l_proj(text), num_heads)
    weight, bias = attention.out_v_proj.weight, attention.out_v_proj.bias
    from_text = from_text @ weight.view(-1, num_heads, from_text.shape[-1]).permute(
        1, 2, 0
    )  # (B, heads, T, C)
    shares = logits.view(batch, num_heads, num_tokens, -1).softmax(dim=2).flatten(1, 2)
    to_image = shares.transpose(1, 2) @ from_text.flatten(1, 2) + bias  # (B, N, C)

    # From the image to the text: cells are averaged before they are projected.
    logits = logits + padding.to(logits.dtype)
    from_image = (logits.softmax(dim=2) @ image).view(batch, num_heads, num_tokens, -1)
    weight, bias = attention.values_v_proj.weight, attention.values_v_proj.bias
    from_image = from_image @ weight.view(num_heads, -1, weight.shape[1]).transpose(1, 2)
    from_image = from_image.transpose(1, 2).flatten(2) + bias  # (B, T, embedding)
    to_text = attention.out_l_proj(from_image)
    return image + layer.gamma_v * to_image, text + layer.gamma_l * to_text


def _in_heads(x: Tensor, num_heads: int) -> Tensor:
    """(B, T, heads * D) as (B, heads, T, D)."""
    return x.view(*x.shape[:2], num_heads, -1).transpose(1, 2)
