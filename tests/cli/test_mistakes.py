"""What users get wrong most: one line each, which says what is allowed, received and to be done."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import raypipe
from raypipe.errors import UsageError
from raypipe.storage import FolderStorage
from tests.support import mistakes_runner
from tests.support.stores import items_of, make_spec, make_store

IMAGES = [f"{label}/{n}.jpg" for label in ("cat", "dog") for n in range(8)]
FILES = {
    "typo.yaml": "sorce: photos\nout: s\n",
    "syntax.yaml": "source: [photos\nout: s\n",
    "list.yaml": "- a\n- b\n",
    "type.yaml": "source: photos\nout: s\nsize: abc\n",
    "mapping.yaml": "source: {a: 1}\nout: s\n",
    "labels.csv": "a,b,c\n1,2,3\n",
    "text.txt": "hello",
    "other.yaml": "steps:\n- extrct: {source: photos, out: s}\n",
    "good.yaml": "steps:\n- extract: {source: photos}\n",
    "number.yaml": "steps: 3\n",
    "option.yaml": "steps:\n- extract: {source: photos, outt: s}\n",
}

#: Commands, in a folder of `workplace`, and what is said. Neither torch nor Ray is imported.
MISTAKES = [
    # the command, and where its words go
    ("extrct photos --out s", 'Unknown command "extrct". Did you mean "extract"'),
    ("photos", 'Unknown command "photos".*Available commands: extract'),
    ("extract photos --out s --bakbone resnet18", "--bakbone. Did you mean --backbone"),
    ("extract photos --out s --partition-size 9", r"Unknown option: --partition-size\. \(see"),
    ("extract photos --out s --batch 9", "Unknown option: --batch. Did you mean --batch-size"),
    ("extract photos --output s", "Unknown option: --output. Did you mean --out"),
    ("extract photos", "--out is required"),
    ("extract --out s", "SOURCE is required"),
    ("extract photos s", "unexpected 's': extract takes SOURCE.*give --out s$"),
    ("extract photos s --out t", "unexpected 's': .*several images a folder or --glob"),
    ("predict model photos dogs --out p", "unexpected 'dogs': predict takes MODEL, SOURCE"),
    ("extract photos --out s --dry-run yes", "unexpected 'yes'.*--dry-run takes no value"),
    ("extract photos --out s --layer", "--layer requires an argument"),
    ("submit", "COMMAND: nothing to run; give it after --"),
    ("submit -- extrct photos", 'COMMAND: Unknown command "extrct"'),
    # values
    ("extract photos --out s --batch-size -4", "auto or a whole number ≥ 1 and ≤ 65536; got '-4'"),
    (
        "extract photos --out s --batch-size many",
        "auto or a whole number ≥ 1 and ≤ 65536; got 'many'",
    ),
    ("extract photos --out s --size 0", "--size must be a side of 8 to 65535 pixels.*got"),
    ("extract photos --out s --pool mean", "avg, max, .*got 'mean'; did you mean max"),
    ("extract photos --out s --dtype float64", "float32 or float16; got 'float64'"),
    ("extract photos --out s --label fold", "--label must be auto, folder, .*got 'fold'"),
    ("extract photos --out s --actors 0", "--actors must be auto, N or MIN:MAX"),
    ("extract photos --out s --max-rejects 120%", "--max-rejects must be .*got '120%'"),
    ("extract photos --out s --address 10.0.0.1:99999", "--address must be .*from 1 to 65535"),
    ("extract photos --out s --mean 1,2", "--mean must be three numbers"),
    ("extract photos --out s --split hash:0.5,0.6", "shares that add up to 1"),
    ("extract photos --out s --augment 2 --rotate 400", "--rotate must be .* ≤ 180; got '400'"),
    ("train features --out m --test-size 1.5", "--test-size must be a number > 0 and < 1"),
    ("train features --out m --cv 1", "--cv must be a whole number ≥ 2; got '1'"),
    ("train features --out m --seed 1.5", "--seed must be a whole number"),
    ("train features --out m --head svn", "logistic, svm, .*got 'svn'; did you mean svm"),
    ("train features --out m --grid Q=1,2", "NAME one of C for --head logistic; got 'Q=1,2'"),
    ("cluster features --out g --k 9:2", "--k must be a number from 1, or a range"),
    ("cluster features --out g --k 500", "--k: at most the number of images, 16; got 500"),
    ("predict model photos --threshold 2", "--threshold must be a number > 0 and ≤ 1"),
    ("similar features cat/0.jpg --k 3.5", "--k must be a whole number ≥ 1; got '3.5'"),
    # the environment and files of options
    ("RAYPIPE_SIZE=abc extract photos --out s", "RAYPIPE_SIZE must be a side of 8"),
    ("RAYPIPE_DRY_RUN=maybe extract photos --out s", "RAYPIPE_DRY_RUN must be true or false"),
    ("extract photos --out s --config typo.yaml", "unknown option 'sorce'; did you mean source"),
    ("extract photos --out s --config syntax.yaml", "as YAML: line 2, column 4: expected"),
    ("extract photos --out s --config list.yaml", "must hold `option: value` lines"),
    ("extract photos --out s --config no.yaml", "cannot read 'no.yaml': No such file"),
    ("extract --config type.yaml", "--config type.yaml: size must be a side"),
    ("extract --config mapping.yaml", "--config mapping.yaml: source must be text"),
    ("run other.yaml", "must be one of .*got 'extrct'; did you mean extract"),
    ("run number.yaml", "must have `steps:`, a list of `job: options`"),
    ("run option.yaml", "step 1 .extract. has no option 'outt'; did you mean out"),
    ("run photos", "RECIPE: cannot read .*Is a directory"),
    # what is not there, or is something else
    ("extract nowhere --out s", "SOURCE: no file or folder at .*nowhere"),
    ("extract empty --out s", "SOURCE: no images in .*empty"),
    ("extract photos --out s --glob *.tiff", "no images in .* match .*tiff"),
    ("extract features --out s", "SOURCE: .*features' is a store.*; give images"),
    ("extract model --out s", "SOURCE: .*model' is a model, written by `train`; give images"),
    ("extract http://x/y --out s", "SOURCE: expected a path, or file://, s3:// or gs://"),
    ("extract s3://k:s@b/photos --out s", "SOURCE: a URI must not hold credentials"),
    ("extract photos --out photos", "--out: .*photos lies inside the source"),
    (
        "extract photos --out features/data",
        r"\S*data lies inside \S*features, which is a store",
    ),
    ("extract photos --out features/snapshots/a/b", "lies inside .*features, which is a store"),
    ("extract photos --out model/features", "lies inside .*model, which is a model or clusters"),
    ("train features --out features/data/model", "lies inside .*features, which is a store"),
    ("train features --out features/model", "lies inside .*features, which is a store"),
    ("cluster features --k 2 --out features/data", "lies inside .*features, which is a store"),
    ("predict model photos --out features/data/p", "lies inside .*features, which is a store"),
    ("predict model photos --out features/data/p.csv", "lies inside .*, which is a store"),
    ("export features --to npy --out features/data/f.npy", "lies inside .*, which is a store"),
    ("report features --out features/data/r.html", "lies inside .*, which is a store"),
    ("dedupe features --out features/data/d.csv", "lies inside .*, which is a store"),
    ("similar features cat/0.jpg --out features/data/s.png", "lies inside .*, which is a store"),
    ("pack photos --out features/data/shards", "lies inside .*, which is a store"),
    ("doctor photos --out features/data", "lies inside .*, which is a store"),
    ("run good.yaml --out features/data", "lies inside .*, which is a store"),
    ("predict model photos --out /proc/p.csv", "--out: cannot write to '/proc': No such file"),
    ("export features --to npy --out /proc/f.npy", "--out: cannot write to '/proc'"),
    ("report features --out /proc/r.html", "--out: cannot write to '/proc'"),
    ("dedupe features --out /proc/d.csv", "--out: cannot write to '/proc'"),
    ("similar features cat/0.jpg --out /proc/s.png", "--out: cannot write to '/proc'"),
    ("extract photos --out model", "--out: .*model holds a model"),
    ("extract photos --out text.txt", "--out: .*text.txt' is a file; give a folder"),
    ("extract photos --out ftp://x/y", "--out: expected a path, or file://, s3:// or gs://"),
    ("extract photos --out s --label file:no.csv", "--label file: cannot read .*no.csv"),
    ("extract photos --out s --label column:species", "no column 'species' in the folder"),
    ("extract photos --out s --backbone no.py:net", "--backbone: no file at .*no.py"),
    ("extract photos --out s --weights no.pth", "--weights: no file at .*no.pth"),
    ("extract photos --out s --mean 0.5,0.5,0.5", "--mean and --std go together"),
    ("train photos --out m", "STORE: no store at .*a folder of other files.*raypipe extract"),
    ("train model --out m", "STORE: no store at .*it is a model, written by `train`"),
    ("train features --out m --layer fc", "--layer: no 'fc' in the store; it has features"),
    ("train features --out m --split store", "--split store: .*it has none; give --split strat"),
    ("train features --out m --snapshot 9", "--snapshot: no snapshot 9; there are: 1"),
    ("train features --out m --hidden 3", "--hidden goes with --head mlp; got --head logistic"),
    ("predict features photos", "MODEL: no model at .*it is a store"),
    ("predict model nowhere.jpg", "SOURCE: no file or folder at .*nowhere.jpg"),
    ("predict model model", "SOURCE: .*model' is a model"),
    ("predict model photos --out p.txt", "--out must end in .csv or .parquet, or be a folder"),
    ("predict model photos --top-k 99", "--top-k: the model has 2 classes; got 99"),
    ("predict model photos --probabilities", "--probabilities goes with a folder as --out"),
    ("predict model features --glob *.jpg", "--glob goes with images; SOURCE is a store"),
    ("similar features no.jpg --out x.txt", "--out must end in .png; got 'x.txt'"),
    ("similar features no.jpg", "IMAGE: .*neither the id of an image in .* nor one that can be"),
    ("train features --out m --exclude no.csv", "--exclude: cannot read .*no.csv"),
    ("export features --to npy --out f.npy --exclude labels.csv", "needs a column 'id'"),
    ("similar model x.jpg", "STORE: no store at .*it is a model"),
    ("dedupe photos", "STORE: no store at"),
    ("dedupe features --out d.txt", "--out must end in .csv or .png; got 'd.txt'"),
    ("report photos", "RUN: nothing to report on at 'photos' .it is a folder of other files"),
    ("inspect text.txt", "STORE: no store at .*it is a file"),
    ("export features --to hdf5 --out f.csv", "ending in .h5 or .hdf5 goes with --to hdf5"),
    ("export features --to csv --out no/f.csv", "--out: no folder .*no'; make it"),
    ("pin features a/b", "NAME: expected letters, digits"),
    ("doctor nowhere", "SOURCE: no file or folder at .*nowhere"),
]

#: These take torch: what a network has is known by itself alone.
OF_NETWORKS = [
    ("demo --out features/data", "lies inside .*, which is a store"),
    ("extract photos --out s --backbone resnet5O", "unknown backbone 'resnet5O'.*mean resnet50"),
    ("layers vgg", "unknown backbone 'vgg'.*did you mean vgg19"),
    (
        "extract photos --out s --backbone resnet18 --weights IMAGENET1K_V9",
        "has IMAGENET1K_V1, DEFAULT, random, or give a file; got 'IMAGENET1K_V9'",
    ),
    (
        "extract photos --out s --backbone resnet18 --weights random --layer layr3",
        "no node 'layr3' in this network; did you mean layer3.*`raypipe layers resnet18` lists",
    ),
    (
        "extract photos --out s --backbone resnet18 --weights random --layer nosuch",
        "no node 'nosuch' in this network; its last ones are .*, fc; `raypipe layers resnet18`",
    ),
]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos, a store, a model, and files that are not as they should be."""
    folder = tmp_path_factory.mktemp("mistakes")
    for name in ("photos", "empty"):
        (folder / name).mkdir()
    Image.new("RGB", (32, 32)).save(folder / "photos" / "1.jpg")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    make_store(folder / "features", [items_of(IMAGES)], make_spec())
    raypipe.train(str(folder / "features"), out=str(folder / "model"), head="knn", cv=2)
    return folder


