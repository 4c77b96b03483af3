"""Run a recipe: several jobs from one file, one after another."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from raypipe import config as configs
from raypipe import runtime
from raypipe.command import Outcome, run_job
from raypipe.config import JobConfig, RunConfig
from raypipe.errors import UsageError, nearest
from raypipe.options import read_mapping, resolve
from raypipe.progress import say
from raypipe.sources.globs import is_pattern
from raypipe.storage import output_folder, user_path

__all__ = ["main", "run"]

_JOBS: dict[str, type[JobConfig]] = {
    "extract": configs.ExtractConfig,
    "compact": configs.CompactConfig,
    "export": configs.ExportConfig,
    "train": configs.TrainConfig,
    "cluster": configs.ClusterConfig,
    "predict": configs.PredictConfig,
    "report": configs.ReportConfig,
}
_SHAPE = "have `steps:`, a list of `job: options`"
_KEYS = ("description", "out", "steps")

#: Options that name what a step reads.
_FILES = ("source", "join", "label_file")

#: What a step takes and writes where the recipe does not say, below the recipe's folder.
_PLACES: dict[str, dict[str, str]] = {
    "extract": {"out": "features"},
    "compact": {"store": "features"},
    "export": {"store": "features"},
    "train": {"store": "features", "out": "model"},
    "cluster": {"store": "features", "out": "clusters"},
    "predict": {"model": "model", "out": "predictions.csv"},
    "report": {"run": ".", "out": "report.html"},
}


def run(config: RunConfig) -> Outcome:
    """Run a recipe; see `RunConfig` for the options.

    All steps are checked before the first one starts.

    Raises:
        UsageError: the recipe or one of its steps is wrong.
    """
    path = user_path(config.recipe, "RECIPE")
    recipe = _read(path)
    folder = user_path(config.out or str(recipe.get("out") or path.stem), "--out")
    steps = _steps(recipe, config, folder, path)
    plan = [f"{i}. {name}: {_shown(job)}" for i, (name, job) in enumerate(steps, 1)]
    if config.dry_run:
        shown = [{"job": name} | job.model_dump(mode="json") for name, job in steps]
        return Outcome({"out": str(folder), "steps": shown}, "\n".join(plan), [])
    out = output_folder(str(folder))
    say("\n".join(plan))
    outcomes: list[tuple[str, Outcome]] = []
    with ExitStack() as stack:
        if any(hasattr(job, "address") for _, job in steps):
            stack.enter_context(runtime.session(_address(steps)))
        for name, job in steps:
            say(f"── {name}")
            outcomes.append((name, import_module(f"raypipe.jobs.{name}").run(job)))
    summary = {"out": str(out), "steps": [{"job": n} | o.summary for n, o in outcomes]}
    text = "\n\n".join(f"{name}\n{outcome.text}" for name, outcome in outcomes)
    return Outcome(summary, text, [outcome.value for _, outcome in outcomes])


def _read(path: Path) -> dict[str, Any]:
    recipe = read_mapping(str(path), "RECIPE", _SHAPE)
    if not isinstance(recipe.get("steps"), list):
        raise UsageError(f"RECIPE: {path} must {_SHAPE}")
    if unknown := [key for key in recipe if key not in _KEYS]:
        raise UsageError(
            f"RECIPE: {path} has unknown key {unknown[0]!r}{nearest(str(unknown[0]), _KEYS)}"
        )
    return recipe


def _steps(
    recipe: Mapping[str, Any], config: RunConfig, out: Path, path: Path
) -> list[tuple[str, JobConfig]]:
    entries = [_entry(entry, f"step {n} of {path}") for n, entry in enumerate(recipe["steps"], 1)]
    changes = [_change(text) for text in config.set]
    names = [name for name, _ in entries]
    for step, option, _ in changes:
        if step not in names:
            raise UsageError(
                f"--set {step}.{option}: the recipe has no such step; it has {', '.join(names)}"
            )
    if config.source is not None and "extract" not in names:
        raise UsageError("--source: the recipe has no extract step; use --set STEP.source=…")
    steps = []
    for number, (name, options) in enumerate(entries, 1):
        given = {str(key).replace("-", "_"): value for key, value in (options or {}).items()}
        given |= {option: value for step, option, value in changes if step == name}
        if name == "extract" and config.source is not None:
            given["source"] = config.source
        steps.append((name, _resolve(name, given, out, number)))
    return steps


def _entry(entry: Any, place: str) -> tuple[str, dict[str, Any]]:
    if not isinstance(entry, dict) or len(entry) != 1:
        raise UsageError(f"RECIPE: {place} must be one `job: options`")
    ((name, options),) = entry.items()
    if name not in _JOBS:
        known = ", ".join(_JOBS)
        raise UsageError(
            f"RECIPE: {place} must be one of {known}; got {name!r}{nearest(str(name), _JOBS)}"
        )
    if options is not None and not isinstance(options, dict):
        raise UsageError(f"RECIPE: {place}: expected `option: value` lines; got {options!r}")
    return name, options or {}


def _change(text: str) -> tuple[str, str, Any]:
    place, equals, value = text.partition("=")
    step, dot, option = place.partition(".")
    if not (equals and dot and option):
        raise UsageError(f"--set: expected STEP.OPTION=VALUE; got {text!r}")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError:
        parsed = value  # `*.jpg` is a pattern, and no alias
    return step, option.replace("-", "_"), parsed


def _resolve(name: str, given: dict[str, Any], out: Path, number: int) -> JobConfig:
    """Check a step's options; what it reads and writes lies in the recipe's folder."""
    model = _JOBS[name]
    for key in given:
        if key not in model.model_fields:
            known = nearest(key, model.model_fields)
            raise UsageError(f"RECIPE: step {number} ({name}) has no option {key!r}{known}")
    given = _PLACES[name] | given
    for option in ("store", "model", "run", "out"):
        if option in given:
            given[option] = str(out / str(given[option]))
    try:
        job = resolve(model, given)
        _check_files(job, out)
        check = getattr(import_module(f"raypipe.jobs.{name}"), "check", None)
        if check:
            check(job)
    except UsageError as error:
        raise UsageError(f"RECIPE: step {number} ({name}): {error}") from None
    return job


def _check_files(job: JobConfig, out: Path) -> None:
    """Files that a later step needs have to be there before the first one starts."""
    for option in _FILES:
        value = getattr(job, option, None)
        if value is None or is_pattern(value) or "://" in value:
            continue
        path = user_path(value, f"--{option}")
        if not path.exists() and out not in path.parents:
            raise UsageError(f"--{option.replace('_', '-')}: no file or folder at {str(path)!r}")


def _address(steps: list[tuple[str, JobConfig]]) -> str | None:
    addresses = (getattr(job, "address", None) for _, job in steps)
    return next((address for address in addresses if address), None)


def _shown(job: JobConfig) -> str:
    given = job.model_dump(exclude_defaults=True)
    return ", ".join(f"{name}={value}" for name, value in given.items())


def main() -> None:
    """Run from the command line."""
    run_job("run", RunConfig)


if __name__ == "__main__":
    main()
