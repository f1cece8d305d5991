"""A tree of topics, heads over its leaves, losses of labels that stop half-way: against slow loops and closed forms."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from recsys.evaluate.hierarchy import Backoff, best_path, incoherence, inconsistent
from recsys.heads.constraint import MaxConstraint
from recsys.heads.leaves import PathSumHead, PathSumStopsHead, TreeSoftmaxHead
from recsys.losses.levels import MaskedLevelCE, ancestors
from recsys.losses.marginal import JointMarginalNLL, MarginalNLL
from recsys.losses.nodes import MaskedNodeBCE, MaxConstraintBCE
from recsys.samplers.balanced import Balanced
from recsys.taxonomy import Taxonomy

# 0: {0: {0, 1}, 1: {2}}   1: {2: {3, 4, 5}}: an only child, and branches of different widths
UNEVEN = Taxonomy(parents=((0, 0), (0, 0, 1), (0, 0, 1, 2, 2, 2)))


def labels() -> tuple[torch.Tensor, torch.Tensor]:
    level = torch.tensor([0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 2])
    return level, torch.tensor([0, 1, 0, 1, 2, 0, 1, 2, 3, 4, 5])


def leaves_inside(level: int, place: int) -> list[int]:
    return [c for c in range(6) if UNEVEN.paths[c, level] == place]


def test_paths_heights_and_numbers() -> None:
    assert UNEVEN.paths.tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 3], [1, 2, 4], [1, 2, 5]]
    assert UNEVEN.nodes[4].tolist() == [1, 4, 9]
    assert UNEVEN.heights[0].tolist() == [0, 1, 2, 3, 3, 3]
    assert UNEVEN.inside.sum(1).tolist() == [3, 3, 2, 1, 3, 1, 1, 1, 1, 1, 1]
    assert Taxonomy.balanced((5, 4, 4, 4)).widths == (5, 20, 80, 320)


@pytest.mark.parametrize("wrong", [((0, 1),), ((0, 0), (0, 0, 2)), ((0, 0), (0, 0, 0)), ((0,), ())])
def test_trees_with_gaps_are_refused(wrong: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ValueError, match="level"):
        Taxonomy(parents=wrong)


def test_marginal_likelihood_is_the_sum_over_leaves_inside() -> None:
    level, place = labels()
    output = torch.randn(len(level), 6, dtype=torch.float64) * 3
    found = MarginalNLL(taxonomy=UNEVEN)(output, level, place)
    for i, (depth, topic) in enumerate(zip(level.tolist(), place.tolist(), strict=True)):
        assert found[i].exp().reciprocal() == pytest.approx(
            float(output[i].softmax(0)[leaves_inside(depth, topic)].sum())
        )
    leaves = level == 2
    assert torch.allclose(found[leaves], F.cross_entropy(output[leaves], place[leaves], reduction="none"))


def test_levels_of_leaves_are_coherent() -> None:
    chances = MarginalNLL(taxonomy=UNEVEN).levels(torch.randn(7, 6, dtype=torch.float64))
    assert float(incoherence(UNEVEN, chances).max()) < 1e-12
    assert torch.allclose(chances[1][:, 2], chances[0][:, 1])
    assert float(incoherence(UNEVEN, MaskedLevelCE(taxonomy=UNEVEN).levels(torch.randn(7, 11))).min()) > 0


def test_joint_likelihood_sums_leaf_and_stop() -> None:
    level, place = labels()
    torch.manual_seed(0)
    model = PathSumStopsHead(taxonomy=UNEVEN).build(4)
    torch.nn.init.normal_(model.stops)  # type: ignore[arg-type]
    output = model(torch.randn(len(level), 4)).detach()
    found = JointMarginalNLL(taxonomy=UNEVEN)(output, level, place)
    leaf, stop = output[..., 0].softmax(1), output[..., 1:].exp()
    for i, (depth, topic) in enumerate(zip(level.tolist(), place.tolist(), strict=True)):
        wanted = sum(float(leaf[i, c] * stop[i, c, depth]) for c in leaves_inside(depth, topic))
        assert float(found[i].exp().reciprocal()) == pytest.approx(wanted, rel=1e-4)


def test_masked_losses_leave_out_what_is_unknown() -> None:
    level, place = labels()
    output = torch.randn(len(level), 11, dtype=torch.float64)
    softmax, sigmoid = MaskedLevelCE(taxonomy=UNEVEN), MaskedNodeBCE(taxonomy=UNEVEN)
    for i, (depth, topic) in enumerate(zip(level.tolist(), place.tolist(), strict=True)):
        path = UNEVEN.paths[leaves_inside(depth, topic)[0]]
        parts = UNEVEN.levels(output[i])
        wanted = sum(F.cross_entropy(parts[at], path[at]) for at in range(depth + 1))
        assert softmax(output[i : i + 1], level[i : i + 1], place[i : i + 1]).item() == pytest.approx(float(wanted))
    answers = sigmoid.answers(torch.tensor([0]), torch.tensor([0]))[0]
    assert answers.nan_to_num(nan=9).tolist() == [1, 0, 9, 9, 0, 9, 9, 9, 0, 0, 0]
    answers = sigmoid.answers(torch.tensor([2]), torch.tensor([1]))[0]
    assert answers.tolist() == [1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0]
    assert ancestors(UNEVEN, torch.tensor([1]), torch.tensor([2])).tolist() == [[1, 2, -1]]


def test_heads_follow_the_tree() -> None:
    torch.manual_seed(0)
    x, head = torch.randn(5, 4), PathSumHead(taxonomy=UNEVEN).build(4)
    nodes = head.nodes(x)  # type: ignore[operator]
    slow = torch.stack([nodes[:, UNEVEN.nodes[c]].sum(1) for c in range(6)], 1)
    assert torch.allclose(head(x), slow, atol=1e-5)
    tree = TreeSoftmaxHead(taxonomy=UNEVEN).build(4)
    chances = tree(x).exp()
    assert torch.allclose(chances.sum(1), torch.ones(5), atol=1e-5)
    nodes = tree.nodes(x)  # type: ignore[operator]
    slow = nodes[:, :2].softmax(1)[:, 1] * nodes[:, 8:11].softmax(1)[:, 1]  # topic 2 is an only child
    assert torch.allclose(chances[:, 4], slow, atol=1e-5)


def test_siblings_that_are_no_neighbours_share_a_softmax_all_the_same() -> None:
    torch.manual_seed(0)
    crossed = Taxonomy(parents=((0, 0), (1, 0, 1, 0)))
    tree = TreeSoftmaxHead(taxonomy=crossed).build(3)
    x = torch.randn(5, 3)
    nodes = tree.nodes(x)  # type: ignore[operator]  # rows: topics 0 and 1, then what lies in 0, then what lies in 1
    top = nodes[:, :2].log_softmax(1)
    below = [nodes[:, 2:4].log_softmax(1), nodes[:, 4:6].log_softmax(1)]
    slow = torch.stack(
        [
            top[:, 1] + below[1][:, 0],
            top[:, 0] + below[0][:, 0],
            top[:, 1] + below[1][:, 1],
            top[:, 0] + below[0][:, 1],
        ],
        1,
    )
    torch.testing.assert_close(tree(x), slow)


def subtree(topic: tuple[int, int]) -> list[int]:
    """Node numbers of a topic and all that lies in it, by walking down."""
    level, place = topic
    found, below = [UNEVEN.starts[level] + place], UNEVEN.parents[level + 1 : level + 2]
    for children in below:
        for child in (i for i, above in enumerate(children) if above == place):
            found += subtree((level + 1, child))
    return found


def test_no_topic_scores_below_one_inside_it() -> None:
    output = torch.randn(7, 11, dtype=torch.float64)
    counted = torch.rand(7, 11) < 0.5
    found, partly = MaxConstraint(taxonomy=UNEVEN)(output), MaxConstraint(taxonomy=UNEVEN)(output, counted)
    for node, topic in enumerate((level, place) for level, width in enumerate(UNEVEN.widths) for place in range(width)):
        inside = subtree(topic)
        for row in range(7):
            assert found[row, node] == max(output[row, i] for i in inside)
            assert partly[row, node] == max(output[row, i] if counted[row, i] else -torch.inf for i in inside)
    levels = MaxConstraintBCE(taxonomy=UNEVEN).levels(output)
    assert all((levels[d + 1] <= levels[d][:, list(UNEVEN.parents[d + 1])]).all() for d in range(2))


def test_the_loss_under_the_constraint_is_that_of_a_slow_loop() -> None:
    level, place = labels()
    output = torch.randn(len(level), 11, dtype=torch.float64, requires_grad=True)
    found = MaxConstraintBCE(taxonomy=UNEVEN)(output, level, place)
    answers = MaskedNodeBCE(taxonomy=UNEVEN).answers(level, place)
    topics = [(depth, i) for depth, width in enumerate(UNEVEN.widths) for i in range(width)]
    for row in range(len(level)):
        chance, wanted = output[row].sigmoid(), torch.zeros((), dtype=torch.float64)
        for node, topic in enumerate(topics):
            if answers[row, node] == 0:
                wanted = wanted - (1 - torch.stack([chance[i] for i in subtree(topic)]).max()).log()
            if answers[row, node] == 1:
                wanted = wanted - torch.stack([chance[i] for i in subtree(topic) if answers[row, i] != 0]).max().log()
        torch.testing.assert_close(found[row], wanted)
        ours, theirs = (torch.autograd.grad(loss, output, retain_graph=True)[0] for loss in (found[row], wanted))
        torch.testing.assert_close(ours, theirs)


def test_decoding_and_backing_off() -> None:
    chances = (
        torch.tensor([[0.6, 0.4]]),
        torch.tensor([[0.5, 0.1, 0.4]]),
        torch.tensor([[0.1, 0.3, 0.25, 0.2, 0.1, 0.05]]),
    )
    apart = torch.tensor([[0, 2, 2]])
    assert inconsistent(UNEVEN, apart).tolist() == [True]
    path = best_path(UNEVEN, chances)
    slow = [float(torch.prod(torch.stack([h[0, p] for h, p in zip(chances, q, strict=True)]))) for q in UNEVEN.paths]
    assert path.tolist() == [UNEVEN.paths[int(torch.tensor(slow).argmax())].tolist()]
    assert not inconsistent(UNEVEN, UNEVEN.paths).any()
    assert [int(Backoff(threshold=t)(chances, path)) for t in (0.0, 0.25, 0.45, 0.99)] == [2, 2, 1, 0]


@pytest.mark.parametrize(("strength", "wanted"), [(0.0, [0.9, 0.09, 0.01]), (1.0, [1 / 3] * 3)])
def test_balanced_draws_groups_as_often_as_asked(strength: float, wanted: list[float]) -> None:
    group = torch.tensor([0] * 900 + [1] * 90 + [2] * 10)
    sampler = Balanced(batch=20000, strength=strength)
    drawn = group[sampler(group, 3, 7)].bincount(minlength=3) / 20000
    assert drawn.tolist() == pytest.approx(wanted, abs=0.015)
    assert torch.equal(sampler(group, 3, 7), sampler(group, 3, 7))
