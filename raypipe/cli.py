"""The command line: `raypipe COMMAND …`."""

from __future__ import annotations

import sys

from raypipe import config
from raypipe.command import add_command, execute, new_app

__all__ = ["main"]

_COMMANDS: dict[str, type[config.JobConfig]] = {
    "extract": config.ExtractConfig,
    "train": config.TrainConfig,
    "cluster": config.ClusterConfig,
    "predict": config.PredictConfig,
    "export": config.ExportConfig,
    "run": config.RunConfig,
    "inspect": config.InspectConfig,
    "layers": config.LayersConfig,
    "pack": config.PackConfig,
    "compact": config.CompactConfig,
    "expire": config.ExpireConfig,
    "pin": config.PinConfig,
    "demo": config.DemoConfig,
    "doctor": config.DoctorConfig,
}


def main() -> None:
    """Run the command line and exit with its status."""
    app = new_app()
    for name, model in _COMMANDS.items():
        add_command(app, name, model, f"raypipe.jobs.{name}")
    sys.exit(execute(app, sys.argv[1:]))


if __name__ == "__main__":
    main()
