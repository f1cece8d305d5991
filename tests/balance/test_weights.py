"""Learnt and measured loss weights, on trajectories whose end is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from recsys.balance.balancer import Balanced, Trace
from recsys.balance.gradnorm import GradNorm
from recsys.balance.norm_ema import GradNormEMA
from recsys.balance.static import Static
from recsys.balance.surgery import Surgery
from recsys.balance.uncertainty import Uncertainty


def gram(*lengths: float) -> Tensor:
    return torch.diag(torch.tensor(lengths, dtype=torch.float64).square())


def test_norm_ema_makes_lengths_equal_at_once_and_follows_them() -> None:
    balance = GradNormEMA(decay=0.5).start(3, 0)
    weights = balance(torch.ones(3), gram(1, 10, 1000)).shared
    assert weights.sum() == pytest.approx(3)
    assert (weights * torch.tensor([1, 10, 1000])).std() == pytest.approx(0, abs=1e-12)
    means = [1.0, 10.0, 1000.0]
    for step in range(1, 30):  # the running mean without its bias, by hand
        now = [1.0, 10.0 + step, 1000.0]
        weights = balance(torch.ones(3), gram(*now)).shared
        total = sum(0.5 ** (step - i) * (10.0 + i) for i in range(step + 1))
        means[1] = total / sum(0.5 ** (step - i) for i in range(step + 1))
    assert float(weights[0] / weights[1]) == pytest.approx(means[1] / means[0])


def test_norm_ema_remembers_a_task_that_is_away() -> None:
    balance = GradNormEMA().start(2, 0)
    first = balance(torch.ones(2), gram(1, 100)).shared
    assert torch.allclose(balance(torch.ones(2), gram(0, 100)).shared, first)


@pytest.mark.parametrize("start", ["ones", "norms"])
def test_gradnorm_with_alpha_zero_ends_at_equal_norms(start: str) -> None:
    balance = GradNorm(alpha=0.0, learning_rate=0.05, start_at=start).start(3, 0)  # type: ignore[arg-type]
    lengths = torch.tensor([1.0, 3.0, 20.0])
    for _ in range(400):
        weights = balance(torch.ones(3), gram(1, 3, 20)).shared
    equal = weights * lengths
    assert weights.sum() == pytest.approx(3)
    assert float(equal.max() / equal.min()) < 1.3


def test_gradnorm_gives_more_to_a_task_that_learns_slower() -> None:
    balance = GradNorm(alpha=1.0, learning_rate=0.05).start(2, 0)
    balance(torch.tensor([1.0, 1.0]), gram(1, 1))
    for _ in range(200):
        weights = balance(torch.tensor([0.9, 0.3]), gram(1, 1)).shared
    assert float(weights[0] / weights[1]) == pytest.approx(3, rel=0.2)  # rates 0.9 : 0.3


def test_gradnorm_slope_is_autograds() -> None:
    weights = torch.tensor([0.5, 1.5, 1.0], dtype=torch.float64, requires_grad=True)
    lengths, progress = torch.tensor([2.0, 1.0, 7.0]).double(), torch.tensor([0.9, 0.5, 0.7]).double()
    target = (weights * lengths).mean().detach() * (progress / progress.mean()) ** 0.5
    (weights * lengths - target).abs().sum().backward()
    assert torch.allclose(GradNorm(alpha=0.5).slope(weights.detach(), lengths, progress), weights.grad)  # type: ignore[arg-type]


def test_gradnorm_from_ones_needs_the_nine_nats_that_the_norms_differ_by() -> None:
    balance = GradNorm(learning_rate=0.025).start(2, 0)
    for _ in range(100):
        weights = balance(torch.ones(2), gram(1, 8000)).shared
    assert float(weights[0] / weights[1]) < 8000 / 20  # at most 0.025 nats a step each way


def test_uncertainty_rests_where_weights_are_inverse_losses() -> None:
    balance = Uncertainty(learning_rate=0.05).start(2, 0)
    for _ in range(800):
        weights = balance(torch.tensor([0.5, 4.0]).double(), gram(1, 1)).shared
    assert weights.tolist() == pytest.approx([2, 0.25], rel=0.02)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Linear(3, 2)
        self.heads = nn.ModuleList(nn.Linear(2, 1) for _ in range(2))

    def losses(self) -> Tensor:
        x = torch.tensor([[1.0, -2, 3], [0, 1, 1]])
        return torch.stack([(head(self.trunk(x).tanh()) - i).square().mean() for i, head in enumerate(self.heads)])


def gradients(balanced: Balanced | None) -> tuple[Tensor, Tensor]:
    net = Net()
    balanced(net)(net.losses()) if balanced else net.losses().sum().backward()
    both = [net.trunk.parameters(), net.heads.parameters()]
    shared, own = (torch.cat([p.grad.flatten() for p in held]) for held in both)  # type: ignore[union-attr]
    return shared, own


def hook(balancer: object, trace: Trace | None = None) -> Balanced:
    return Balanced(lambda net: list(net.trunk.parameters()), 2, 0, balancer, trace)  # type: ignore[arg-type,union-attr]


def test_unit_weights_are_the_sum_and_weights_reach_heads() -> None:
    shared, own = gradients(None)
    for made in (hook(Static(weights=(1, 1))), hook(None), hook(None, Trace())):
        assert all(torch.allclose(a, b) for a, b in zip(gradients(made), (shared, own), strict=True))
    double = gradients(hook(Static(weights=(2, 2))))
    assert torch.allclose(double[0], 2 * shared)
    assert torch.allclose(double[1], 2 * own)


def test_surgery_leaves_heads_alone() -> None:
    shared, own = gradients(None)
    for method in ("mgda", "imtl_g", "aligned_mtl"):
        found = gradients(hook(Surgery(method=method)))
        assert torch.allclose(found[1], own)
        assert not torch.allclose(found[0], shared)


def test_a_trace_holds_norms_and_cosines_of_the_steps_it_was_asked_for() -> None:
    trace, net = Trace(every=2), Net()
    backward = hook(None, trace)(net)
    for _ in range(5):
        backward(net.losses())
    assert trace.steps == [0, 2, 4]
    rows = [torch.autograd.grad(loss, list(net.trunk.parameters()), retain_graph=True) for loss in net.losses()]
    flat = torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])
    assert torch.allclose(trace.grams[0].float(), flat @ flat.T, rtol=1e-4)
