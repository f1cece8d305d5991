import json

import numpy as np
import pytest
import torch

from recsys.evaluate.baselines import OwnFrequency, Popular
from recsys.evaluate.compare import Bootstrap
from recsys.evaluate.ease import Ease
from recsys.evaluate.fullrank import FullRanking, Lists, evaluate, rank
from recsys.evaluate.heldout import HeldOut
from recsys.evaluate.ranks import without
from recsys.evaluate.slices import everything, never_bought, standard
from recsys.evaluate.spread import coverage, gini, popularity_lift, times_shown
from tests.evaluate.worlds import shopping

BOUNDARY = 80 * 86_400
SPEC = FullRanking(cutoffs=(3, 10), metrics=("recall", "ndcg", "hit"), bootstrap=Bootstrap(resamples=50))


def world() -> tuple[HeldOut, dict]:
    events = shopping()
    past = events.before(BOUNDARY)
    offered = np.ones(events.num_items, bool)
    offered[:2] = False
    held = HeldOut.between(past, events.since(BOUNDARY), offered=offered)
    return held, {"popular": Popular().fit(past), "own": OwnFrequency().fit(past), "ease": Ease().fit(past)}


def test_recall_is_what_a_loop_over_users_finds():
    held, methods = world()
    table = evaluate(methods, held, standard(held), SPEC)
    for name, scorer in methods.items():
        for hide_seen, metric in ((False, "recall@10"), (True, "recall@10[never_bought]")):
            expected = []
            for u, user in enumerate(held.users):
                scores = np.array(scorer(np.array([user]))[0], dtype=float)
                scores[~held.offered.numpy()] = -np.inf
                seen = set(held.seen.values[held.seen.offsets[u] : held.seen.offsets[u + 1]].tolist())
                wanted = set(held.relevant.values[held.relevant.offsets[u] : held.relevant.offsets[u + 1]].tolist())
                if hide_seen:
                    scores[list(seen)] = -np.inf
                    wanted -= seen
                ranked = [i for i in np.argsort(-scores, kind="stable") if scores[i] > -np.inf][:10]
                expected.append(len(wanted & set(ranked)) / min(10, len(wanted)) if wanted else np.nan)
            np.testing.assert_allclose(table.values[name][metric], expected)
            estimate = table.estimate(name, metric)
            assert estimate.mean == pytest.approx(np.nanmean(expected))
            assert estimate.users == np.isfinite(expected).sum()
            assert estimate.low <= estimate.mean <= estimate.high


def test_blocks_and_lists_change_nothing():
    held, methods = world()
    cuts = standard(held)
    whole = evaluate(methods, held, cuts, SPEC)
    small = FullRanking(cutoffs=(3, 10), metrics=SPEC.metrics, block=7, bootstrap=SPEC.bootstrap)
    lists = {name: rank(scorer, held, SPEC) for name, scorer in methods.items()}
    for other in (evaluate(methods, held, cuts, small), evaluate(lists, held, cuts, SPEC)):
        assert other.to_json() == whole.to_json()


def test_the_second_list_is_the_first_without_the_past():
    held, methods = world()
    deep = rank(methods["ease"], held, FullRanking(cutoffs=(held.num_items,)))
    assert torch.equal(without(deep.everything, held.seen, 10), deep.unseen[:, :10])


def test_a_perfect_oracle_reaches_one_in_every_slice():
    held, _ = world()
    held_all = HeldOut(
        held.users, held.relevant, held.seen, held.train_counts, torch.ones_like(held.offered), held.surface
    )
    truth = torch.zeros(len(held.users), held.num_items)
    truth[held.relevant.row, held.relevant.values] = 1
    place = {user: u for u, user in enumerate(held.users)}
    oracle = {"oracle": lambda users: truth[[place[user] for user in users]]}
    table = evaluate(oracle, held_all, (everything(held_all), never_bought(held_all)), SPEC)
    for metric in ("recall@10", "ndcg@3", "recall@3[never_bought]", "hit@10[never_bought]"):
        assert table.mean("oracle", metric) == pytest.approx(1)


def test_lists_are_checked():
    held, methods = world()
    good = rank(methods["own"], held, SPEC)
    cuts = (everything(held),)
    seen_first = good.unseen.clone()
    row = int((held.seen.lengths > 0).nonzero()[0, 0])
    seen_first[row, 0] = held.seen.values[held.seen.offsets[row]]
    twice = good.everything.clone()
    twice[:, 1] = twice[:, 0]
    for bad, message in (
        (Lists(good.everything, seen_first), "past"),
        (Lists(twice, good.unseen), "twice"),
        (Lists(good.everything[:3], good.unseen), "shape"),
        (Lists(good.everything + 100, good.unseen), "items"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate({"bad": bad}, held, cuts, SPEC)


def test_specs_are_checked():
    with pytest.raises(ValueError, match="unknown metrics"):
        FullRanking(metrics=("recal",))
    with pytest.raises(ValueError, match="cutoffs"):
        FullRanking(cutoffs=(0,))


def test_the_table_renders_and_compares():
    held, methods = world()
    table = evaluate(methods, held, standard(held), SPEC)
    text = table.text(("recall@10", "recall@10[new_items]", "coverage@10"))
    lines = text.splitlines()
    assert lines[0].split() == ["method", "recall@10", "recall@10[new_items]", "coverage@10"]
    assert len(lines) == 3 + len(methods)
    held_json = json.loads(json.dumps(table.to_json(), allow_nan=False))
    assert held_json["own"]["recall@10"]["users"] == len(held.users)
    difference = table.difference("own", "popular", "recall@10")
    assert difference.mean == pytest.approx(table.mean("own", "recall@10") - table.mean("popular", "recall@10"))
    assert difference.clears(0)
    joined = evaluate({"own": methods["own"]}, held, standard(held), SPEC).joined(
        evaluate({"ease": methods["ease"]}, held, standard(held), SPEC)
    )
    assert joined.to_json()["ease"] == table.to_json()["ease"]
    with pytest.raises(ValueError, match="no method 'owl'"):
        table.mean("owl", "recall@10")
    with pytest.raises(ValueError, match="no metric"):
        table.mean("own", "recall@11")


def test_spread_of_known_lists():
    ranked = torch.tensor([[2, 3, -1], [2, 4, 3]])
    offered = torch.tensor([False, True, True, True, True])
    shown = times_shown(ranked, 5, 2)
    assert shown.tolist() == [0, 0, 2, 1, 1]
    assert coverage(shown, offered) == pytest.approx(3 / 4)
    counts = shown[offered].double()
    pairs = (counts[:, None] - counts[None, :]).abs().sum() / (2 * len(counts) * counts.sum())
    assert gini(shown, offered) == pytest.approx(float(pairs))
    train = torch.tensor([0, 1, 9, 9, 1])
    usual = (2 * np.log(2) + 18 * np.log(10)) / 20
    lift = popularity_lift(ranked, train, 2)
    assert lift.tolist() == pytest.approx([np.log(10) - usual, (np.log(10) + np.log(2)) / 2 - usual])
