"""Every benchmark in turn, each in a process of its own; their JSON lines end in outputs/bench.jsonl.

python -m bench.run: training, serving and reading use the run in outputs/demo, which `make demo` makes.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCHES = ("reader", "evaluation", "training", "workers", "serving")


def main() -> None:
    if not Path("outputs/demo/summary.json").exists():
        sys.exit("outputs/demo isn't there: run `make demo` first, its data and model are what is measured")
    out = Path("outputs/bench.jsonl")
    failed = []
    for name in BENCHES:
        print(f"== bench.{name}", flush=True)
        done = subprocess.run([sys.executable, "-m", f"bench.{name}"], stdout=subprocess.PIPE, text=True, check=False)
        print(done.stdout, flush=True)
        with out.open("a") as log:
            log.write("".join(line + "\n" for line in done.stdout.splitlines() if line.startswith("{")))
        failed += [name] if done.returncode else []
    if failed:
        sys.exit(f"without a valid figure: {', '.join(failed)} (see above; a noisy machine voids a run)")


if __name__ == "__main__":
    main()
