#!/usr/bin/env python3
"""How soon the page of a fresh peer answers, and what the process holds, beside what else a user would start for the same.

Every round starts each program in a new, empty folder, one after another, and asks its page every millisecond until the first
200; two seconds later it reads the resident memory of the process and its children. Prints medians, and the medians of the
ratios within rounds.

    cargo build --release --locked
    benches/gateway/start.py --rounds 15          # needs transmission-daemon and syncthing (Debian's packages)
    benches/gateway/start.py --beside OLD         # with another build of floodplain as a further program
"""

from __future__ import annotations

import argparse
import http.client
import os
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SETTLE_SECONDS = 2
PATIENCE_SECONDS = 60


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def floodplain(folder: Path, port: int, program: Path = ROOT / "target/release/floodplain") -> list[str]:
    """A registry and a peer of a new closed network in one process, as `floodplain up` starts them."""
    settings = {
        "DATA": folder / "data",
        "SHARES": folder / "share",
        "INBOX": folder / "inbox",
        "HTTP_LISTEN": f"127.0.0.1:{port}",
        "REGISTRY_HTTP_LISTEN": "off",
    }
    env = [f"FLOODPLAIN_{key}={value}" for key, value in settings.items()]
    listen = [f"--listen=127.0.0.1:{free_port()}", f"--peer-listen=127.0.0.1:{free_port()}"]
    return ["env", *env, str(program), "up", "--headless", *listen]


def transmission(folder: Path, port: int) -> list[str]:
    return [
        "transmission-daemon", "--foreground", "--config-dir", str(folder), "--port", str(port),
        "--rpc-bind-address", "127.0.0.1", "--peerport", str(free_port()), "--no-portmap", "--no-dht", "--no-lpd", "--no-utp",
    ]  # fmt: skip


def syncthing(folder: Path, port: int) -> list[str]:
    return [
        "syncthing", "serve", f"--home={folder}", "--no-browser", "--no-restart", "--no-upgrade", "--no-default-folder",
        f"--gui-address=127.0.0.1:{port}",
    ]  # fmt: skip


PROGRAMS = {
    "floodplain up": (floodplain, "/"),
    "transmission-daemon": (transmission, "/transmission/web/"),
    "syncthing": (syncthing, "/"),
}


def answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def resident_kib(group: int) -> int:
    """Of all processes of a process group."""
    total = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            if os.getpgid(int(status.parent.name)) == group:
                total += sum(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmRSS"))
        except (OSError, ProcessLookupError):
            continue
    return total


def measure(name: str) -> tuple[float, float]:
    """Milliseconds to the first 200, MiB resident after it has settled."""
    command, path = PROGRAMS[name]
    with tempfile.TemporaryDirectory() as scratch:
        port = free_port()
        begin = time.monotonic()
        process = subprocess.Popen(
            command(Path(scratch), port),
            cwd=scratch,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            while not answers(port, path):
                if process.poll() is not None or time.monotonic() - begin > PATIENCE_SECONDS:
                    raise SystemExit(f"{name} did not answer")
                time.sleep(0.001)
            took = (time.monotonic() - begin) * 1000
            time.sleep(SETTLE_SECONDS)
            return took, resident_kib(process.pid) / 1024
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--beside", type=Path)
    asked = options.parse_args()
    rounds = asked.rounds
    if asked.beside is not None:
        PROGRAMS[str(asked.beside)] = (partial(floodplain, program=asked.beside.resolve()), "/")
    for program in ("transmission-daemon", "syncthing"):
        if shutil.which(program) is None:
            raise SystemExit(f"missing: {program}")
    rows = {name: [] for name in PROGRAMS}
    for _ in range(rounds):
        for name in PROGRAMS:
            rows[name].append(measure(name))
    own = rows["floodplain up"]
    print(f"{rounds} rounds, interleaved\n")
    print("| | first 200, ms | resident, MiB | time, ours / theirs | memory, ours / theirs |")
    print("|---|---:|---:|---:|---:|")
    for name, measured in rows.items():
        took, held = (statistics.median(column) for column in zip(*measured))
        ratio = [statistics.median(o[i] / m[i] for o, m in zip(own, measured)) for i in (0, 1)]
        print(f"| {name} | {took:.0f} | {held:.1f} | {ratio[0]:.2f} | {ratio[1]:.2f} |")


if __name__ == "__main__":
    main()
