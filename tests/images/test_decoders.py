"""Decoders of one's own: one interface, HEIC behind it, and the example of the documentation."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset

from raypipe.errors import RejectedItem, RejectReason, UsageError
from raypipe.images.decode import decode
from raypipe.images.decoders import load_decoder
from tests.docs.blocks import ROOT

HEIF = "raypipe.images.heif:decode_heif"


def heic(pixels: np.ndarray[Any, Any], **options: Any) -> bytes:
    sink = io.BytesIO()
    mode = "RGB" if pixels.shape[-1] == 3 else "RGBA"
    file = pillow_heif.from_bytes(mode, pixels.shape[1::-1], pixels.tobytes())
    file.save(sink, quality=95, **options)
    return sink.getvalue()


def smooth() -> np.ndarray[Any, Any]:
    y, x = np.mgrid[:64, :96]
    return np.stack([2 * x, 3 * y, x + y], axis=-1).astype(np.uint8)


def test_heic() -> None:
    data = heic(smooth())
    with pytest.raises(RejectedItem, match="HEIC.*--decoder raypipe.images.heif:decode_heif"):
        decode(data, 10**6)
    found = np.asarray(decode(data, 10**6, decoders=(HEIF,)))
    assert np.abs(found.astype(int) - smooth()).mean() < 3
    with pytest.raises(RejectedItem) as reject:
        decode(data, 64 * 96 - 1, decoders=(HEIF,))
    assert reject.value.reason is RejectReason.TOO_LARGE


def test_damaged_heic_is_a_reject() -> None:
    data = heic(smooth())
    for share in (0.3, 0.6, 0.9):
        with pytest.raises(RejectedItem):
            decode(data[: int(share * len(data))], 10**6, decoders=(HEIF,))


def test_other_formats_are_read_as_ever() -> None:
    sink = io.BytesIO()
    Image.fromarray(smooth()).save(sink, "PNG")
    found = np.asarray(decode(sink.getvalue(), 10**6, decoders=(HEIF,)))
    np.testing.assert_array_equal(found, smooth())


def test_the_plug_in_is_short() -> None:
    assert len((ROOT / "raypipe/images/heif.py").read_text().splitlines()) <= 50


def scan(values: np.ndarray[Any, Any], photometric: str) -> bytes:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    file = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    file.Rows, file.Columns = values.shape
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, photometric
    file.BitsAllocated = file.BitsStored = 16
    file.HighBit, file.PixelRepresentation = 15, 1
    file.RescaleIntercept, file.RescaleSlope = -1000, 1
    file.PixelData = values.astype("<i2").tobytes()
    sink = io.BytesIO()
    file.save_as(sink, enforce_file_format=True)
    return sink.getvalue()


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
def test_the_example_of_the_documentation(
    photometric: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    code = page.split("# dicom_images.py\n")[1].split("```")[0]
    name = f"dicom_images_{photometric.lower()}"
    (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    values = np.linspace(-1000, 3000, 256).round().reshape(16, 16)
    found = np.asarray(decode(scan(values, photometric), 10**6, decoders=(f"{name}:decode",)))
    expected = np.arange(256).reshape(16, 16)
    expected = 255 - expected if photometric == "MONOCHROME1" else expected
    assert np.abs(found[..., 0].astype(int) - expected).max() <= 1


@pytest.mark.parametrize("name", ["nothing", "no.such.module:decode", "os:nothing", "os:sep"])
def test_no_such_decoder(name: str) -> None:
    with pytest.raises(UsageError, match="--decoder must be"):
        load_decoder(name)


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ("np.zeros((4, 4), 'f4')", "got float32"),
        ("np.zeros((4, 4, 7), 'u1')", r"got uint8 \(4, 4, 7\)"),
        ("Image.new('LAB', (3, 3))", "got LAB"),
        ("'text'", "got str"),
    ],
)
def test_what_is_no_image(
    returned: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"odd_{abs(hash(returned))}"
    code = f"import numpy as np\nfrom PIL import Image\ndef read(data, most): return {returned}\n"
    (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RejectedItem, match=words) as reject:
        decode(b"whatever", 10**6, decoders=(f"{name}:read",))
    assert reject.value.reason is RejectReason.UNSUPPORTED
