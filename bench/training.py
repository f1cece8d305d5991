"""Requests a second of the whole training loop against a bare loop over batches that lie in memory, same model.

python -m bench.training [--run outputs/demo] [--rounds 3]

What the ratio misses of 1 is what reading, lanes, logging, schedules and a checkpoint cost. One thread, CPU time.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace

import torch

from recsys.batch import Batch
from recsys.candidates import InBatch
from recsys.evaluate.timing import interleave
from recsys.losses.softmax import SampledSoftmax
from recsys.model import ModelSpec
from recsys.train.assemble import TrainingPlan, assemble
from recsys.train.loop import Run, advanced, begin, fit
from recsys.train.objective import task_weights
from recsys.train.spec import TrainSpec

STEPS, GOAL = 48, 0.95  # steps: so many that a checkpoint and the first window weigh what they do in a real run


def whole(run: Run) -> None:
    """fit(): reading, steps, log, one checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        fit(replace(run, folder=folder))


def bare(run: Run, batches: list[Batch]) -> None:
    """Forward, backward and optimiser over the same batches, and nothing else."""
    training = begin(replace(run, folder="nowhere"))
    weights, at = task_weights(run.spec, run.origin.dataset), training.position
    training.model.train()
    for batch in batches:
        losses = run.objective(training.model, training.wrapped, batch, (at.step, at.epoch))
        training.optimiser.zero_grad(set_to_none=True)
        losses.weighted(weights).backward()
        torch.nn.utils.clip_grad_norm_(training.model.parameters(), run.spec.clip_norm)
        training.optimiser.step()
        at = advanced(at, run.reader.steps_per_epoch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", default="outputs/demo", help="a run folder with a prepared dataset")
    parser.add_argument("--rounds", type=int, default=3)
    told = parser.parse_args()
    torch.set_num_threads(1)
    spec = TrainSpec(source=InBatch(), loss=SampledSoftmax(), max_steps=STEPS, trace_every=0, checkpoint_every=10**6)
    plan = TrainingPlan(f"{told.run}/dataset", "nowhere", ModelSpec(), spec)
    run = replace(assemble(plan, "cpu", lambda *_: None), validation=None)  # a look at validation isn't training
    stream = run.reader.epoch(0)
    batches = [next(stream) for _ in range(STEPS)]
    timings = interleave({"bare": lambda: bare(run, batches), "whole": lambda: whole(run)}, told.rounds)
    report = {
        "bench": "training",
        "requests": sum(map(len, batches)),
        "ratio_to_bare_loop": 1 / timings.ratio("whole", "bare"),
        "goal": GOAL,
        "quiet": timings.quiet(),
        **timings.to_json(),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
