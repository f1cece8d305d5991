"""What a practitioner can find out about a joint training: traces, swaps of lists, probes, and trainings changed in one thing."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from recsys.balance.balancer import norms
from recsys.balance.norm_ema import GradNormEMA
from recsys.diagnose import tasks as names
from recsys.diagnose.diagnosis import Evidence, Part
from recsys.diagnose.shared_encoder import REFITTED, AttributeProbe, CandidateSwap, Negatives
from recsys.diagnose.slates import LoggedSlates
from recsys.diagnose.tasks import GradientTrace, Interventions, TaskCurves, difference_noise
from recsys.recipes import joint
from recsys.recipes.common_evidence import PLACES, QUERIES, clicks_of, nearest, search_parts, vector_parts
from recsys.worlds.coarse_fine import CoarseFineLogs

if TYPE_CHECKING:
    from recsys.recipes.joint import JointRun, TrainJoint


def evidence(recipe: TrainJoint, run: JointRun, logs: CoarseFineLogs, seed: int) -> Evidence:
    """Everything that SharedEncoderConflict reads, and what any retriever, ranker or training has."""
    separate = replace(recipe.towers, sharing="separate", stop_gradient=False)
    unclipped = replace(recipe.train, clip=None)  # each loss then trains as if the other weren't there
    alone = replace(recipe, towers=separate, balancer=None, train=unclipped, head_from=0.0).fit(logs, seed)
    return Evidence.of(
        gradient_trace(run),
        candidate_swap(alone.model, run.model, logs),
        Negatives(false_share(run.model, alone.model, logs)),
        AttributeProbe(attributes(run.model, logs), attributes(alone.model, logs)),
        interventions(recipe, (run, alone), logs, seed),
        task_curves(run, logs),
        slates(run.model, logs),
        *space(run, logs),
    )


def gradient_trace(run: JointRun) -> GradientTrace:
    grams = torch.stack(run.trace.grams)
    lengths = torch.stack([norms(gram) for gram in run.trace.grams])
    cosine = grams[:, 0, 1] / lengths.prod(dim=1)
    return GradientTrace(joint.TASKS, np.array(run.trace.steps), lengths.numpy(), cosine[:, None].numpy())


def task_curves(run: JointRun, logs: CoarseFineLogs) -> TaskCurves:
    """Both tasks' validation curves, with what the number of validation lists alone would make them move."""
    checks = torch.stack(run.checks)  # [C, M, 2]
    values = np.array([joint.averaged(held, logs) for held in run.checks])
    late = checks[len(checks) // 3 :].numpy()
    clicks = logs.valid.clicks.sum(1).numpy()
    noise = [
        difference_noise(lambda clicked, hits: float(hits.sum() / clicked.sum()), clicks, late[..., 0]),
        difference_noise(lambda _, gains: float(np.nanmean(gains)), clicks, late[..., 1]),
    ]
    steps = run.steps * np.arange(1, len(checks) + 1) // len(checks)
    return TaskCurves(joint.TASKS, steps, values, np.array(noise))


@torch.no_grad()
def slates(model: nn.Module, logs: CoarseFineLogs) -> LoggedSlates:
    """Lists as they were shown, a click's like being what it should lead to; nothing was shown in random order."""
    parts = (logs.train, logs.valid, logs.later)
    user, items, clicks, likes = (
        torch.cat([getattr(part, name) for part in parts]) for name in ("user", "items", "clicks", "likes")
    )
    return LoggedSlates(
        position=torch.arange(1, items.shape[1] + 1).expand_as(items),
        click=clicks,
        score=joint.answers(model, logs, user[:, None], items)[1],
        features=logs.attributes[items],
        cart=likes,
        item=items,
        period=torch.arange(len(parts)).repeat_interleave(torch.tensor([len(part.user) for part in parts])),
    )


@torch.no_grad()
def space(run: JointRun, logs: CoarseFineLogs) -> tuple[Part, ...]:
    """Vectors of retrieval, and what it finds and ranking shows some users who were shown lists before."""
    assert isinstance(run.model, joint.JointModel)
    users = logs.train.user.unique()[:QUERIES]
    seen = run.model(logs.users[users], logs.items)
    found = nearest(seen.find_item, seen.find_user)
    order = joint.answers(run.model, logs, users[:, None], found)[1].topk(PLACES, dim=1).indices
    row, place = (logs.train.clicks > 0).nonzero(as_tuple=True)
    clicks = clicks_of(torch.stack([logs.train.user[row], logs.train.items[row, place]], dim=1), users)
    searched = search_parts(seen.find_item, seen.find_user, clicks, logs.items, found.gather(1, order))
    return *vector_parts(seen.find_item, run.recorder), *searched


def candidate_swap(old: nn.Module, new: nn.Module, logs: CoarseFineLogs) -> CandidateSwap:
    """Both rankers on the lists shown before and after the change; the old one is the model that only ranks."""
    before = logs.valid.user[:, None], logs.valid.items, logs.valid.likes
    after = logs.later.user[:, None], logs.later.items, logs.later.likes
    found = [
        joint.list_ndcg(joint.answers(model, logs, user, items)[1], likes)
        for model in (old, new)
        for user, items, likes in (before, after)
    ]
    return CandidateSwap(*found)


@torch.no_grad()
def false_share(model: nn.Module, judge: nn.Module, logs: CoarseFineLogs, lists: int = 100) -> float:
    """Share of the softmax's mass on negatives that the judge ranks above the positive, over clicks of validation lists."""
    row, place = (logs.valid.clicks[:lists] > 0).nonzero(as_tuple=True)
    user, positive = logs.valid.user[:lists, None], logs.valid.items[row, place][:, None]
    everything = torch.arange(len(logs.items)).expand(len(user), -1)
    preferred = joint.answers(judge, logs, user, everything)[1][row]  # [P, I]
    retrieved = joint.answers(model, logs, user, everything)[0][user[row, 0]]
    mass = (retrieved / joint.TEMPERATURE).scatter(1, positive, -torch.inf).softmax(dim=1)
    return float((mass * (preferred > preferred.gather(1, positive))).sum(dim=1).mean())


@torch.no_grad()
def attributes(model: nn.Module, logs: CoarseFineLogs, folds: int = 2) -> np.ndarray:
    """[A] R^2 of item attributes predicted linearly from the vectors that ranking uses, on the items left out."""
    assert isinstance(model, joint.JointModel)
    vectors = model(logs.users[:1], logs.items).rank_item.double()
    inputs, targets = torch.cat([vectors, torch.ones(len(vectors), 1)], dim=1), logs.attributes.double()
    fold = torch.arange(len(inputs)) % folds
    left = torch.zeros_like(targets)
    for held in range(folds):
        found = torch.linalg.lstsq(inputs[fold != held], targets[fold != held], driver="gelsd").solution
        left[fold == held] = targets[fold == held] - inputs[fold == held] @ found
    return (1 - left.square().mean(0) / targets.var(dim=0)).numpy()


def interventions(
    recipe: TrainJoint, known: tuple[JointRun, JointRun], logs: CoarseFineLogs, seed: int
) -> Interventions:
    """Trainings with one thing changed, from the cheapest on, until one brings ranking back."""
    run, alone = known
    found = {names.AS_IS: joint.quality(run.model, logs), names.ALONE: joint.quality(alone.model, logs)}
    wanted = found[names.ALONE][1] - names.BELOW
    heard = replace(recipe, balancer=GradNormEMA(), weights=(1.0, 1.0))
    wider = replace(heard, towers=replace(recipe.towers, width=2 * recipe.towers.width))
    split = replace(heard, towers=replace(recipe.towers, sharing="private"))
    tries: dict[str, Callable[[], JointRun]] = {
        REFITTED: lambda: refitted(recipe, run, logs, seed),
        names.NORMALISED: lambda: heard.fit(logs, seed),
        names.WIDER: lambda: wider.fit(logs, seed),
        names.SPLIT: lambda: split.fit(logs, seed),
    }
    last = names.AS_IS
    for name, train in tries.items():
        if found[last][1] >= wanted:
            break
        found[name], last = joint.quality(train().model, logs), name
    return Interventions(joint.TASKS, found)


def refitted(recipe: TrainJoint, run: JointRun, logs: CoarseFineLogs, seed: int) -> JointRun:
    """A new ranking head on the frozen encoder, by ranking's loss alone in as many steps."""
    model = deepcopy(run.model)
    assert isinstance(model, joint.JointModel)
    fresh = recipe.towers.build(logs.users.shape[1], float(logs.train.likes.mean()), seed + 1)
    model.ranker = fresh.ranker
    model.factor, model.offset = fresh.factor, fresh.offset
    for held in (*model.trunks.parameters(), *model.projections.parameters()):
        held.requires_grad_(False)
    return replace(recipe, balancer=None, weights=(0.0, 1.0), head_from=0.0).taught(model, logs, seed)