def words(command: str) -> tuple[dict[str, str], list[str]]:
    """Return the variables in front of a command, and its words."""
    every = command.split()
    given = [tuple(word.split("=", 1)) for word in every if word.startswith("RAYPIPE_")]
    return dict(given), every[len(given) :]


@pytest.fixture(scope="module")
def told(workplace: Path) -> dict[str, tuple[int, str, str]]:
    """Status, result and messages of each command, by one process for all of them."""
    done = subprocess.run(
        [sys.executable, "-m", mistakes_runner.__name__],
        input=json.dumps([words(command) for command, _ in MISTAKES]),
        capture_output=True,
        text=True,
        cwd=workplace,
        env={"PYTHONPATH": str(Path(raypipe.__file__).parents[1]), "PATH": "/usr/bin:/bin"},
        check=True,
    )
    found = json.loads(done.stdout)
    return {command: tuple(one) for (command, _), one in zip(MISTAKES, found, strict=True)}


def check(command: str, expected: str, found: tuple[int, str, str]) -> None:
    status, out, said = found
    assert (status, out) == (2, ""), said
    lines = said.splitlines()
    assert len(lines) == 1, said
    name = words(command)[1][0]
    assert re.match(rf"raypipe {name}: .*{expected}", lines[0]), lines[0]
    assert len(lines[0]) < 500


