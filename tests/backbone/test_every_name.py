"""Every name of timm and torchvision gives its library's embedding, or is refused in one line.

Networks have no values here, so that shapes are compared; test_families compares values.
"""

from __future__ import annotations

import pytest

from tests.backbone.every_name import families, look

#: Of each: a reason for refusal.
REFUSED = {
    "timm/gemma4_vit_167m_enc": "timm has no embedding of Gemma4VitEncoder",
    "timm/mobilenetv5_300m_enc": "timm has no embedding of MobileNetV5Encoder",
}


@pytest.mark.long
@pytest.mark.parametrize("family", families())
def test_every_name_is_right_or_refused_in_one_line(family: str) -> None:
    looked = [look(name) for name in families()[family]]
    assert not [one for one in looked if one.result not in ("right", "refused")]
    assert not [one for one in looked if len(one.why.splitlines()) > 1]


@pytest.mark.parametrize(
    "name", ["mnasnet0_5", "timm/test_vit", "timm/test_convnext", "timm/test_mambaout"]
)
def test_a_networks_embedding_has_its_librarys_shape(name: str) -> None:
    assert look(name).result == "right"


@pytest.mark.parametrize(("name", "why"), REFUSED.items())
def test_networks_without_an_embedding_are_refused(name: str, why: str) -> None:
    looked = look(name)
    assert looked.result == "refused"
    assert why in looked.why
