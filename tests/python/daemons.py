"""Real daemons of the binary under test, each in a folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

BIN = os.environ["FLOODPLAIN_BIN"]
PATIENCE_SECONDS = 20


def until(true, what: str):
    """Polls for what daemons do by themselves."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        if value := true():
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {PATIENCE_SECONDS} s: {what}")
        time.sleep(0.05)


class Daemon:
    """A running daemon; `end` ends it as the service manager does."""

    def __init__(self, folder: Path, verb: list[str], **settings: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        clean = {k: v for k, v in os.environ.items() if not k.startswith("FLOODPLAIN_")}
        settings = {"DATA": str(folder / "data"), "HTTP_LISTEN": "off", "REGISTRY_HTTP_LISTEN": "off"} | settings
        self.env = clean | {f"FLOODPLAIN_{k}": v for k, v in settings.items()}
        self.folder = folder
        self.process = subprocess.Popen(
            [BIN, *verb], cwd=folder, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        line = self.process.stdout.readline()
        if not line.startswith("listening on "):
            raise AssertionError(f"{verb} did not start: {line!r}")
        self.address = line.split()[2]

    def cli(self, *words: str) -> list[dict]:
        """What a verb tells as JSON lines; fails when it does."""
        ended = subprocess.run(
            [BIN, "--json", *words], cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=30
        )
        if ended.returncode not in (0, 3):
            raise AssertionError(f"{words}: exit {ended.returncode}: {ended.stdout}{ended.stderr}")
        return [json.loads(line) for line in ended.stdout.splitlines()]

    def gateway(self, file: str) -> str:
        """What the data folder tells of the gateway: its `address` or `token`."""
        path = self.folder / "data" / "gateway" / file
        return until(lambda: path.exists() and path.read_text().strip(), f"the gateway's {file}")

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(40)
        self.process.stdout.close()
