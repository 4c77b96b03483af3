"""What is in deploy/, against the schemas of what reads it."""

from __future__ import annotations

import configparser
import json
import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from raypipe.errors import UsageError
from raypipe.runtime import metrics
from raypipe.submission import parse

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
#: Names and types of KubeRay's own fields, condensed from its custom resource definitions.
SCHEMAS = json.loads((Path(__file__).parent / "kuberay-schema.json").read_text())
MANIFESTS = sorted((DEPLOY / "kuberay").glob("*.yaml"))


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))


def clusters(manifest: Any) -> list[dict[str, Any]]:
    """Return the RayClusterSpec in a manifest."""
    spec = manifest["spec"]
    job = spec.get("jobTemplate", spec)
    return [job.get("rayClusterSpec", spec)]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_manifests_pass_their_schemas(path: Path) -> None:
    manifest = yaml.safe_load(path.read_text())
    schema = SCHEMAS[manifest["kind"]]
    jsonschema.validate(manifest, schema)
    for cluster in clusters(manifest):
        groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
        for group in groups:
            pod = {
                "apiVersion": "v1",
                "kind": "PodTemplate",
                "metadata": {"name": "pod"},
                "template": group["template"],
            }
            kubernetes_validate.validate(pod, "1.34", strict=True)
            pod["template"] = {"spec": {"containers": [{"name": "x", "imagee": "y"}]}}
            with pytest.raises(kubernetes_validate.ValidationError):
                kubernetes_validate.validate(pod, "1.34", strict=True)
    clusters(manifest)[0]["workerGroups"] = []
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(manifest, schema)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_manifests_do_what_they_say(path: Path) -> None:
    manifest = yaml.safe_load(path.read_text())
    (cluster,) = clusters(manifest)
    assert cluster["rayVersion"] == pins()["ray"]
    assert cluster["authOptions"]["mode"] == "token"
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    job = manifest["spec"].get("jobTemplate", manifest["spec"])
    if "entrypoint" in job:
        words = shlex.split(job["entrypoint"])
        assert words[0] == "raypipe"
        parse(tuple(words))
    if manifest["kind"] == "RayCronJob":
        assert job["activeDeadlineSeconds"] < 24 * 3600


def test_schedules_run_commands_that_are_right() -> None:
    service = configparser.ConfigParser(strict=False, interpolation=None)
    service.optionxform = str  # type: ignore[assignment,method-assign]
    service.read(DEPLOY / "schedule" / "raypipe-nightly.service")
    timer = configparser.ConfigParser(interpolation=None)
    timer.read(DEPLOY / "schedule" / "raypipe-nightly.timer")
    assert timer["Timer"]["Persistent"] == "true"
    crontab = (DEPLOY / "schedule" / "crontab").read_text()
    commands = [service["Service"]["ExecStart"], *re.findall(r"^[\d* ]+ (.*)$", crontab, re.M)]
    sent = [command.partition(" -- ")[2].partition(" >>")[0] for command in commands]
    sent = [
        command.replace("--config /etc/raypipe/extract.yaml", "") for command in sent if command
    ]
    assert len(sent) == 2
    for command in sent:
        assert parse(tuple(shlex.split(command))).given.name == "extract"
    with pytest.raises(UsageError):
        parse(("extract", "s3://bucket/photos", "--oot", "x"))


def test_the_image_has_the_versions_that_are_tested() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    assert f"ARG RAY={pins()['ray']}\n" in text
    copied = re.findall(r"^COPY (?:--\S+ )*(.+) \S+$", text, re.M)
    for name in " ".join(copied).split():
        assert (ROOT / name).exists()
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {f"!{name}" for name in " ".join(copied).split()} <= set(ignored)


def test_the_dashboard_asks_for_metrics_that_there_are() -> None:
    source = Path(metrics.__file__).read_text()
    kinds = dict(re.findall(r"= (Counter|Gauge)\(\"(raypipe_\w+)\"", source))
    names = {name for _, name in re.findall(r"= (Counter|Gauge)\(\"(raypipe_\w+)\"", source)}
    assert kinds
    dashboard = json.loads((DEPLOY / "grafana" / "raypipe.json").read_text())
    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for name in re.findall(r"ray_(raypipe_\w+?)(?:_total)?\{", target["expr"])
    }
    assert asked == names - {"raypipe_units"}
    places = [tuple(panel["gridPos"].values()) for panel in dashboard["panels"]]
    assert len(set(places)) == len(places)
