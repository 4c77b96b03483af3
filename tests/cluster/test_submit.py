"""Jobs on a cluster with a dashboard and a token, submitted with Ray's command and with ours."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import raypipe
from raypipe.submission.upload import _paths
from tests.cluster.conftest import PLAIN, RAY, ROOT, TRUSTED, Head, raypipe_command, run
from tests.conftest import SHARED, Here, draw_folder, flags
from tests.support.signals import usual_signals

MOBILENET = [
    *("--backbone", f"{SHARED / 'mobilenet_v1.py'}:mobilenet_v1", "--layer", "pw12"),
    *("--weights", str(SHARED / "mobilenet_v1.safetensors"), "--size", "224"),
    *("--resize", "squash", "--normalize", "tf"),
]


def submit(head: Head, *arguments: str, **options: Any) -> Any:
    command = raypipe_command("submit", "--address", head.address, *arguments)
    return run(*command, **options)


@pytest.mark.long
@pytest.mark.shared
def test_flowers_as_jobs_of_a_checkout_are_as_on_one_machine(head: Head, tmp_path: Path) -> None:
    photos = str(SHARED / "flowers17")
    train = ["--grid", "C=0.001,0.01", "--json"]

    def job(*command: str) -> None:
        sent = [RAY, "job", "submit", "--address", head.address, "--working-dir", str(ROOT)]
        done = run(*sent, "--", "python", "-m", *command)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "succeeded" in done.stdout

    def here(*command: str) -> None:
        done = run(*raypipe_command(*command), env=PLAIN)
        assert done.returncode == 0, done.stderr

    stores, models = {}, {}
    for name, do in (("job", job), ("here", here)):
        stores[name], models[name] = str(tmp_path / name), tmp_path / f"{name}-model"
        words = ["raypipe.jobs.extract"] if name == "job" else ["extract"]
        do(*words, photos, "--out", stores[name], *MOBILENET)
        words = ["raypipe.jobs.train"] if name == "job" else ["train"]
        do(*words, stores[name], "--out", str(models[name]), *train)
    one, two = (raypipe.open(stores[name]).to_numpy() for name in ("job", "here"))
    np.testing.assert_array_equal(one.ids, two.ids)
    np.testing.assert_array_equal(one.features, two.features)
    scores = [json.loads((models[n] / "metrics.json").read_text()) for n in ("job", "here")]
    assert scores[0]["accuracy"] == scores[1]["accuracy"] > 0.9


def test_nobody_without_the_token_submits(head: Head, tmp_path: Path) -> None:
    done = run(RAY, "job", "submit", "--address", head.address, "--", "true", env=PLAIN)
    assert done.returncode != 0
    assert "401" in done.stderr + done.stdout or "oken" in done.stderr + done.stdout
    command = ["extract", "s3://bucket/photos", "--out", "s3://bucket/features"]
    sent = raypipe_command("submit", "--address", head.address, "--", *command)
    done = run(*sent, env=PLAIN)
    assert done.returncode == 2
    assert "wants its token: set RAY_AUTH_MODE=token" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_submit_sends_what_the_command_names_and_counts_what_is_done(
    head: Head, tmp_path: Path
) -> None:
    photos = draw_folder(tmp_path / "photos", 40)
    (photos / "circle" / "0000.png").write_text("not an image")
    (photos / "circle" / "0001.png").write_bytes(b"")
    (tmp_path / "nets.py").write_text((ROOT / "tests" / "support" / "networks.py").read_text())
    options = {"backbone": "nets.py:tiny", "weights": "random", "size": 32, "resize": "squash"}
    (tmp_path / "job.yaml").write_text(json.dumps(options))
    store = str(tmp_path / "store")
    command = ["extract", str(photos), "--out", store, "--config", "job.yaml", "--json"]
    done = submit(head, "--submission-id", "first", "--json", "--", *command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["submission_id"], told["status"], told["exit_code"]) == ("first", "SUCCEEDED", 0)
    summary = told["result"]
    assert (summary["rows"], summary["rejects"]) == (118, 2)
    assert len(raypipe.open(store)) == 118

    counts = _metrics(head.scrape(), "first")
    assert counts["ray_raypipe_images_total"] == {"": 118}
    rejects = {"not_an_image": 1, "empty": 1}
    assert counts["ray_raypipe_rejects_total"] == rejects == summary["rejects_by_reason"]
    assert counts["ray_raypipe_read_bytes_total"] == {"": summary["bytes_read"]}
    seconds = counts["ray_raypipe_work_seconds_total"]
    assert seconds == pytest.approx(summary["work_seconds"], abs=0.01)

    again = submit(head, "--submission-id", "first", "--", *command, cwd=tmp_path)
    assert again.returncode == 2
    assert "has had a job 'first'; give another, or --attach first" in again.stderr


def _metrics(text: str, job: str) -> dict[str, dict[str, float]]:
    """Return the values of a job's metrics, by the reason or step they are for."""
    found: dict[str, dict[str, float]] = {}
    for line in text.splitlines():
        if f'job="{job}"' in line:
            name, labels, value = re.match(r"(\w+)\{(.*)\} (\S+)$", line).groups()  # type: ignore[union-attr]
            kind = re.search(r'(?:reason|step)="(\w+)"', labels)
            found.setdefault(name, {})[kind.group(1) if kind else ""] = float(value)
    return found


