"""Posts about topics of a tree do what their world says."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from recsys.worlds.taxonomy import TopicPosts

SMALL = TopicPosts(branching=(3, 2, 2), signal=(0.2, 0.2, 0.2), depths=(0.5, 0.3, 0.2), num_posts=6000, num_new=1500)


def test_words_come_as_often_as_the_world_says() -> None:
    logs, truth = SMALL.sample(3)
    chances = SMALL.chances()
    assert torch.allclose(chances.sum(1), torch.ones(12), atol=1e-5)
    of = logs.words[truth.leaf == 5]
    counts = of.reshape(-1).bincount(minlength=SMALL.num_words) / of.numel()
    error = (chances[5] * (1 - chances[5]) / of.numel()).sqrt()
    assert ((counts - chances[5]).abs() <= 5 * error + 1e-9).all()


def test_the_posterior_is_bayes_rule_and_is_calibrated() -> None:
    logs, truth = SMALL.sample(3)
    slow = torch.stack([SMALL.chances()[:, logs.new_words[0]].double().prod(1)])
    assert torch.allclose((slow / slow.sum())[0].float(), truth.new_posterior[0], atol=1e-4)
    best, leaf = truth.new_posterior.max(1)
    assert (leaf == truth.new_leaf).float().mean() == pytest.approx(float(best.mean()), abs=0.03)


def test_labels_stop_as_often_as_asked_and_lie_on_the_true_path() -> None:
    logs, truth = SMALL.sample(3)
    share = logs.level.bincount(minlength=3) / len(logs.level)
    assert share.tolist() == pytest.approx(SMALL.depths, abs=1e-3)
    assert torch.equal(SMALL.taxonomy.paths[truth.leaf, logs.level], logs.place)


@pytest.mark.parametrize("by", ["topic", "clarity"])
def test_selection_ties_depth_to_the_post_and_an_audit_unties_it(by: str) -> None:
    def tie(selection: float, audited: float) -> float:
        world = replace(SMALL, selection=selection, audited=audited, selected_by=by)
        logs, truth = world.sample(3)
        sure = world._sure(truth.leaf, logs.words, 3)
        return float(torch.corrcoef(torch.stack([sure, logs.level.float()]))[0, 1])

    none, half, all_chosen = tie(0.0, 0.0), tie(0.9, 0.5), tie(0.9, 0.0)
    assert abs(none) < 0.05
    assert abs(tie(0.9, 1.0)) < 0.05
    assert none + 0.1 < half < all_chosen - 0.1
    assert (replace(SMALL, selection=0.9, selected_by=by).sample(3).logs.level.bincount() / 6000).tolist() == (
        pytest.approx(SMALL.depths, abs=1e-3)
    )


def test_contamination_and_signal_are_what_make_posts_hard() -> None:
    def best(world: TopicPosts) -> float:
        return float(world.sample(3).truth.new_posterior.max(1).values.mean())

    assert best(replace(SMALL, contamination=0.0)) > best(SMALL) > best(replace(SMALL, contamination=0.5))
    assert best(replace(SMALL, signal=(0.0, 0.0, 0.0))) == pytest.approx(1 / 12, abs=1e-3)


def test_same_seed_same_bits_and_switches_leave_other_streams_alone() -> None:
    one, two = SMALL.sample(4), replace(SMALL, selection=0.8).sample(4)
    assert torch.equal(one.logs.words, SMALL.sample(4).logs.words)
    assert torch.equal(one.logs.words, two.logs.words)
    assert torch.equal(one.truth.new_leaf, two.truth.new_leaf)
    assert not torch.equal(one.logs.level, two.logs.level)
    assert not torch.equal(one.logs.words, SMALL.sample(5).logs.words)


@pytest.mark.parametrize(
    "wrong", [{"signal": (0.5, 0.5)}, {"depths": (0.5, 0.2, 0.2)}, {"selection": 1.5}, {"branching": (3, 1, 2)}]
)
def test_impossible_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        TopicPosts(**({"branching": (3, 2, 2), "signal": (0.2, 0.2, 0.2), "depths": (0.5, 0.3, 0.2)} | wrong))  # type: ignore[arg-type]
