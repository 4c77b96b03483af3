"""Print what Ray's launcher would run on each node of cluster.yaml, in order, and start nothing.

python deploy/aws/dry_run.py [cluster.yaml]
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from ray.autoscaler._private.command_runner import set_using_login_shells
from ray.autoscaler._private.updater import NodeUpdater
from ray.autoscaler._private.util import prepare_config, validate_config, with_head_node_ip
from ray.autoscaler.node_provider import NodeProvider

_NODE = "NODE"
_HEAD_IP = "HEAD"
#: What a new node answers to the launcher's questions.
_ANSWERS = {
    "command -v docker": "/usr/bin/docker",
    ".State.Running": "",
    ".Config.Env": '["HOME=/home/ray"]',
    ".Runtimes": "map[nvidia:{nvidia-container-runtime}]",
    "printenv HOME": "/home/ray",
    "/proc/meminfo": "MemAvailable:   31457280 kB",
}


class Nodes(NodeProvider):
    """A provider of nodes that there are not."""

    def external_ip(self, node_id: str) -> str:
        """Return a node's name instead of its address."""
        return node_id

    internal_ip = external_ip

    def is_terminated(self, _: str) -> bool:
        """Tell whether a node has gone."""
        return False

    def node_tags(self, _: str) -> dict[str, str]:
        """Return a node's tags: a new one has none."""
        return {}

    def set_node_tags(self, *_: object) -> None:
        """Forget a node's tags."""


class Commands:
    """Takes the place of `subprocess` in Ray's launcher; hands on what is to run on the node."""

    DEVNULL = None

    def __init__(self, run: Callable[[str], str]) -> None:
        self._run = run

    def check_call(self, command: list[str], *_: object, **__: object) -> int:
        """Hand a command on."""
        self._run(_on_node(command))
        return 0

    def check_output(self, command: list[str]) -> bytes:
        """Hand a command on; return what it says."""
        return self._run(_on_node(command)).encode()


def node_commands(config: dict[str, Any], kind: str, run: Callable[[str], str]) -> None:
    """Hand on each command that the launcher would run on a new node.

    Args:
        config: as Ray's `prepare_config` returns it.
        kind: one of its `available_node_types`.
        run: gets a command of the node's own shell (what begins with `rsync` is this machine's),
            and returns what that says.
    """
    is_head = kind == config["head_node_type"]
    role = "head" if is_head else "worker"
    start = config[f"{role}_start_ray_commands"]
    own = config["available_node_types"][kind].get("docker", {})
    with _plain_shells():
        NodeUpdater(
            node_id=_NODE,
            provider_config={"type": "none"},
            provider=Nodes({"type": "none"}, config["cluster_name"]),
            auth_config=config["auth"],
            cluster_name=config["cluster_name"],
            file_mounts=config["file_mounts"],
            initialization_commands=config["initialization_commands"],
            setup_commands=config[f"{role}_setup_commands"],
            ray_start_commands=start if is_head else with_head_node_ip(start, _HEAD_IP),
            runtime_hash="",
            file_mounts_contents_hash="",
            is_head_node=is_head,
            process_runner=Commands(run),
            docker_config={**config["docker"], **own},
        ).do_update()


@contextlib.contextmanager
def _plain_shells() -> Iterator[None]:
    """Have commands as they are written, without the login shell around each."""
    set_using_login_shells(False)
    try:
        with Path(os.devnull).open("w") as nothing, contextlib.redirect_stdout(nothing):
            yield
    finally:
        set_using_login_shells(True)


def _on_node(command: list[str]) -> str:
    if command[0] == "rsync":
        return f"rsync {command[-2]} {command[-1]}"
    return command[-1]


def main(path: str) -> None:
    """Print the commands for the nodes of a file."""
    config = prepare_config(yaml.safe_load(Path(path).read_text(encoding="utf-8")))
    validate_config(config)
    for mounted in config["file_mounts"].values():
        if not Path(mounted).expanduser().exists():
            sys.exit(f"file_mounts: no {mounted!r} is here; the first lines of {path} make it")
    for kind, options in config["available_node_types"].items():
        image = str(options["node_config"].get("ImageId"))
        if not re.fullmatch(r"ami-[0-9a-f]{8,17}", image):
            sys.exit(f"ImageId: must be as ami-0123456789abcdef0; {kind} has {image!r}: name yours")
    for kind in config["available_node_types"]:
        lines: list[str] = []

        def note(command: str, lines: list[str] = lines) -> str:
            lines.append(command)
            return next((answer for asked, answer in _ANSWERS.items() if asked in command), "")

        node_commands(config, kind, note)
        print(f"== {kind}", *lines, sep="\n")  # noqa: T201


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["cluster.yaml"]))
