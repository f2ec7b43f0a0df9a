"""Writes the commands of each workflow's steps to files that shellcheck reads, with the shell that GitHub runs them by.

check.py FOLDER WORKFLOW.. prints `bash FILE` or `sh FILE` a line.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import yaml

folder = Path(sys.argv[1])
for workflow in map(Path, sys.argv[2:]):
    for name, job in yaml.safe_load(workflow.read_text())["jobs"].items():
        # In a container that names no shell steps are run by sh.
        shell = "sh" if "container" in job else "bash"
        for number, step in enumerate(job.get("steps", [])):
            if "run" not in step:
                continue
            if "${{" in step["run"]:
                sys.exit(f"{workflow}: step {number} of {name}: an expression in a command is an injection; pass it by env")
            path = folder / f"{workflow.stem}-{name}-{number}.sh"
            path.write_text(step["run"] + "\n")
            print(shell, path)
for action in re.findall(r"uses: *([^ .\n]\S+)", "".join(Path(workflow).read_text() for workflow in sys.argv[2:])):
    if not re.search(r"@[0-9a-f]{40}$", action):
        sys.exit(f"{action}: an action is named by its commit")
