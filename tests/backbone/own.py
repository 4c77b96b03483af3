"""Networks of one's own that are easy to get wrong."""

from collections import OrderedDict

import torch
from torch import nn


class Statements(nn.Module):
    """Works in place in statements of their own; 24 values enter `fc`."""

    def __init__(self, kind):
        super().__init__()
        torch.manual_seed(1)
        self.kind = kind
        self.a = nn.Conv2d(3, 16, 5, 4)
        self.b = nn.Conv2d(16, 24, 3, 2)
        self.fc = nn.Linear(24, 4)

    def forward(self, x):
        y = self.a(x)
        if self.kind == "clamp":
            y.clamp_(min=0)
        if self.kind == "mul":
            y.mul_(2)
            y.add_(1)
        if self.kind == "view":
            y.flatten(1)[:, ::2].mul_(3)
        if self.kind == "relu":
            nn.functional.relu(y, inplace=True)
        if self.kind == "item":
            y[:, :8] = 0
        z = self.b(y).mean((2, 3))
        return self.fc(z.view(z.size(0), -1))


def clamp():
    return Statements("clamp")


def mul():
    return Statements("mul")


def view():
    return Statements("view")


def relu():
    return Statements("relu")


def item():
    return Statements("item")


class OnItsInput(nn.Module):
    """Normalises what it is given in place."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.conv = nn.Conv2d(3, 8, 3, 2)
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        if self.kind == "method":
            x.mul_(2).sub_(1)
        elif self.kind == "operator":
            x -= 0.5
        elif self.kind == "view":
            x.flatten(1)[:, ::2] *= 2
        return self.fc(self.conv(x).mean((2, 3)))


def input_method():
    return OnItsInput("method")


def input_operator():
    return OnItsInput("operator")


def input_view():
    return OnItsInput("view")


class TwoInputs(nn.Module):
    """Wants a text, too."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 2)

    def forward(self, x, text):
        return self.conv(x).mean((2, 3)) + text


def two_inputs():
    return TwoInputs()


class WrongCall(nn.Module):
    """Calls an operator with what it does not take: nothing that another signature would mend."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 2)

    def forward(self, x):
        return nn.functional.conv2d(x, "weight")


def wrong_call():
    return WrongCall()


class Scores(nn.Module):
    """Returns one number per image, not in a row of its own."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 3, 2)

    def forward(self, x):
        return self.conv(x).mean((1, 2, 3))


def scores():
    return Scores()


class Plain(nn.Module):
    """Uses tensors that are neither parameters nor buffers, and sizes."""

    def __init__(self):
        super().__init__()
        self.index = torch.arange(8)[None]
        self.conv = nn.Conv2d(3, 8, 3, 2)
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        x = self.conv(x).mean((2, 3))
        x = x[:, self.index.view(-1).flip(0)]
        return self.fc(x.view(x.size(0), -1))


def plain():
    return Plain()


class Versioned(nn.Module):
    """Looks at the version that weights were saved with, and cannot be traced by torch.fx."""

    _version = 2

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 2)
        self.fc = nn.Linear(8, 4)

    def _load_from_state_dict(self, state, prefix, metadata, *rest):
        if metadata.get("version") != 2:
            raise ValueError("version should be 2")
        super()._load_from_state_dict(state, prefix, metadata, *rest)

    def forward(self, x):
        x = self.conv(x).mean((2, 3))
        return self.fc(x if x.sum() > 0 else x + 0)


def versioned():
    return Versioned()


class Windows(nn.Module):
    """Has a buffer of five axes, as the masks of shifted windows are."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 2)
        self.register_buffer("mask", torch.ones(1, 2, 4, 1, 1), persistent=False)
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        x = self.conv(x)
        x = x.reshape(x.shape[0], 2, 4, *x.shape[2:]) * self.mask
        return self.fc(x.flatten(1, 2).mean((2, 3)))


def windows():
    return Windows()


class Repeated(nn.Module):
    """Calls one block twice; with `branching`, in a way that torch.fx cannot trace."""

    def __init__(self, branching):
        super().__init__()
        torch.manual_seed(2)
        self.branching = branching
        self.block = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Tanh())
        self.fc = nn.Linear(3, 4)

    def forward(self, x):
        if self.branching and x.sum() < -1e30:
            x = -x
        return self.fc(self.block(self.block(x)).mean((2, 3)))


def repeated():
    return Repeated(False)


def repeated_branching():
    return Repeated(True)


class Encoder(nn.Module):
    """Has layers within a module of torch's own."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 8, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.enc = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        return self.fc(self.enc(self.conv(x).flatten(2).transpose(1, 2)).mean(1))


def encoder():
    return Encoder()


