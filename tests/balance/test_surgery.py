"""Combined gradients against torchjd's published vectors, scipy on the primal, and properties."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor
from torchjd.aggregation import PCGrad

from recsys.balance.balancer import Balancer
from recsys.balance.cagrad import CAGrad
from recsys.balance.chain import Chain
from recsys.balance.conflict_free import ConFIG
from recsys.balance.dual_proj import DualProj
from recsys.balance.norm_ema import GradNormEMA
from recsys.balance.static import Static
from recsys.balance.surgery import Surgery

J = torch.tensor([[-4.0, 1, 1], [6, 1, 1]], dtype=torch.float64)
GOLDEN: list[tuple[Balancer, tuple[float, ...]]] = [
    (Static(weights=(0.5, 0.5)), (1, 1, 1)),
    (Static(weights=(1, 1)), (2, 2, 2)),
    (Surgery(method="mgda"), (0, 1, 1)),
    (Surgery(method="pcgrad"), (0.5848, 3.8012, 3.8012)),
    (Surgery(method="aligned_mtl"), (0.2133, 0.9673, 0.9673)),
    (Surgery(method="imtl_g"), (0.0767, 1, 1)),
    (DualProj(), (0.5563, 1.1109, 1.1109)),
    (CAGrad(c=0.5), (0.1835, 1.2041, 1.2041)),
    (ConFIG(), (0.1588, 2.0706, 2.0706)),
]


def combined(balancer: Balancer, rows: Tensor, seed: int = 0) -> Tensor:
    shares = balancer.start(len(rows), seed)(torch.ones(len(rows)).double(), rows @ rows.T)
    return shares.shared @ rows


@pytest.mark.parametrize(("balancer", "wanted"), GOLDEN, ids=lambda held: str(held)[:24])
def test_torchjd_golden_vectors(balancer: Balancer, wanted: tuple[float, ...]) -> None:
    assert combined(balancer, J).tolist() == pytest.approx(wanted, abs=2e-4)


@pytest.mark.parametrize("tasks", [1, 2, 3, 5])
def test_cagrad_solves_its_primal(tasks: int) -> None:
    rows = torch.randn(tasks, 7, generator=torch.Generator().manual_seed(tasks)).double()
    found = combined(CAGrad(c=0.4), rows).numpy()
    held, mean = rows.numpy(), rows.mean(0).numpy()
    radius = 0.4 * np.linalg.norm(mean)
    # the worst-off task, maximised over the ball by another method: variables (d, level)
    solved = minimize(
        lambda v: -v[-1], np.append(mean, (held @ mean).min()), method="SLSQP", options={"maxiter": 500},
        constraints=[{"type": "ineq", "fun": lambda v: held @ v[:-1] - v[-1]},
                     {"type": "ineq", "fun": lambda v: radius**2 - ((v[:-1] - mean) ** 2).sum()}],
    )  # fmt: skip
    assert (held @ found).min() == pytest.approx(-solved.fun, abs=1e-3)
    assert np.linalg.norm(found - mean) <= radius * 1.001


@pytest.mark.parametrize("seed", range(4))
def test_projection_opposes_no_task_and_is_the_nearest(seed: int) -> None:
    rows = torch.randn(3, 6, generator=torch.Generator().manual_seed(seed)).double()
    found, mean = combined(DualProj(ridge=1e-10), rows), rows.mean(0)
    assert (rows @ found).min() > -1e-6
    solved = minimize(
        lambda d: ((d - mean.numpy()) ** 2).sum(), mean.numpy(), method="SLSQP",
        constraints={"type": "ineq", "fun": lambda d: rows.numpy() @ d},
    )  # fmt: skip
    assert found.tolist() == pytest.approx(solved.x.tolist(), abs=1e-4)


def test_pcgrad_is_torchjds_and_without_conflict_a_sum() -> None:
    rows = torch.randn(2, 9, generator=torch.Generator().manual_seed(1)).double()
    assert combined(Surgery(), rows).tolist() == pytest.approx(PCGrad()(rows).tolist())
    agreeing = rows.abs()
    assert torch.equal(combined(Surgery(), agreeing), agreeing.sum(0))


def test_pcgrads_order_is_its_own_stream() -> None:
    rows = torch.randn(4, 5, generator=torch.Generator().manual_seed(2)).double()
    torch.manual_seed(0)
    first = combined(Surgery(), rows, seed=3)
    before = torch.get_rng_state()
    again = combined(Surgery(), rows, seed=3)
    assert torch.equal(first, again)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_task_without_gradient_is_harmless() -> None:
    rows = torch.cat([J, torch.zeros(1, 3)])
    for balancer in [Surgery(), CAGrad(), DualProj(), GradNormEMA(), ConFIG()]:
        assert combined(balancer, rows).isfinite().all(), balancer


def test_a_chain_cuts_what_was_made_equal() -> None:
    rows = J * torch.tensor([[1000.0], [1.0]]).double()
    lengths = rows.norm(dim=1)
    weights = 2 / lengths / (1 / lengths).sum()
    wanted = PCGrad()(rows * weights[:, None])
    assert combined(Chain(first=GradNormEMA(), then=Surgery()), rows).tolist() == pytest.approx(wanted.tolist())