@pytest.mark.parametrize(("command", "expected"), MISTAKES)
def test_a_mistake_is_one_line(
    command: str, expected: str, told: dict[str, tuple[int, str, str]]
) -> None:
    check(command, expected, told[command])


@pytest.mark.parametrize(("command", "expected"), OF_NETWORKS)
def test_a_mistake_about_a_network_is_one_line(
    command: str, expected: str, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workplace)
    status, out, said = mistakes_runner.run(*words(command))
    check(command, expected, (status, out, said))


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: raypipe.extract("photos", out="s", bakbone=3), "bakbone.*did you mean"),
        (lambda: raypipe.extract("photos"), r"extract\(\) needs 'out': "),
        (lambda: raypipe.extract("nowhere", out="s"), "no file or folder at"),
        (lambda: raypipe.extract("photos", out="s", size="big"), "size.*must be a side of 8"),
        (lambda: raypipe.train("photos", out="m"), "no store at .*a folder of other files"),
        (lambda: raypipe.train("features", out="m", head="svn"), "'svn'; did you mean svm"),
        (lambda: raypipe.cluster("features", out="g", k=0), "must be a number from 1"),
        (lambda: raypipe.predict("features", "photos"), "no model at .*it is a store"),
        (lambda: raypipe.similar("features", "no.jpg", k=-1), "whole number ≥ 1; got -1"),
        (lambda: raypipe.report("photos"), "nothing to report on at"),
        (lambda: raypipe.layers("resnet5O"), "did you mean resnet50"),
        (lambda: raypipe.load_model("features"), "no model at .*it is a store"),
    ],
)
def test_a_mistake_in_python_is_one_line(
    call: object, expected: str, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workplace)
    with pytest.raises(UsageError, match=expected) as found:
        call()  # type: ignore[operator]
    assert "\n" not in str(found.value)


def test_a_place_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for in a way that also holds for root, who may write everywhere."""
    from raypipe.flow.named import check_place

    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(UsageError, match="cannot write to .*no permission; give another folder"):
        check_place(FolderStorage(tmp_path / "s"))
