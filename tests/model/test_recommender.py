"""The model as a whole: what it must not depend on, what it must agree with, and that every parameter takes part."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
import torch

from recsys.batch import Batch, Jagged
from recsys.candidates import Candidates, InBatch, Uniform
from recsys.data.catalogue import Catalogue
from recsys.encoders.item import ItemEncoder
from recsys.encoders.user import UserEncoder
from recsys.heads.mmoe import MMoE
from recsys.heads.ple import PLE
from recsys.heads.retrieval import RetrievalHead
from recsys.losses.softmax import SampledSoftmax
from recsys.losses.tasks import task_losses
from recsys.model import ModelSpec, Recommender, build_model, model_spec_from_json
from recsys.random import torch_rng
from tests.model.worlds import batch, catalogue, dataset, jagged, users

SPEC = ModelSpec(
    item=ItemEncoder(hidden=16, id_dim=8, category_dim=4, id_buckets=64),
    user=UserEncoder(hidden=16, user_buckets=32, category_dim=4),
    retrieval=RetrievalHead(dim=8),
    ranking=MMoE(experts=3, expert_dim=8, tower_dim=6),
)
PLE_SPEC = replace(SPEC, ranking=PLE(expert_dim=8, tower_dim=6))
DATA = dataset()
NONE = torch.zeros(0, dtype=torch.int64)


def world(*lengths: list[int]) -> tuple[Catalogue, Batch]:
    g = torch_rng(0, "world")
    return catalogue(DATA, g), batch(DATA, g, *(lengths or ([5, 0, 9], [2, 0, 1], [3, 4, 0])))


TABLE = users(DATA, torch_rng(0, "users"))


@pytest.mark.parametrize("spec", [SPEC, PLE_SPEC])
def test_a_spec_survives_json(spec: ModelSpec) -> None:
    assert model_spec_from_json(json.loads(json.dumps(asdict(spec)))) == spec


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="must be one of"):
        model_spec_from_json({**asdict(SPEC), "ranking": {"kind": "forest"}})
    with pytest.raises(ValueError, match="must be equal"):
        ModelSpec(item=ItemEncoder(hidden=32))
    with pytest.raises(ValueError, match="multiple of heads"):
        UserEncoder(hidden=10, heads=3)
    with pytest.raises(ValueError, match="no ranking task"):
        build_model(SPEC, dataset(tasks=()))


def test_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = build_model(SPEC, DATA, seed=3).state_dict()
    assert torch.random.get_rng_state().equal(before)
    torch.manual_seed(2)
    again, other = build_model(SPEC, DATA, seed=3).state_dict(), build_model(SPEC, DATA, seed=4).state_dict()
    assert all(held.equal(again[name]) for name, held in first.items())
    assert not all(held.equal(other[name]) for name, held in first.items())


@pytest.mark.parametrize("spec", [SPEC, PLE_SPEC])
def test_forward_agrees_with_the_parts_used_in_serving(spec: ModelSpec) -> None:
    columns, step = world()
    model = build_model(spec, DATA).eval()
    extra = torch.tensor([7, 8, 7])
    encoded = model(step, columns, TABLE, extra)
    hidden = model.items(columns)  # of the whole catalogue, as it is kept for serving
    state = model.users(hidden[step.history.values], step, TABLE.take(step.user))
    ranked = model.rank(state[step.rows.row], hidden[step.rows.values], step.row_context, step.row_features)
    close = {"rtol": 1e-6, "atol": 1e-6}
    torch.testing.assert_close(encoded.rank_logits, ranked, **close)
    torch.testing.assert_close(encoded.query, model.query(state), **close)
    torch.testing.assert_close(encoded.vectors, model.vectors(hidden)[encoded.unique], **close)
    assert encoded.unique[encoded.positive_places].equal(step.positives.values)
    assert encoded.unique[encoded.extra_places].equal(extra)
    assert encoded.unique.diff().gt(0).all()
    assert encoded.rank_logits.shape == (7, 3)
    torch.testing.assert_close(encoded.query.norm(dim=1), torch.ones(3))


def alone(step: Batch, i: int) -> Batch:
    def only(part: Jagged) -> Jagged:
        start, stop = part.offsets[i : i + 2].tolist()
        return jagged([stop - start], part.values[start:stop])

    rows, past = step.rows.row == i, step.history.row == i
    per_request = {name: getattr(step, name)[i : i + 1] for name in ("request", "user", "time", "context")}
    per_row = {name: getattr(step, name)[rows] for name in ("row_context", "row_features", "labels", "row_weight")}
    ragged = {name: only(getattr(step, name)) for name in ("history", "positives", "rows")}
    return Batch(**per_request, **per_row, **ragged, history_age=step.history_age[past])


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_a_request_does_not_depend_on_the_others_or_on_padding(layers: int) -> None:
    columns, step = world([5, 0, 9, 30, 1], [1, 2, 1, 1, 0], [3, 4, 0, 2, 1])
    model = build_model(replace(SPEC, user=replace(SPEC.user, layers=layers)), DATA).eval()
    together = model(step, columns, TABLE, NONE)
    logits = together.rank_logits.split(step.rows.lengths.tolist())
    for i in range(len(step)):
        single = model(alone(step, i), columns, TABLE, NONE)
        torch.testing.assert_close(single.query[0], together.query[i], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(single.rank_logits, logits[i], rtol=1e-5, atol=1e-5)


def test_history_and_its_age_matter() -> None:
    columns, step = world()
    model = build_model(SPEC, DATA).eval()
    first = model(step, columns, TABLE, NONE).query
    older = replace(step, history_age=step.history_age + 1000)
    other = replace(step, history=step.history.with_values(step.history.values.roll(1)))
    for changed in (older, other):
        query = model(changed, columns, TABLE, NONE).query
        assert not torch.allclose(query[0], first[0], atol=1e-4)
        assert torch.allclose(query[1], first[1])  # it has no history


def train_loss(model: Recommender, step: Batch, columns: Catalogue) -> torch.Tensor:
    offer = Uniform(num=5)(step.positives.values, columns.log_p, torch_rng(0, "negatives"))
    encoded = model(step, columns, TABLE, offer.items[len(step.positives.values) :])
    places = torch.cat([encoded.positive_places, encoded.extra_places])
    pool = Candidates(encoded.vectors[places], offer.items, offer.log_q)
    query = encoded.query[step.positives.row] / model.temperature
    sums, _ = task_losses(DATA.tasks, encoded.rank_logits, step.labels, step.row_weight)
    return SampledSoftmax()(query, pool, offer.target).sum() + sums.sum()


EMPTY = ([0, 0], [0, 0], [0, 0])


@pytest.mark.parametrize("spec", [SPEC, PLE_SPEC])
@pytest.mark.parametrize(
    "lengths", [([4, 2], [1, 2], [0, 0]), ([0, 0], [1, 0], [2, 1]), ([3, 1], [0, 0], [2, 0]), EMPTY]
)
def test_every_parameter_takes_part_whatever_the_batch_lacks(spec: ModelSpec, lengths: tuple[list[int], ...]) -> None:
    columns, step = world(*lengths)
    model = build_model(spec, DATA)
    train_loss(model, step, columns).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("spec", [SPEC, PLE_SPEC])
def test_every_parameter_takes_part_when_only_retrieval_is_trained(spec: ModelSpec) -> None:
    columns, step = world()
    model = build_model(spec, DATA)
    model(step, columns, TABLE, NONE).query.sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("spec", [SPEC, PLE_SPEC])
def test_every_parameter_has_an_effect_in_a_full_batch(spec: ModelSpec) -> None:
    columns, step = world([9, 8, 7], [2, 2, 2], [20, 20, 20])
    model = build_model(spec, DATA)
    train_loss(model, step, columns).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_it_learns_a_tiny_world() -> None:
    """Users of one aisle take that aisle's items: within a few steps the loss falls far below chance."""
    g = torch_rng(5, "learn")
    columns = catalogue(DATA, g)
    step = batch(DATA, g, [6] * 24, [1] * 24, [4] * 24)
    taken = step.history.values.view(24, 6)[:, 0]
    step = replace(step, positives=step.positives.with_values(taken))
    model = build_model(SPEC, DATA)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(60):
        loss = train_loss(model, step, columns)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]


