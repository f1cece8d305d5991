"""Requests a second of the whole training loop against a bare loop over batches that lie in memory, same model.

python -m bench.training [--run outputs/demo] [--rounds 3] [--device cuda --precision bf16 --batch-size 4096]

What the ratio misses of 1 is what reading, lanes, logging, schedules and a checkpoint cost. One thread, CPU time; on a GPU
wall time, with the batches of the bare loop already there, and how far its first losses lie from a CPU's in float32.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace

import torch

from recsys.batch import Batch
from recsys.candidates import InBatch
from recsys.evaluate.timing import interleave
from recsys.losses.softmax import SampledSoftmax
from recsys.model import ModelSpec
from recsys.train.assemble import TrainingPlan, assemble
from recsys.train.checkpoint import Position
from recsys.train.loop import Run, advanced, begin, fit
from recsys.train.loop import batches as steps_of
from recsys.train.objective import task_weights
from recsys.train.spec import TrainSpec

STEPS, GOAL = 48, 0.95  # steps: so many that a checkpoint and the first window weigh what they do in a real run
COMPARED = 6  # losses beside a CPU's: later ones drift apart as any two orders of summation do


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
        with torch.autocast(run.objective.workers.device.type, torch.bfloat16, enabled=run.spec.precision == "bf16"):
            losses = run.objective(training.model, training.wrapped, batch, (at.step, at.epoch))
        training.optimiser.zero_grad(set_to_none=True)
        losses.weighted(weights).backward()
        torch.nn.utils.clip_grad_norm_(training.model.parameters(), run.spec.clip_norm)
        training.optimiser.step()
        at = advanced(at, run.reader.steps_per_epoch)
    if run.objective.workers.device.type == "cuda":
        torch.cuda.synchronize()


def losses(plan: TrainingPlan, device: str) -> list[float]:
    """Of retrieval and all tasks together, the first steps on a device; without dropout, which every device draws anew."""
    item, user = replace(plan.model.item, dropout=0.0), replace(plan.model.user, dropout=0.0)
    model = ModelSpec(item=item, user=user, ranking=replace(plan.model.ranking, dropout=0.0))
    found: list[float] = []

    def report(step: int, kind: str, numbers: dict[str, float]) -> None:
        found.append(sum(value for name, value in numbers.items() if name.startswith("loss.")))

    with tempfile.TemporaryDirectory() as folder:
        spec = replace(plan.train, max_steps=COMPARED, log_every=1)
        plan = replace(plan, train=spec, folder=folder, model=model)
        fit(replace(assemble(plan, device, report), validation=None))
    return found


def main() -> None:
    told = _arguments()
    torch.set_num_threads(1)
    knobs = {"batch_size": told.batch_size, "precision": told.precision, "max_steps": told.steps, "epochs": told.steps}
    spec = TrainSpec(source=InBatch(), loss=SampledSoftmax(), trace_every=0, checkpoint_every=10**6, **knobs)
    plan = TrainingPlan(f"{told.run}/dataset", "nowhere", ModelSpec(), spec)
    run = replace(assemble(plan, told.device, lambda *_: None), validation=None)  # a look at validation isn't training
    stream = steps_of(run, Position(0, 0, 0))
    batches = [next(stream).to(told.device) for _ in range(told.steps)]
    on_gpu = told.device != "cpu"
    arms = {"bare": lambda: bare(run, batches), "whole": lambda: whole(run)}
    timings = interleave(arms, told.rounds, time.perf_counter if on_gpu else time.process_time)
    requests = sum(map(len, batches))
    report = {
        "bench": "training",
        "device": torch.cuda.get_device_name() if on_gpu else "one CPU thread",
        **knobs,
        "requests": requests,
        "requests_per_second": requests / timings.median("whole"),
        "ratio_to_bare_loop": 1 / timings.ratio("whole", "bare"),
        "goal": GOAL,
        "quiet": timings.quiet(),
        **timings.to_json(),
    }
    if on_gpu:
        ours, theirs = losses(plan, told.device), losses(replace(plan, train=replace(spec, precision="fp32")), "cpu")
        report |= {"losses": ours, "losses_of_a_cpu": theirs, "peak_mb": torch.cuda.max_memory_allocated() / 1e6}
    print(json.dumps(report))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", default="outputs/demo", help="a run folder with a prepared dataset")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--batch-size", type=int, default=240)
    parser.add_argument("--steps", type=int, default=STEPS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
