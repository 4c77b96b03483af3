"""Run a recipe: several jobs from one file, one after another."""

from __future__ import annotations

from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any

from raypipe import runtime
from raypipe.cli.command import Outcome, run_job
from raypipe.cli.options import Step, read_recipe, resolve
from raypipe.config import JOBS, JobConfig, RunConfig
from raypipe.display import say
from raypipe.errors import UsageError, nearest
from raypipe.runtime.keeping import kept
from raypipe.sources.globs import is_pattern
from raypipe.storage import output_folder, user_path

#: Options that name what a step reads.
_FILES = ("source", "join", "label_file", "exclude")

#: The jobs of steps; what each takes and writes in the recipe's folder where nothing is said.
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
    out, written = read_recipe(str(path))
    folder = user_path(config.out or out or path.stem, "--out")
    steps = _steps(written, config, folder, path)
    plan = [f"{i}. {name}: {_shown(job)}" for i, (name, job) in enumerate(steps, 1)]
    if config.dry_run:
        shown = [{"job": name} | job.model_dump(mode="json") for name, job in steps]
        return Outcome({"out": str(folder), "steps": shown}, "\n".join(plan), [])
    place = output_folder(str(folder))
    for line in plan:
        say(line)
    outcomes: list[tuple[str, Outcome]] = []
    with ExitStack() as stack:
        address = _address(steps)
        stack.enter_context(runtime.session(address) if address else kept())
        for name, job in steps:
            say(f"── {name}")
            outcomes.append((name, import_module(f"raypipe.jobs.{name}").run(job)))
    summary = {"out": str(place), "steps": [{"job": n} | o.summary for n, o in outcomes]}
    text = "\n\n".join(f"{name}\n{outcome.text}" for name, outcome in outcomes)
    return Outcome(summary, text, [outcome.value for _, outcome in outcomes])


def _steps(
    written: list[Step], config: RunConfig, out: Path, path: Path
) -> list[tuple[str, JobConfig]]:
    names = [name for name, _ in written]
    for number, name in enumerate(names, 1):
        if name not in _PLACES:
            raise UsageError(
                f"RECIPE: step {number} of {path} must be one of {', '.join(_PLACES)}; "
                f"got {name!r}{nearest(name, _PLACES)}"
            )
    for change in config.set:
        if change.step not in names:
            raise UsageError(
                f"--set {change.step}.{change.option}: the recipe has no such step; "
                f"it has {', '.join(names)}"
            )
    if config.source is not None and "extract" not in names:
        raise UsageError("--source: the recipe has no extract step; use --set STEP.source=…")
    steps = []
    for number, (name, options) in enumerate(written, 1):
        given = options | {one.option: one.value for one in config.set if one.step == name}
        if name == "extract" and config.source is not None:
            given["source"] = config.source
        steps.append((name, _resolve(name, given, out, number)))
    return steps


def _resolve(name: str, given: dict[str, Any], out: Path, number: int) -> JobConfig:
    """Check a step's options; what it reads and writes lies in the recipe's folder."""
    model = JOBS[name]
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
            raise UsageError(f"--{option.replace('_', ' ')}: no file or folder at {str(path)!r}")


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