class Heads(nn.Module):
    """Its output comes from two fully connected layers."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 2)
        self.one, self.other = nn.Linear(8, 4), nn.Linear(8, 4)

    def forward(self, x):
        x = self.conv(x).mean((2, 3))
        return (self.one(x) + self.other(x)) / 2


def heads():
    return Heads()


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 2)
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        x = self.conv(x).mean((2, 3))
        return self.fc(nn.functional.dropout(x, 0.5, training=True))


def noisy():
    return Noisy()


class Company(nn.Module):
    """Its batch norm has no running statistics."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 2)
        self.norm = nn.BatchNorm2d(8, track_running_stats=False)
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        return self.fc(self.norm(self.conv(x)).relu().mean((2, 3)))


def company():
    return Company()


def headless_vit():
    from torchvision.models import VisionTransformer

    torch.manual_seed(0)
    model = VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32
    )
    model.heads = nn.Sequential()
    return model


def small_vit():
    from torchvision.models import VisionTransformer

    torch.manual_seed(0)
    return VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32
    )


class Infinite(nn.Module):
    """The brighter an image, the larger its feature: white ones do not fit float16."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        with torch.no_grad():
            self.conv.weight.fill_(1)
            self.conv.bias.zero_()

    def forward(self, x):
        return self.conv(x).mean((2, 3)) ** 2 * 10_000


def infinite():
    return Infinite()


class Grid(nn.Module):
    """A vision transformer for images of 48×32 in patches of 8, with a class token."""

    num_prefix_tokens = 1

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.patches = nn.Conv2d(3, 16, 8, 8)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.places = nn.Parameter(torch.randn(1, 25, 16))
        self.block = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.places
        return self.head(self.norm(self.block(x))[:, 0])


def grid():
    return Grid()


def numbered():
    """Modules whose names end in numbers."""
    parts = OrderedDict(conv_1=nn.Conv2d(3, 4, 1), conv_2=nn.Conv2d(4, 5, 1), flat=nn.Flatten())
    return nn.Sequential(parts)


class Head(nn.Module):
    """A convolution and a fully connected layer, with something of its own in between.

    With `branching`, torch.fx cannot trace it.
    """

    def __init__(self, branching=False):
        super().__init__()
        self.branching = branching
        self.conv = nn.Conv2d(3, 8, 3, 2)
        self.fc = nn.Linear(8, 8)

    def forward(self, x):
        if self.branching and x.sum() < -1e30:
            x = -x
        return self.head(self.conv(x).mean((2, 3)))

    def head(self, x):
        return self.fc(x)


class Twice(Head):
    """Its output comes from the second call of a layer."""

    def head(self, x):
        return self.fc(torch.tanh(self.fc(x)))


class Named(Head):
    """Calls its layer by the name of the argument."""

    def head(self, x):
        return self.fc(input=x)


class Counting(Head):
    """Each run changes what the next one gives."""

    def __init__(self, branching=False):
        super().__init__(branching)
        self.register_buffer("runs", torch.zeros(()))

    def head(self, x):
        self.runs += 1
        return self.fc(x + self.runs)


class Drawn(Head):
    """Draws numbers that no weights hold."""

    def __init__(self, branching=False, kind="attribute"):
        super().__init__(branching)
        drawn = torch.randn(8)
        if kind == "attribute":
            self.drawn = drawn
        elif kind == "list":
            self.drawn = [drawn]
        else:
            self.register_buffer("drawn", drawn, persistent=False)

    def head(self, x):
        return self.fc(x * (self.drawn[0] if isinstance(self.drawn, list) else self.drawn))


class Derived(Head):
    """Has attributes that are made of its weights."""

    def __init__(self, branching=False):
        super().__init__(branching)
        nn.utils.spectral_norm(self.conv)
        self.again = self.fc.weight
        self.fixed = torch.randn(8, generator=torch.Generator().manual_seed(1))

    def head(self, x):
        return self.fc(x * self.fixed)


def twice():
    return Twice()


def twice_branching():
    return Twice(True)


def named():
    return Named()


def named_branching():
    return Named(True)


def counting():
    return Counting()


def counting_branching():
    return Counting(True)


def drawn_attribute():
    return Drawn()


def drawn_list():
    return Drawn(True, "list")


def drawn_buffer():
    return Drawn(True, "buffer")


def derived():
    return Derived()


def derived_branching():
    return Derived(True)


def scripted():
    return torch.jit.trace(Head().eval(), torch.zeros(1, 3, 16, 16))


def exported():
    return torch.export.export(Head().eval(), (torch.zeros(1, 3, 16, 16),)).module()


def quantised():
    return torch.ao.quantization.quantize_dynamic(Head(), {nn.Linear}, dtype=torch.qint8)


def lazy():
    model = Head()
    model.fc = nn.LazyLinear(8)
    return model


class Forgetful(Head):
    """Does not return itself."""

    def eval(self):
        super().eval()


def forgetful():
    return Forgetful()


def without_values():
    with torch.device("meta"):
        return Head()


def compiled():
    return torch.compile(Head())


def spectrum():
    class Spectrum(Head):
        def head(self, x):
            return self.fc(torch.fft.fft(x).real)

    return Spectrum()
