"""From words to features: BERT, built from its configuration, reads each phrase by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel


@dataclass(frozen=True)
class Text:
    """A text of T tokens as the detector reads it.

    Attributes:
        features: (T, dim).
        positions: (T, dim) code of each token's place in its sentence.
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
        places = torch.cat([torch.arange(length) for length in sentences])
        tokens = torch.tensor([ids], device=device)
        read = self.bert(
            input_ids=tokens,
            token_type_ids=torch.zeros_like(tokens),
            attention_mask=together[None].to(device),
            position_ids=places[None].to(device),
        ).last_hidden_state  # (1, T, 768)
        features = self.feat_map(read)[0]  # (T, dim)
        positions = _sines(places, dim).to(features)
        return Text(features, positions, ~together.to(device))


def _sines(places: Tensor, dim: int) -> Tensor:
    """(T, dim) sines and cosines of whole numbers, at wavelengths from 1 to 10000."""
    wavelengths = 10000 ** (torch.arange(0, dim, 2) / dim)
    angles = places[:, None] * 2 * math.pi / wavelengths
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)
