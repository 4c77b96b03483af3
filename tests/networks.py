"""Small networks that tests use as backbones of their own."""

import time
from collections import OrderedDict

import torch
from torch import nn


def tiny():
    """Two blocks and a classifier; can be traced."""
    return nn.Sequential(
        OrderedDict(
            block1=nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU()),
            block2=nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU()),
            pool=nn.AdaptiveAvgPool2d(1),
            flat=nn.Flatten(),
            drop=nn.Dropout(0.5),
            fc=nn.Linear(16, 4),
        )
    )


class Branching(nn.Module):
    """Decides on values, which torch.fx cannot trace; fails behind its second block."""

    delay = 0.0

    def __init__(self):
        super().__init__()
        self.block1 = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU())
        self.block2 = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU())
        self.head = Explosive()

    def forward(self, x):
        time.sleep(self.delay)
        x = self.block1(x)
        if x.sum() > -1e30:
            x = self.block2(x)
        return self.head(x)


class Explosive(nn.Module):
    def forward(self, x):
        raise RuntimeError("computed behind the cut")


class Slow(Branching):
    delay = 0.4


def branching():
    return Branching()


def slow():
    return Slow()


class InPlace(nn.Module):
    """Works in place on what an earlier layer has returned; calls by keyword."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 2, 1)
        self.norm = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.last = nn.Conv2d(8, 4, 3)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = self.norm(input=self.conv(x))
        x = self.last(self.relu(x))
        return self.fc(input=x.mean((2, 3)))


class InPlaceBranching(InPlace):
    def forward(self, x):
        return super().forward(x if x.sum() > -1e30 else -x)


def in_place():
    return InPlace()


def in_place_branching():
    return InPlaceBranching()


class Touchy(nn.Module):
    """Adds and takes away what is too large for bfloat16 to remember the rest."""

    def forward(self, x):
        return x * 1e-2 + 1000.0 - 1000.0


def touchy():
    return nn.Sequential(OrderedDict(block1=nn.Conv2d(3, 4, 3), block2=Touchy()))


class Fragile(nn.Module):
    """Works on blank images, and fails on more than some real ones."""

    def __init__(self, most):
        super().__init__()
        self.most = most
        self.block2 = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        if (x.abs().sum((1, 2, 3)) > 0).sum() > self.most:
            raise RuntimeError("out of luck")
        return self.block2(x)


def fragile():
    return Fragile(0)


def fragile_later():
    return Fragile(6)


def broken():
    raise ValueError("no such thing")


def no_module():
    return torch.zeros(3)


def thousand():
    """Answers one of 1,000 classes: 200 for what has more red than blue in it, else 900."""
    net = nn.Sequential(
        OrderedDict(
            body=nn.Conv2d(3, 8, 1),
            avgpool=nn.AdaptiveAvgPool2d(1),
            flat=nn.Flatten(),
            fc=nn.Linear(8, 1000),
        )
    )
    with torch.no_grad():
        net.body.weight[:3], net.body.bias[:3] = torch.eye(3)[..., None, None], 0
        net.fc.weight.zero_(), net.fc.bias.zero_()
        net.fc.weight[200, :3] = torch.tensor([-1.0, 0, 1])  # blue comes first
        net.fc.weight[900, :3] = torch.tensor([1.0, 0, -1])
    return net
