"""What a step costs with train.evidence=true over what it costs without: at most 1.05.

python -m bench.evidence [--run outputs/demo] [--rounds 2]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace

import torch

from recsys.candidates import InBatch
from recsys.evaluate.timing import interleave
from recsys.losses.softmax import SampledSoftmax
from recsys.model import ModelSpec
from recsys.train.assemble import TrainingPlan, assemble
from recsys.train.loop import Run, fit
from recsys.train.spec import TrainSpec

STEPS, GOAL = 200, 1.05


def planned(run_dir: str, evidence: bool) -> Run:
    spec = TrainSpec(
        source=InBatch(),
        loss=SampledSoftmax(),
        max_steps=STEPS,
        epochs=STEPS,
        checkpoint_every=10**6,
        evidence=evidence,
    )
    spec = spec if evidence else replace(spec, trace_every=0)
    return assemble(TrainingPlan(f"{run_dir}/dataset", "nowhere", ModelSpec(), spec), "cpu", lambda *_: None)


def trained(run: Run) -> None:
    with tempfile.TemporaryDirectory() as folder:
        fit(replace(run, folder=folder))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", default="outputs/demo", help="a run folder with a prepared dataset")
    parser.add_argument("--rounds", type=int, default=2)
    told = parser.parse_args()
    torch.set_num_threads(1)
    with_it, without = planned(told.run, True), planned(told.run, False)
    timings = interleave({"without": lambda: trained(without), "with": lambda: trained(with_it)}, told.rounds)
    ratio = timings.ratio("with", "without")
    report = {"bench": "evidence", "ratio": ratio, "goal": GOAL, "quiet": timings.quiet(), **timings.to_json()}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
