"""Steps a second of two gloo workers against one, over the same global batches.

python -m bench.workers [--run outputs/demo] [--rounds 5]

Wall time of the median step, one thread a worker, turn by turn; needs two idle cores, and says so when it didn't get them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from recsys.candidates import InBatch
from recsys.losses.softmax import SampledSoftmax
from recsys.model import ModelSpec
from recsys.train.assemble import TrainingPlan, assemble
from recsys.train.loop import fit
from recsys.train.spec import TrainSpec

STEPS, WARM_UP, GOAL, NOISE = 24, 4, 1.8, 0.1


def work(rank: int, world: int, store: str, plan: TrainingPlan, out: str) -> None:
    """Train on this worker's share; the first one writes down how long each step took."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    seconds: list[float] = []

    def report(step: int, kind: str, numbers: dict[str, float]) -> None:
        if kind == "train":
            seconds.append(numbers["step_seconds"])

    fit(replace(assemble(plan, "cpu", report), validation=None))
    if rank == 0:
        Path(out).write_text(json.dumps(seconds[WARM_UP:]))
    dist.destroy_process_group()


def step_seconds(world: int, dataset: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        spec = TrainSpec(
            source=InBatch(), loss=SampledSoftmax(), max_steps=STEPS, trace_every=0, log_every=1, checkpoint_every=10**6
        )
        plan = TrainingPlan(dataset, f"{folder}/training", ModelSpec(), spec)
        spawn(work, (world, f"{folder}/store", plan, f"{folder}/seconds"), nprocs=world)
        return median(json.loads(Path(folder, "seconds").read_text()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", default="outputs/demo", help="a run folder with a prepared dataset")
    parser.add_argument("--rounds", type=int, default=5)
    told = parser.parse_args()
    dataset = f"{told.run}/dataset"
    turns = [(step_seconds(1, dataset), step_seconds(2, dataset), step_seconds(1, dataset)) for _ in range(told.rounds)]
    again = median(last / first for first, _, last in turns)
    report = {
        "bench": "workers",
        "speed_up_of_two": median((first + last) / 2 / two for first, two, last in turns),
        "goal": GOAL,
        "aa_ratio": again,
        "quiet": abs(again - 1) <= NOISE,
        "step_seconds": {"one": median(t[0] for t in turns), "two": median(t[1] for t in turns)},
    }
    print(json.dumps(report))
    if not report["quiet"]:
        sys.exit("the machine is too noisy: the same arm timed twice differs by more than a tenth; run again")


if __name__ == "__main__":
    main()