def test_a_model_without_text_user_rows_or_learnt_temperature() -> None:
    bare = ModelSpec(
        item=replace(SPEC.item, text=False),
        user=replace(SPEC.user, user_buckets=0),
        retrieval=replace(SPEC.retrieval, learn_temperature=False, temperature=0.2),
        ranking=SPEC.ranking,
    )
    columns, step = world()
    model = build_model(bare, DATA)
    train_loss(model, step, columns).backward()
    assert float(model.temperature) == pytest.approx(0.2)
    assert "retrieval.log_temperature" not in dict(model.named_parameters())
    assert not any(name.startswith(("item_encoder.text", "user_encoder.ids")) for name in model.state_dict())


def test_bfloat16_leaves_logits_in_float32() -> None:
    columns, step = world()
    model = build_model(SPEC, DATA).eval()
    with torch.autocast("cpu", torch.bfloat16):
        encoded = model(step, columns, TABLE, NONE)
        offer = InBatch()(step.positives.values, columns.log_p, torch_rng(0, "none"))
        pool = Candidates(encoded.vectors[encoded.positive_places], offer.items, offer.log_q)
        loss = SampledSoftmax()(encoded.query[step.positives.row] / model.temperature, pool, offer.target)
    assert encoded.query.dtype == encoded.vectors.dtype == encoded.rank_logits.dtype == loss.dtype == torch.float32
    exact = model(step, columns, TABLE, NONE)
    assert (encoded.query - exact.query).abs().max() < 0.05
