"""The tutorial of pictures in groups, step by step with its libraries, against the recipe."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from torchvision import models, transforms

import raypipe
from tests.conftest import Here
from tests.recipes.photographs import take
from tests.recipes.test_recipes import RECIPES

_COUNT = 60  # images


class FirstFullyConnected(torch.nn.Module):
    """The tutorial's extractor: VGG16 up to its first fully connected layer."""

    def __init__(self, network: models.VGG) -> None:
        super().__init__()
        self.features, self.pooling = network.features, network.avgpool
        self.flatten, self.first = torch.nn.Flatten(), network.classifier[0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.first(self.flatten(self.pooling(self.features(x))))


def extracted(network: models.VGG, paths: list[Path]) -> np.ndarray:
    """Return the tutorial's features, (n, 4096)."""
    steps = [transforms.CenterCrop(512), transforms.Resize(448), transforms.ToTensor()]
    transform = transforms.Compose([transforms.ToPILImage(), *steps])
    extractor = FirstFullyConnected(network.eval())
    found = []
    with torch.no_grad():
        for path in paths:
            image = transform(cv2.imread(str(path))).reshape(1, 3, 448, 448)
            found.append(extractor(image).numpy().reshape(-1))
    return np.array(found)


def table(path: Path) -> list[list[str]]:
    with path.open(newline="") as content:
        return list(csv.reader(content))


@pytest.mark.ci
@pytest.mark.usefixtures("ray_session")
def test_one_command_does_what_the_tutorial_does(tmp_path: Path, here: Here) -> None:
    names = [str(n) for n in np.random.default_rng(0).permutation(_COUNT)]
    files = [f"{name}.jpg" for name in names]
    source = take(tmp_path / "images", files, kinds=3, least=480)
    ids = tmp_path / "images.csv"
    lines = [f"{10 * n},{name},old" for n, name in enumerate(names)]
    ids.write_text("\n".join(["price,ImageID,label", *lines, ""]))
    torch.manual_seed(1)
    network = models.vgg16(weights=None)
    weights, out = tmp_path / "vgg16.pth", tmp_path / "out"
    torch.save(network.state_dict(), weights)
    recipe = str(RECIPES / "cluster-vgg16.yaml")
    told = here(
        *("run", recipe, "--source", str(source), "--out", str(out)),
        *("--set", f"cluster.join={ids}", "--set", f"extract.weights={weights}"),
        *("--set", "extract.actors=1", "--set", "extract.batch_size=1"),
    )
    assert told.returncode == 0, told.stderr

    some = slice(None, None, 3)  # the others go on with the recipe's features
    right = extracted(network, [source / file for file in files[some]])
    data = raypipe.open(out / "features").to_numpy()
    assert set(data.labels) == {None}
    place = {name: number for number, name in enumerate(data.ids)}
    found = data.features[[place[file] for file in files]]
    assert found.shape == (_COUNT, 4096)
    assert right.min() < 0  # before the ReLU
    assert (np.abs(found[some] - right) <= 1e-4 * np.abs(right).max(0)).all()
    found[some] = right

    labels = KMeans(n_clusters=5, random_state=42, n_init=10).fit(found).labels_
    wanted = [[*row[:2], str(label)] for row, label in zip(table(ids)[1:], labels, strict=True)]
    assert table(out / "clusters" / "joined.csv") == [["price", "ImageID", "label"], *wanted]
    assert f">5 clusters of {_COUNT} images" in (out / "report.html").read_text()
