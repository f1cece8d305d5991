"""Compiles cases for one architecture with whichever triton is first on the path; one JSON line a case.

bench.kernels_static starts it, a process for each version and architecture.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.errors import TritonError

from bench.kernels_static import cases_of
from bench.sass import read_listing, read_resources
from kernels.static import StaticCase

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"


def main() -> None:
    arch, *wanted = sys.argv[1:]
    for op, case in cases_of(Path("kernels")):
        if f"{op}/{case.name}" in wanted:
            begin = time.process_time()
            measured = {"case": f"{op}/{case.name}", "triton": triton.__version__, "arch": int(arch)}
            try:
                measured |= compile_case(case, int(arch))
            except (TritonError, RuntimeError) as error:  # RuntimeError: a pass of the compiler failed
                measured["error"] = f"{type(error).__name__}: {error}"[-300:]
            print(json.dumps(measured | {"seconds": round(time.process_time() - begin, 1)}), flush=True)


def compile_case(case: StaticCase, arch: int) -> dict[str, Any]:
    """What the machine code of a case costs."""
    source = ASTSource(case.kernel, case.types(), dict(case.constants), case.attributes())
    options = {"num_warps": case.warps, "num_stages": case.stages}
    compiled = triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as cubin:
        cubin.write(compiled.asm["cubin"])
        cubin.flush()
        listing = read_listing(_tool("nvdisasm", "-c", cubin.name))
        registers, stack = read_resources(_tool("cuobjdump", "--dump-resource-usage", cubin.name))
    loop = listing.hot_loop(case.peeled)
    return {
        "registers": registers,
        "stack": stack,
        "shared": compiled.metadata.shared,
        "instructions": len(listing.opcodes),
        "loop": len(loop) if loop else None,
        "per_lane": round(len(loop) * 32 * case.warps / case.logits, 2) if loop and case.logits else None,
        **{opcode: count for opcode, count in listing.counts().items() if count},
    }


def _tool(name: str, *arguments: str) -> str:
    return subprocess.run([TOOLS / name, *arguments], check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
