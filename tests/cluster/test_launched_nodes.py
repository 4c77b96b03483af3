"""The nodes of cluster.yaml: what the cloud is asked for, and the commands that run on each."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKER = shutil.which("docker")
#: Minimum drivers of a major version of CUDA, of NVIDIA's table of minor version compatibility.
DRIVERS = {"12": "525", "13": "580"}
IMAGE = re.compile(r"^      ImageId: &image \S+$", re.M)
ACCOUNT = "123456789012"
#: Programs that a node has and this machine may not: each notes how it was called.
STUBS = {
    "docker": """
        case "$1" in
          exec) shift; while [ "${1#-}" != "$1" ]; do shift; done; shift; exec "$@" ;;
          inspect) case "$3" in *Env*) echo "[\\"HOME=$NODE_HOME\\"]" ;; esac ;;
          info) echo "map[nvidia:{nvidia-container-runtime}]" ;;
          run) for word; do
                 case "$word" in
                   "$MOUNTED"/*:*) test -e "${word%%:*}" || exit 1
                     mkdir -p "$(dirname "${word#*:}")"; ln -sfn "${word%%:*}" "${word#*:}" ;;
                 esac
               done ;;
        esac""",
    "nvidia-smi": '[ "$HAS_GPU" = 1 ]',
    **dict.fromkeys(["sudo", "chown", "pip", "ray"], "true"),
}


def dry_run() -> Any:
    spec = importlib.util.spec_from_file_location("dry_run", ROOT / "deploy/aws/dry_run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cluster(image: str | None = None) -> dict[str, Any]:
    """Return cluster.yaml as Ray completes it, with an image named as its user does."""
    from ray.autoscaler._private.util import prepare_config

    text = (ROOT / "cluster.yaml").read_text()
    if image is not None:
        text, count = IMAGE.subn(f"      ImageId: &image {image}", text)
        assert count == 1
    return dict(prepare_config(yaml.safe_load(text)))


def kinds() -> list[str]:
    return list(yaml.safe_load((ROOT / "cluster.yaml").read_text())["available_node_types"])


def roles(bucket: str) -> dict[str, Any]:
    """Return the resources of roles.yaml, with what they refer to filled in."""
    resources = yaml.safe_load((ROOT / "deploy/aws/roles.yaml").read_text())["Resources"]

    def filled(node: Any) -> Any:
        if isinstance(node, list):
            return [filled(one) for one in node]
        if not isinstance(node, dict):
            return node
        match node:
            case {"Fn::Sub": text}:
                return text.replace("${Bucket}", bucket).replace("${AWS::Partition}", "aws")
            case {"Fn::GetAtt": [name, "Arn"]}:
                return f"arn:aws:iam::{ACCOUNT}:role/{resources[name]['Properties']['RoleName']}"
            case {"Ref": name}:
                assert name in resources
                return name
        return {key: filled(value) for key, value in node.items()}

    return {name: filled(one) | {"Name": name} for name, one in resources.items()}


def may(found: dict[str, Any], profile: str, action: str, resource: str) -> bool:
    """Tell whether the role of an instance profile allows an action."""
    properties = {name: one["Properties"] for name, one in found.items()}
    (role,) = next(
        p["Roles"] for p in properties.values() if p.get("InstanceProfileName") == profile
    )
    own = [policy["PolicyDocument"] for policy in properties[role].get("Policies", [])]
    shared = [p for p in properties[role]["ManagedPolicyArns"] if p in properties]
    documents = [*own, *(properties[policy]["PolicyDocument"] for policy in shared)]
    return any(
        action in (s["Action"] if isinstance(s["Action"], list) else [s["Action"]])
        and fnmatchcase(resource, s["Resource"])
        for document in documents
        for s in document["Statement"]
    )


@pytest.fixture
def aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A stand-in for AWS, with the instance profiles of roles.yaml."""
    import boto3
    from moto import mock_aws

    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        iam = boto3.client("iam")
        for resource in roles("pictures").values():
            if name := resource["Properties"].get("InstanceProfileName"):
                iam.create_instance_profile(InstanceProfileName=name)
        yield boto3.client("ec2")


def started(config: dict[str, Any], ec2: Any) -> dict[str, Any]:
    """Start a node of each kind as the launcher does; return what the cloud says of each."""
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    resolved = AWSNodeProvider.bootstrap_config(config)
    provider = AWSNodeProvider(resolved["provider"], resolved["cluster_name"])
    found = {}
    for kind, options in resolved["available_node_types"].items():
        tags = {"ray-node-name": kind}
        (node,) = provider.create_node(options["node_config"], tags, 1)
        (reservation,) = ec2.describe_instances(InstanceIds=[node])["Reservations"]
        found[kind] = reservation["Instances"][0]
    return found


def test_the_launcher_asks_for_nodes_with_roles_and_the_image_that_is_named(aws: Any) -> None:
    image = aws.describe_images()["Images"][0]["ImageId"]
    nodes = started(cluster(image), aws)
    assert list(nodes) == kinds()
    for kind, node in nodes.items():
        profile = "raypipe-head" if kind == "head" else "raypipe-worker"
        assert node["IamInstanceProfile"]["Arn"].endswith(f":instance-profile/{profile}")
        assert node["ImageId"] == image
    assert {k for k, n in nodes.items() if n.get("InstanceLifecycle") == "spot"} == {
        "gpu_spot",
        "decode_spot",
    }


def test_an_image_that_nobody_named_is_not_replaced_by_an_old_one(aws: Any) -> None:
    """Ray's default has a driver of CUDA 11; what is no name of an image, the cloud refuses."""
    images = {node["ImageId"] for node in started(cluster(), aws).values()}
    assert images == {"NAME-YOUR-IMAGE"}


def test_each_node_may_read_and_write_the_bucket_and_no_other() -> None:
    found = roles("pictures")
    for profile in ("raypipe-head", "raypipe-worker"):
        assert may(found, profile, "s3:ListBucket", "arn:aws:s3:::pictures")
        for action in ("Get", "Put", "Delete"):
            assert may(found, profile, f"s3:{action}Object", "arn:aws:s3:::pictures/a/b.jpg")
            assert not may(found, profile, f"s3:{action}Object", "arn:aws:s3:::pictures2/b.jpg")
    given = f"arn:aws:iam::{ACCOUNT}:role/raypipe-worker"
    assert may(found, "raypipe-head", "iam:PassRole", given)
    assert not may(found, "raypipe-head", "iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/other")
    assert not may(found, "raypipe-worker", "iam:PassRole", given)
    managed = found["HeadRole"]["Properties"]["ManagedPolicyArns"]
    assert "arn:aws:iam::aws:policy/AmazonEC2FullAccess" in managed


def test_the_driver_is_that_of_the_pinned_torch() -> None:
    import torch

    cuda = torch.version.cuda
    if cuda is None:
        pytest.skip("this torch is one for CPUs")
    major = cuda.partition(".")[0]
    text = (ROOT / "cluster.yaml").read_text()
    assert f"CUDA {major} of the pinned torch, NVIDIA driver {DRIVERS[major]} or newer" in text


def docker_complaint(words: list[str]) -> str:
    """Return what Docker's own parser, or the rule of sizes, has against `docker run …`."""
    if DOCKER is not None:
        # Options are parsed before the daemon is asked, and nothing listens there.
        command = [DOCKER, "--host", "tcp://127.0.0.1:1", *words[1:]]
        said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
        return "" if "Cannot connect to the Docker daemon" in said else said
    sizes = [w.partition("=")[2] for w in words if w.startswith("--shm-size=")]
    good = re.compile(r"\d+(\.\d+)? ?([kmgtp]i?)?b?", re.I)
    return "".join(f"invalid size {size}" for size in sizes if not good.fullmatch(size))


def test_docker_takes_no_percentage() -> None:
    assert "40%" in docker_complaint(["docker", "run", "--shm-size=40%", "image"])
    assert not docker_complaint(["docker", "run", "--shm-size=10630044057.6b", "image"])


class Node:
    """A folder that stands for a node: its commands run in a shell, its programs are stubs."""

    def __init__(self, folder: Path, has_gpu: bool) -> None:
        self.home, self.mounted, self.log = folder / "home", folder / "mounted", folder / "log"
        self.home.mkdir()
        bin_ = folder / "bin"
        bin_.mkdir()
        for name, body in STUBS.items():
            noted = f'printf "%q " {name} "$@" >> "$LOG"; echo >> "$LOG"'
            (bin_ / name).write_text(f"#!/bin/bash\n{noted}\n{body}\n")
            (bin_ / name).chmod(0o755)
        self.environment = {
            "PATH": f"{bin_}:{os.defpath}",
            "LOG": str(self.log),
            "NODE_HOME": str(self.home),
            "MOUNTED": str(self.mounted),
            "HOME": str(self.home),
            "HAS_GPU": str(int(has_gpu)),
        }

    def run(self, command: str) -> str:
        command = command.replace("/tmp/ray_tmp_mount", str(self.mounted))
        command = command.replace("/home/ray", str(self.home))
        if command.startswith("rsync "):
            _, source, target = shlex.split(command)
            copy = shutil.copytree if Path(source).is_dir() else shutil.copyfile
            copy(source, target.rpartition(":")[2])
            return ""
        done = subprocess.run(
            ["bash", "-c", command],
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def calls(self, *words: str) -> list[list[str]]:
        """Return how a program was called."""
        lines = [shlex.split(line) for line in self.log.read_text().splitlines()]
        return [line for line in lines if tuple(line[: len(words)]) == words]


@pytest.mark.parametrize("kind", kinds())
def test_the_commands_of_each_node_run(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.scripts.scripts import start

    here = tmp_path / "here"
    wheel = "dist/raypipe_features-0.1.0-py3-none-any.whl"
    for name in (wheel, ".ray/auth_token", "constraints.txt"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text("x")
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(here))
    node, config = Node(tmp_path, kind.startswith("gpu")), cluster()
    dry_run().node_commands(config, kind, node.run)
    (ran,) = node.calls("docker", "run")
    assert docker_complaint(ran) == ""
    assert any(word.startswith("--shm-size=") for word in ran)
    assert ("--gpus" in ran) == kind.startswith("gpu") == ("--runtime=nvidia" in ran)
    assert Path(node.calls("pip", "install")[0][-1]).is_file()
    assert (node.home / ".ray/auth_token").stat().st_mode & 0o777 == 0o600
    assert node.calls("ray", "stop")
    (begun,) = node.calls("ray", "start")
    given = start.make_context("ray start", begun[2:]).params  # Ray's own parser
    assert given["head"] == (kind == "head")
    assert given["address"] == (None if kind == "head" else "HEAD:6379")
    assert given["object_spilling_directory"] == "/mnt/spill"


def test_a_dry_run_prints_the_commands_of_each_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(SystemExit, match="no '~/.ray/auth_token' is here"):
        dry_run().main(str(ROOT / "cluster.yaml"))
    (tmp_path / ".ray").mkdir()
    for name in (".ray/auth_token", "dist", "constraints.txt"):
        (tmp_path / name).touch()
    with pytest.raises(SystemExit, match="ImageId: .*'NAME-YOUR-IMAGE'"):
        dry_run().main(str(ROOT / "cluster.yaml"))
    text = (ROOT / "cluster.yaml").read_text()
    Path("cluster.yaml").write_text(IMAGE.sub("      ImageId: &image ami-0123456789abcdef0", text))
    capsys.readouterr()
    dry_run().main("cluster.yaml")
    printed = capsys.readouterr().out
    assert re.findall(r"^== (\w+)$", printed, re.M) == kinds()
    assert printed.count("docker run ") == printed.count("ray start --") == len(kinds())
