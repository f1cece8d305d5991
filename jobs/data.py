"""Prepare a dataset: validate, set bad rows aside, build vocabularies, split by time, write request logs, check leaks."""

from __future__ import annotations

from jobs.settings import Settings, job
from jobs.stages import Stages
from recsys.artefact import Artefact
from recsys.data.prepare import dataset_fingerprint, prepare


def prepared(stages: Stages) -> Artefact:
    """run_dir/dataset."""
    spec = stages.settings.data

    def make(uri: str) -> None:
        prepare(spec, uri, lambda text: stages.say("dataset", text))

    dataset = stages.reach("dataset", "dataset", dataset_fingerprint(spec), make)
    counts = dataset.meta["counts"]
    aside = ", ".join(f"{count} {reason}" for reason, count in counts["quarantined"].items()) or "none"
    stages.say(
        "dataset", f"{counts['events']} events, {counts['users']} users, {counts['items']} items; set aside: {aside}"
    )
    return dataset


@job
def main(settings: Settings) -> None:
    prepared(Stages(settings))


if __name__ == "__main__":
    main()
