"""The latent worlds are what they say they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recsys.diagnose.embedding import copies
from recsys.worlds.latent import HELD_OUT, TRAIN, VALIDATION, LatentClasses, Rendering


def world(**given: object) -> LatentClasses:
    return LatentClasses(num_classes=13, items_a_class=21, **given)  # type: ignore[arg-type]


def test_the_same_seed_gives_the_same_bits_and_another_seed_others() -> None:
    (logs, truth), (again, _), (other, _) = (world().sample(seed) for seed in (3, 3, 4))
    assert torch.equal(logs.features, again.features)
    assert torch.equal(logs.part, again.part)
    assert not torch.allclose(logs.features, other.features)
    assert truth.classes.shape == logs.labels.shape


def test_noise_and_style_have_their_sizes_in_their_directions() -> None:
    logs, truth = world(rendering=Rendering(noise=1.3, style=5.0, styles=4)).sample(0)
    rest = logs.features - truth.means[truth.classes]
    directions = world().rendering.__class__(noise=1.3, style=5.0, styles=4).directions(0, "items")
    along = rest @ directions
    across = rest - along @ directions.T
    assert float(along.std()) == pytest.approx((1.3**2 + 5**2) ** 0.5, rel=0.1)
    assert float(across.square().sum(1).mean()) == pytest.approx(60 * 1.3**2, rel=0.05)


def test_precision_is_the_inverse_covariance() -> None:
    rendering = Rendering(width=9, noise=0.7, style=2.0, styles=3)
    directions = rendering.directions(1, "items").double()
    covariance = 0.7**2 * torch.eye(9, dtype=torch.float64) + 4.0 * directions @ directions.T
    found = rendering.precision(1, "items").double()
    assert torch.allclose(found @ covariance, torch.eye(9, dtype=torch.float64), atol=1e-5)


def test_the_ceiling_is_bayes_rule() -> None:
    logs, truth = world().sample(2)
    covariance = np.linalg.inv(truth.precision.double().numpy())
    from scipy.stats import multivariate_normal

    density = [multivariate_normal(mean.double().numpy(), covariance).logpdf(logs.features.double().numpy())
               for mean in truth.means]  # fmt: skip
    wanted = torch.tensor(np.stack(density, 1)).softmax(1)
    assert torch.allclose(truth.posterior(logs.features).double(), wanted, atol=1e-3)


def test_sizes_and_parts_have_their_shares() -> None:
    held = world(skew=0.5)
    logs, _ = held.sample(0)
    sizes = torch.bincount(logs.labels)
    assert torch.equal(sizes, held.sizes())
    assert int(sizes[-1]) == pytest.approx(3 * int(sizes[0]), abs=2)
    for part, share in ((HELD_OUT, 0.4), (VALIDATION, 0.15), (TRAIN, 0.45)):
        counts = torch.bincount(logs.labels[logs.part == part], minlength=13)
        assert ((counts - share * sizes).abs() <= 1).all(), part


def test_copies_are_in_training_alone_and_the_switch_off_removes_them() -> None:
    clean, truth = world(duplicates=0.0).sample(5)
    assert torch.equal(clean.labels, truth.classes)
    assert not copies(clean.features, clean.labels).any()
    logs, truth = world(duplicates=0.3).sample(5)
    wrong = logs.labels != truth.classes
    assert (logs.part[wrong] == TRAIN).all()
    assert 0.2 < float(wrong.sum() / (logs.part == TRAIN).sum()) < 0.3 + 1e-6
    assert copies(logs.features, logs.labels)[wrong].all()
    assert torch.equal(clean.features[~wrong], logs.features[~wrong])  # streams by name: the rest is as it was
    assert torch.equal(clean.part, logs.part)


@pytest.mark.parametrize(
    "given", [{"num_classes": 1}, {"duplicates": 1.0}, {"held_out": 0.9, "validation": 0.1}, {"skew": 1.0}]
)
def test_impossible_settings_are_refused(given: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        LatentClasses(**given)  # type: ignore[arg-type]
