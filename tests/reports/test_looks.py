"""What people see of pages: contrast, pictures, tables and names, as WCAG and a phone have it."""

from __future__ import annotations

import json
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import raypipe
from raypipe.config import ReportConfig
from raypipe.reports import run as reports_run
from raypipe.reports.album import FEATURED, LARGE_SIDE, Album
from raypipe.reports.wording import shade, some
from tests.support import stores
from tests.support.pages import DESKTOP, PHONE, opened

CSS = Path(reports_run.__file__).with_name("templates") / "page.css"
_PHOTOS = 170
ROOM = ReportConfig.model_fields["picture_mb"].default * 10**6
Colour = np.ndarray[Any, Any]


def theme(dark: bool) -> dict[str, Colour]:
    """The variables of the page's colours, 0 to 1."""
    blocks = re.findall(r":root[^{]*\{([^{}]*--ink[^{}]*)\}", CSS.read_text())
    assert len(blocks) == 3  # light, dark by the system, dark by the button
    light, *others = (dict(re.findall(r"--(\w+): ([^;]+);", block)) for block in blocks)
    assert others[0] == others[1]
    return {name: colour_of(text) for name, text in (others[0] if dark else light).items()}


def colour_of(text: str) -> Colour:
    if text.startswith("#"):
        return np.array([int(text[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.array([int(part) for part in text.split(",")]) / 255


def contrast(one: Colour, other: Colour) -> float:
    """Contrast ratio of WCAG 2.2."""
    linear = (np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) for c in (one, other))
    low, high = sorted(float(c @ (0.2126, 0.7152, 0.0722)) for c in linear)
    return (high + 0.05) / (low + 0.05)


def cell(colours: dict[str, Colour], kind: str, strength: float, under: str = "paper") -> Colour:
    """The colour of a cell of the matrix, as the style sheet mixes it."""
    mixed = rf"\.{kind} button {{ background: rgba\(var\(--{kind}\), calc\((\S+) \+ (\S+)"
    rule = re.search(mixed, CSS.read_text())
    assert rule is not None
    opacity = float(rule[1]) + float(rule[2]) * strength
    return opacity * colours[kind] + (1 - opacity) * colours[under]


@pytest.mark.parametrize("dark", [False, True])
def test_contrast_of_texts(dark: bool) -> None:
    colours = theme(dark)
    texts = [("ink", "paper"), ("ink", "soft"), ("grey", "paper"), ("grey", "soft")]
    for text, ground in [*texts, ("blue", "paper")]:
        assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    assert contrast(colours["orange"], colours["paper"]) >= 3  # lines
    for kind in ("right", "wrong"):
        for under in ("paper", "soft"):  # the latter under the mouse
            for strength in np.linspace(0, 1, 21):
                ground = cell(colours, kind, strength, under)
                assert contrast(colours["ink"], ground) >= 4.5, (kind, under, strength)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("most", [35, 100, 1000])
def test_errors_differ_in_colour(dark: bool, most: int) -> None:
    """1 and 35 errors, beside up to a thousand: a difference that is seen at a glance."""
    one, more = (cell(theme(dark), "wrong", shade(count, most)) for count in (1, 35))
    assert distance(one, more) > 15
    paper = cell(theme(dark), "wrong", shade(1, most))
    assert distance(paper, theme(dark)["paper"]) > 5  # an error is no empty cell


def distance(one: Colour, other: Colour) -> float:
    """Difference of two colours (CIE 1976); 2.3 can just be noticed."""
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )

    def lab(colour: Colour) -> Colour:
        linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
        x, y, z = np.cbrt(to_xyz @ linear / (0.9505, 1, 1.089))
        return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])

    return float(np.linalg.norm(lab(one) - lab(other)))


