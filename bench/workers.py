"""Rows a second of two gloo workers against one, over the same global batches.

python -m bench.workers [--run outputs/demo] [--rounds 5]

Wall time of the median step, one thread a worker, turn by turn; needs two idle cores, and says so when it didn't get them.
The goal is for batches of 960 requests. With the laptop's 240 a step is so short that collectives, and waiting for the worker
whose histories happen to be longer, weigh three times as much: that ratio is reported beside it. So is what two processes
that know nothing of each other reach, which no pair of workers on this machine can pass.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import mean, median

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from recsys.candidates import InBatch
from recsys.losses.softmax import SampledSoftmax
from recsys.model import ModelSpec
from recsys.train.assemble import TrainingPlan, assemble
from recsys.train.loop import fit
from recsys.train.spec import TrainSpec

STEPS, WARM_UP, GOAL, NOISE = 16, 4, 1.8, 0.1
BATCH, SMALL = 960, 240  # requests over all workers


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


def apart(dataset: str, batch: int) -> float:
    """Seconds of a step of one worker while another one, that it knows nothing of, does the same beside it."""
    with ThreadPoolExecutor(2) as pool:
        return mean(pool.map(lambda _: step_seconds(1, dataset, batch), range(2)))


def step_seconds(world: int, dataset: str, batch: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        spec = TrainSpec(
            source=InBatch(),
            loss=SampledSoftmax(),
            batch_size=batch,
            max_steps=STEPS,
            trace_every=0,
            log_every=1,
            checkpoint_every=10**6,
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
    turns = []
    for _ in range(told.rounds):
        turn = {
            f"{world} at {batch}": step_seconds(world, dataset, batch) for world in (1, 2) for batch in (BATCH, SMALL)
        }
        turns.append(turn | {"again": step_seconds(1, dataset, BATCH), "apart": apart(dataset, BATCH)})
    again = median(turn["again"] / turn[f"1 at {BATCH}"] for turn in turns)
    report = {
        "bench": "workers",
        "speed_up_of_two": median((t[f"1 at {BATCH}"] + t["again"]) / 2 / t[f"2 at {BATCH}"] for t in turns),
        "goal": GOAL,
        f"speed_up_of_two_at_{SMALL}": median(t[f"1 at {SMALL}"] / t[f"2 at {SMALL}"] for t in turns),
        "two_that_share_nothing": median((t[f"1 at {BATCH}"] + t["again"]) / t["apart"] for t in turns),
        "aa_ratio": again,
        "quiet": abs(again - 1) <= NOISE,
        "step_seconds": {arm: median(turn[arm] for turn in turns) for arm in turns[0]},
    }
    print(json.dumps(report))
    if not report["quiet"]:
        sys.exit("the machine is too noisy: the same arm timed twice differs by more than a tenth; run again")


if __name__ == "__main__":
    main()
