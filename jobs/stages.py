"""What the jobs share: stages that are skipped when their result is there, timed, and logged."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from jobs.settings import Settings
from recsys.artefact import Artefact, join_uri, opened, peek, read_file, write_file
from recsys.tracking.run import start_run

LOGGED_ELSEWHERE = {"checkpoint"}  # training logs itself, step by step


@dataclass(slots=True)
class Stages:
    """The stages of a run in a run_dir: each an artefact whose fingerprint says what it was made from."""

    settings: Settings
    seconds: dict[str, float] = field(default_factory=dict)

    def uri(self, name: str) -> str:
        return join_uri(self.settings.run_dir, name)

    def reach(self, name: str, kind: str, fingerprint: str, make: Callable[[str], None]) -> Artefact:
        """The artefact `name` with this fingerprint: the one that is there, or a new one."""
        held = peek(self.uri(name), kind)
        made_from = (held or {}).get("meta", {}).get("made_from", (held or {}).get("fingerprint"))
        if made_from == fingerprint and not self.settings.fresh:
            self.say(name, "is there already, from the same settings and inputs")
            self.seconds[name] = self._remembered().get(name, 0.0)
            return opened(self.uri(name), kind)
        began = time.perf_counter()
        self.say(name, "...")
        make(self.uri(name))
        self.seconds[name] = round(time.perf_counter() - began, 2)
        self._remember()
        self.say(name, f"done in {self.seconds[name]:.1f} s")
        made = opened(self.uri(name), kind)
        if name not in LOGGED_ELSEWHERE:
            self._log(name, made)
        return made

    def _log(self, name: str, made: Artefact) -> None:
        """A run per stage: how long it took, the numbers of its manifest, and a reference to what it made."""
        told = self.settings
        with start_run(told.tracking, job=name, run_id=told.identity, config=told.plain, dir=told.run_dir) as run:
            numbers = {key: held for key, held in made.meta.items() if isinstance(held, (int, float))}
            run.summary({"seconds": self.seconds[name], **numbers})
            run.reference(self.uri(name), made.fingerprint, name)

    def say(self, name: str, text: str) -> None:
        print(f"== {name}: {text}", flush=True)

    def _remembered(self) -> dict[str, float]:
        held = read_file(join_uri(self.settings.run_dir, "seconds.json"), missing=b"{}")
        return json.loads(held)

    def _remember(self) -> None:
        text = json.dumps(self._remembered() | self.seconds)
        write_file(join_uri(self.settings.run_dir, "seconds.json"), text.encode())
