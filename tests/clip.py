"""A text encoder like CLIP's, small and with random weights, and what it computes, said plainly."""

import json

import numpy as np
import torch
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

LETTERS = "abcdefghijklmnopqrstuvwxyz'-"
START, END = "<|startoftext|>", "<|endoftext|>"


def write_clip(folder, dim=512):
    """The folder, with a model and a tokenizer that knows letters."""
    folder.mkdir(parents=True)
    tokens = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), START, END]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    config = CLIPTextConfig(
        vocab_size=len(tokens),
        hidden_size=64,
        intermediate_size=256,
        projection_dim=dim,
        num_hidden_layers=2,
        num_attention_heads=8,
        bos_token_id=len(tokens) - 2,
        eos_token_id=len(tokens) - 1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = CLIPTextModelWithProjection(config)
        for weight in model.parameters():  # the usual first weights are far too small to tell
            torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(folder)
    return folder


def ids_of(text):
    """A text of single letters, each word's last one marked."""
    tokens = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), START, END]
    letters = [
        letter if place < len(word) - 1 else f"{letter}</w>"
        for word in text.lower().split()
        for place, letter in enumerate(word)
    ]
    return [tokens.index(token) for token in (START, *letters, END)]


def plain_vector(folder, ids):
    """(512,) by the text of the paper: pre-norm blocks, each token sees those before it."""
    model = CLIPTextModelWithProjection.from_pretrained(folder)
    w = {
        name.removeprefix("text_model."): np.float64(x.numpy())
        for name, x in model.state_dict().items()
    }
    x = w["embeddings.token_embedding.weight"][ids]
    x = x + w["embeddings.position_embedding.weight"][: len(ids)]
    later = np.triu(np.full((len(ids), len(ids)), -np.inf), 1)
    for block in range(2):
        name = f"encoder.layers.{block}"
        y = norm(w, f"{name}.layer_norm1", x)
        q, k, v = (
            linear(w, f"{name}.self_attn.{part}_proj", y).reshape(len(ids), 8, 8).swapaxes(0, 1)
            for part in "qkv"
        )
        logits = q @ k.swapaxes(1, 2) / np.sqrt(8) + later
        shares = np.exp(logits - logits.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        y = (shares @ v).swapaxes(0, 1).reshape(len(ids), -1)
        x = x + linear(w, f"{name}.self_attn.out_proj", y)
        y = linear(w, f"{name}.mlp.fc1", norm(w, f"{name}.layer_norm2", x))
        x = x + linear(w, f"{name}.mlp.fc2", y / (1 + np.exp(-1.702 * y)))
    x = norm(w, "final_layer_norm", x)
    return w["text_projection.weight"] @ x[ids.index(max(ids))]


def norm(w, name, x):
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5)
    return x * w[f"{name}.weight"] + w[f"{name}.bias"]


def linear(w, name, x):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]