def test_how_many_are_shown() -> None:
    assert some(24, 1360, "image") == "24 of 1\u202f360 images"
    assert some(24, 20, "image") == some(20, 20, "image") == "all 20 images"
    assert some(1, 1, "class", "classes") == "1 class"
    assert some(60, 61, "class", "classes") == "60 of 61 classes"


# Pictures.


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Images of 640 × 480 that take as much room as photographs: waves with noise on them."""
    folder = tmp_path_factory.mktemp("photos with a long name")
    noise, across = np.random.default_rng(0).normal(110, 12, (480, 640)), np.linspace(0, 20, 640)
    for number in range(_PHOTOS):
        waves = np.sin(across + number) * np.sin(across[:480, None] * (1 + number % 7))
        pixels = np.clip(90 * waves + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"DSC0123456789{number:03d}.jpg")
    return sorted(map(str, folder.iterdir()))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, photos: list[str]) -> str:
    """A store of these images, with 45 labels in several scripts."""
    names = ["日本の花", "زهرة", "हिन्दी", "🌼", *(f"label {number}" for number in range(41))]
    labels = [names[number % len(names)] for number in range(len(photos))]
    items = stores.items_of([Path(path).name for path in photos], uri=photos, label=labels)
    folder = tmp_path_factory.mktemp("store")
    storage, _ = stores.make_store(folder / "store", [items], stores.make_spec())
    return storage.uri


def data_of(html: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(html.split('id="data">')[1].split("</script>")[0])
    return found


@pytest.mark.ci
def test_the_first_pictures_are_there_large_and_the_page_stays_small(photos: list[str]) -> None:
    album = Album(ROOM)
    with album.share(0.5):
        album.add(photos[:100])
    with album.share(1.0):
        album.add(photos[80:])
    album.enlarge()
    assert len(album.pictures) == len(album.links) == _PHOTOS
    assert len(album.large) <= FEATURED == 150
    held = sum(map(len, album.pictures)) + sum(len(text or "") for text in album.large.values())
    assert held <= ROOM
    sides = {Image.open(picture(text)).size for text in album.large.values() if text}
    assert sides == {(LARGE_SIDE, LARGE_SIDE * 3 // 4)}
    of_second = sum(key >= 100 for key in album.large)
    assert min(of_second, len(album.large) - of_second) >= 60  # both parts have theirs


def picture(text: str) -> Any:
    import base64
    import io

    return io.BytesIO(base64.b64decode(text.partition(",")[2]))


def test_large_pictures_take_the_room_there_is(photos: list[str], tmp_path: Path) -> None:
    album = Album(10**6)
    album.add(photos[:60])
    album.enlarge()
    assert 0 < len(album.large) < 60
    held = sum(map(len, album.pictures)) + sum(len(text or "") for text in album.large.values())
    assert held <= 10**6 + 4000  # the last small one may pass the mark
    tiny = tmp_path / "tiny.png"
    Image.new("L", (8, 8)).save(tiny)
    album = Album(10**6)
    album.add([str(tiny)])
    album.enlarge()
    assert album.large == {0: None}  # it is shown as it is, enlarged by the browser


def test_links_give_no_secrets_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raypipe.reports.album.thumbnail", lambda *_: Image.new("L", (9, 9)))
    uris = {
        "/a b/ü#1.jpg": "file:///a%20b/%C3%BC%231.jpg",
        "file:///caf%E9.jpg": "file:///caf%E9.jpg",
        "https://host/a.jpg": "https://host/a.jpg",
        "https://host/a.jpg?X-Amz-Signature=1": None,
        "https://user:secret@host/a.jpg": None,
        "zip:/a.zip!/b.jpg": None,
        "s3://bucket/a.jpg": None,
    }
    album = Album(10**6)
    album.add(uris)
    assert album.links == list(uris.values())


@pytest.mark.ci
@pytest.mark.parametrize("size", [PHONE, DESKTOP])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_of_pictures(
    browser: Any, store: str, tmp_path: Path, size: tuple[int, int], scheme: str
) -> None:
    out = tmp_path / "page.html"
    raypipe.report(store, out=out)
    assert out.stat().st_size < 10**7
    with opened(browser, out, size) as page:
        page.emulate_media(color_scheme=scheme)
        assert page.title() == page.inner_text("h1") == "Features of 170 images, 0 files rejected"
        heads = page.eval_on_selector_all("h1, h3", "all => all.map(e => e.textContent)")
        assert heads.index("Where they are") == len(heads) - 1  # not in front
        assert f"24 of {_PHOTOS} images" in page.inner_text("main")
        check_that_pictures_open(page)
        check_that_names_keep_their_extension(page)
        check_that_long_tables_say_so(page)
        assert missing_letters(page) == {kind for kind in SAMPLES if not has_font(kind)}


def check_that_pictures_open(page: Any) -> None:
    page.click(".gallery .picture >> nth=3")
    size = "image => image.decode().then(() => [image.naturalWidth, image.naturalHeight])"
    assert page.eval_on_selector("dialog img", size) == [512, 384]
    assert page.get_attribute("dialog a", "href").startswith("file:///")
    width = page.viewport_size["width"]
    assert page.query_selector("dialog img").bounding_box()["width"] > min(500, width - 80)
    page.keyboard.press("Escape")
    assert not page.query_selector("dialog").is_visible()


def check_that_names_keep_their_extension(page: Any) -> None:
    lines = page.eval_on_selector_all(
        ".id .whole", "all => all.map(e => [e.textContent, e.getClientRects().length])"
    )
    assert len(lines) == 24
    for text, count in lines:
        assert re.fullmatch(r"\d{4}\.jpg", text)
        assert count == 1


def check_that_long_tables_say_so(page: Any) -> None:
    shown = "all => all.filter(e => e.offsetParent).length"
    rows = "table.sortable tbody tr"
    assert page.eval_on_selector_all(rows, shown) == 20
    assert page.inner_text("button.more") == "20 of 45 rows are shown: show all"
    page.click("button.more")
    assert page.eval_on_selector_all(rows, shown) == 45
    # Nothing scrolls within the page but sideways, of which `opened` sees that it is said.
    boxes = "all => all.filter(e => e.scrollHeight > e.clientHeight + 1 && e.clientHeight).length"
    assert page.eval_on_selector_all(".scroll, .tall", boxes) == 0


#: A language of each script, for fontconfig, and a letter.
SAMPLES = {"Arabic": "ar", "Devanagari": "hi", "Han": "ja", "Hiragana": "ja", "emoji": "und-zsye"}


@cache
def has_font(kind: str) -> bool:
    listed = subprocess.run(["fc-list", f":lang={SAMPLES[kind]}"], capture_output=True, check=True)
    return bool(listed.stdout.strip())


def missing_letters(page: Any) -> set[str]:
    note = page.query_selector(".letters")
    found = re.search(r"\(([^)]*)\)", note.text_content())
    assert note.is_visible() == bool(found)
    return set(found[1].split(", ")) if found else set()


def test_a_link_where_there_is_no_room(
    browser: Any, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raypipe.reports.album.FEATURED", 2)
    raypipe.report(store, out=tmp_path / "page.html")
    with opened(browser, tmp_path / "page.html") as page:
        assert len(page.query_selector_all(".gallery button.picture")) == 2
        links = page.eval_on_selector_all(".gallery a.picture", "all => all.map(e => e.href)")
        assert len(links) == 22
        assert all(link.startswith("file:///") and link.endswith(".jpg") for link in links)


def test_a_title_of_ones_own(store: str, tmp_path: Path) -> None:
    raypipe.report(store, out=tmp_path / "page.html", title="mine & yours")
    html = (tmp_path / "page.html").read_text()
    assert "<title>mine &amp; yours</title>" in html
    assert '<h2 id="title-1">Features of 170 images, 0 files rejected</h2>' in html
