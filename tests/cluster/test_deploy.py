"""What is in deploy/, against the schemas of what reads it."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from raypipe.errors import RaypipeError, UsageError
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
    if manifest["kind"] != "RayCluster":
        assert job["shutdownAfterJobFinishes"]
        assert job["ttlSecondsAfterFinished"] <= 60  # a head that waits is paid for
    if manifest["kind"] == "RayCronJob":
        # The deadline starts anew with each try, and a cluster takes minutes to come and go.
        tries = 1 + job["backoffLimit"]
        assert tries * (job["activeDeadlineSeconds"] + 600) < 24 * 3600


def bytes_of(quantity: str) -> int:
    assert quantity.endswith("Gi")
    return int(quantity[:-2]) * 2**30


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_the_object_store_of_a_worker_lies_in_its_memory(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a /dev/shm that is smaller than Ray's share of the memory, Ray takes the disk instead."""
    from ray._common import utils as common
    from ray._private import services, utils

    (cluster,) = clusters(yaml.safe_load(path.read_text()))
    for group in cluster["workerGroupSpecs"]:
        spec = group["template"]["spec"]
        memory = bytes_of(spec["containers"][0]["resources"]["limits"]["memory"])
        mounts = spec["containers"][0].get("volumeMounts", [])
        mounted = [mount["name"] for mount in mounts if mount["mountPath"] == "/dev/shm"]
        sizes = [
            v["emptyDir"]["sizeLimit"] for v in spec.get("volumes", []) if v["name"] in mounted
        ]
        shared = bytes_of(sizes[0]) if sizes else memory  # KubeRay mounts one of all the memory
        monkeypatch.setattr(utils, "get_shared_memory_bytes", lambda shared=shared: shared)
        monkeypatch.setattr(common, "get_system_memory", lambda memory=memory: memory)
        store = utils.resolve_object_store_memory(memory)
        assert services.determine_plasma_store_config(store, "/tmp")[0] == "/dev/shm"


def commands() -> dict[str, str]:
    """Return the commands that the files send to clusters, by file."""
    files = [ROOT / "cluster.yaml", *MANIFESTS, *(DEPLOY / "schedule").iterdir()]
    found = {}
    for path in files:
        text = re.sub(r"\\\n# *|\n {4,}(?=--)", " ", path.read_text())
        for number, command in enumerate(re.findall(r"\b((?:extract|predict) s3://[^\n>]*)", text)):
            found[f"{path.name}:{number}"] = command
    return found


def test_every_cluster_that_grows_is_asked_for_a_node() -> None:
    """Where each kind of worker starts at 0, a run without --wait-for ends with wrong use."""
    kinds = yaml.safe_load((ROOT / "cluster.yaml").read_text())["available_node_types"]
    assert all(kind.get("min_workers", 0) == 0 for kind in kinds.values())
    for path in MANIFESTS:
        (cluster,) = clusters(yaml.safe_load(path.read_text()))
        assert all(group["minReplicas"] == 0 for group in cluster["workerGroupSpecs"])
    found = commands()
    assert {name.partition(":")[0] for name in found} == {
        "cluster.yaml",
        "crontab",
        "raypipe-nightly.service",
        *(path.name for path in MANIFESTS),
    }
    for name, command in found.items():
        words = tuple(shlex.split(command.replace("--config /etc/raypipe/extract.yaml", "")))
        config: Any = parse(words).given.config
        assert config.wait_for == "gpu", name
        assert str(config.actors) == "1:16", name


def test_schedulers_try_again_what_may_mend_and_nothing_else() -> None:
    text = (DEPLOY / "schedule" / "raypipe-nightly.service").read_text()
    assert f"RestartPreventExitStatus={UsageError('').exit_code}\n" in text
    assert RaypipeError("").exit_code != UsageError("").exit_code
    assert "ExecStartPost=" not in text  # RestartPreventExitStatus leaves its status out
    tries = int(re.search(r"^StartLimitBurst=(\d+)$", text, re.M)[1])
    hours = int(re.search(r"^StartLimitIntervalSec=(\d+)h$", text, re.M)[1])
    assert "RestartSec=15min\n" in text
    assert tries / 4 < hours < 24  # they end, and the next night is another one
    crontab = (DEPLOY / "schedule" / "crontab").read_text()
    for scheduled in (text, crontab):
        assert "raypipe submit --series nightly " in scheduled


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    for path in (DEPLOY / "schedule").glob("raypipe-nightly.*"):
        text = path.read_text().replace("/opt/raypipe/bin/raypipe", "/bin/true")
        (tmp_path / path.name).write_text(text)

    def verify() -> str:
        units = map(str, tmp_path.glob("raypipe-nightly.*"))
        done = subprocess.run(
            ["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False
        )
        return "\n".join(line for line in done.stderr.splitlines() if "raypipe-nightly" in line)

    assert verify() == ""
    with (tmp_path / "raypipe-nightly.service").open("a") as unit:
        unit.write("RestartPrevent=2\n")
    assert "RestartPrevent" in verify()


def test_schedules_run_commands_that_are_right() -> None:
    service = (DEPLOY / "schedule" / "raypipe-nightly.service").read_text()
    timer = configparser.ConfigParser(interpolation=None)
    timer.read(DEPLOY / "schedule" / "raypipe-nightly.timer")
    assert timer["Timer"]["Persistent"] == "true"
    crontab = (DEPLOY / "schedule" / "crontab").read_text()
    commands = [
        *re.findall(r"^ExecStart=(.*)$", service, re.M),
        *re.findall(r"^[\d* ]+ (.*)$", crontab, re.M),
    ]
    sent = [command.partition(" -- ")[2].partition(" >")[0] for command in commands]
    # As jobs, each of them: the machine that sends them has no rights on the bucket.
    names = [
        parse(
            tuple(shlex.split(command.replace("--config /etc/raypipe/extract.yaml", "")))
        ).given.name
        for command in sent
    ]
    assert names == ["extract", "compact", "expire"] * 2
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