def test_a_job_that_fails_gives_its_status(head: Head, tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    done = submit(head, "--", "extract", str(tmp_path / "nowhere"), "--out", store, *flags())
    assert done.returncode == 2
    assert "raypipe extract: SOURCE" in done.stderr
    assert "FAILED" in done.stderr


def test_an_interrupt_detaches_and_attach_follows_to_the_end(head: Head, tmp_path: Path) -> None:
    photos = draw_folder(tmp_path / "photos", 8)
    command = ["extract", str(photos), "--out", str(tmp_path / "store"), *flags(), "--json"]
    sent = raypipe_command("submit", "--address", head.address, "--submission-id", "long", "--")
    process = subprocess.Popen(
        [*sent, *command],
        env=TRUSTED,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=usual_signals,
    )
    assert process.stderr is not None
    assert "job long is with" in next(process.stderr)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=30)[1]
    assert process.returncode == 130
    assert "detached; the job goes on" in said
    assert f"raypipe submit --address {head.address} --attach long" in said
    assert f"ray job stop long --address {head.address}" in said
    attached = submit(head, "--attach", "long")
    assert attached.returncode == 0, attached.stderr
    assert json.loads(attached.stdout)["rows"] == 24


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "COMMAND: nothing to run; give it after --"),
        (["--", "extrct", "s3://b/p"], "COMMAND: Unknown command"),
        (["--", "extract", "s3://b/p"], "--out is required"),
        (["--", "extract", "s3://b/p", "--out", "s3://b/f", "--size", "1"], "--size must be"),
        (["--", "extract", "s3://b/p", "--out", "features"], "--out: 'features' would lie in"),
        (["--", "extract", "here", "--out", "s3://b/f"], "SOURCE: 'here' is a place of this"),
        (["--", "train", "here", "--out", "/m"], "STORE: 'here' is a place of this machine only"),
        (["--", "run", "nothing.yaml"], "RECIPE: cannot read 'nothing.yaml'"),
        (["--", "run", "r.yaml"], "--out: a job's own folder is removed"),
        (["--", "extract", "s3://b/p", "--out", "s3://b/f", "--address", "x"], "in front of --"),
        (["--working-dir", "big", "--", "layers", "resnet18"], "'big' holds more than 512 MiB"),
        (["--working-dir", "none", "--", "layers", "resnet18"], "there is no folder 'none'"),
        (["--runtime-env", "none", "--", "layers", "resnet18"], "--runtime-env: cannot read"),
        (["--", "layers", "resnet18"], "no Ray dashboard answers at http://127.0.0.1:9 "),
        (["--attach", "x", "--", "layers", "resnet18"], "--attach: follows a job that runs"),
        (
            ["--attach", "x", "--series", "nightly", "--detach"],
            "--attach: follows a job that was sent before; leave out --series, --detach",
        ),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_sent(
    arguments: list[str],
    expected: str,
    here: Here,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    (tmp_path / "r.yaml").write_text("steps: [{extract: {source: s3://b/p}}]")
    (tmp_path / "big").mkdir()
    with (tmp_path / "big" / "photos.tar").open("wb") as file:
        file.truncate(600 * 2**20)
    done = here("submit", "--address", "127.0.0.1:9", *arguments)
    assert done.returncode == 2, done.stderr
    assert expected in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_ignored_files_do_not_count(tmp_path: Path) -> None:
    with (tmp_path / "photos.tar").open("wb") as file:
        file.truncate(600 * 2**20)
    (tmp_path / ".rayignore").write_text("*.tar\n")
    assert [path.name for path in _paths(tmp_path)] == [".rayignore"]


def test_a_checkout_is_small_to_send() -> None:
    assert sum(path.stat().st_size for path in _paths(ROOT)) < 4 * 2**20


def test_a_wheel_has_all_that_runs(tmp_path: Path) -> None:
    build = [PLAIN["PATH"].split(":")[0] + "/python", "-m", "pip", "wheel", "--quiet", "--no-deps"]
    done = run(*build, "--no-build-isolation", "--wheel-dir", str(tmp_path), str(ROOT))
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = set(run("unzip", "-Z1", str(wheel)).stdout.split())
    ours = {str(path.relative_to(ROOT)) for path in (ROOT / "raypipe").rglob("*.py")}
    assert ours | {"raypipe/py.typed"} <= names
