"""Folders of images, as data sets ship them."""

import logging
import re
import zlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from masa_cli.errors import SourceError
from masa_cli.sources.image_folder import ImageFolder
from tests.sources.encoded import numbered, numbers, times


def save(path: Path, number: int, width: int = 64, height: int = 48) -> None:
    Image.fromarray(numbered(number, width, height)).save(path)


def folder_of(folder: Path, names: list[str]) -> Path:
    """The images, numbered as their names are listed."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        save(folder / name, number)
    return folder


def test_images_come_in_natural_order(tmp_path: Path):
    names = ["1.png", "2.jpg", "9.bmp", "10.png", "011.tif", "a2.JPEG", "A10.webp", "b1.PNG"]
    folder = folder_of(tmp_path / "clip", names)
    (folder / "notes.txt").write_text("not a frame")
    (folder / "._1.png").write_bytes(b"left by a Mac")
    (folder / "0.png").mkdir()
    video = ImageFolder(folder)
    frames = list(video.frames())
    assert numbers(frames) == list(range(8))
    assert [frame.index for frame in frames] == list(range(8))
    assert times(frames) == [Fraction(index, 30) for index in range(8)]
    info = video.info
    assert (info.name, info.width, info.height, info.num_frames) == ("clip", 64, 48, 8)
    assert (info.frame_rate, info.time_base) == (30, Fraction(1, 30))


def test_names_that_differ_in_zeros_alone_have_one_order(tmp_path: Path):
    folder = folder_of(tmp_path, ["001.png", "01.png", "1.png", "002.png", "02.png"])
    assert numbers(ImageFolder(folder).frames()) == list(range(5))


def test_a_later_start_decodes_only_what_it_gives(tmp_path: Path):
    folder = folder_of(tmp_path, [f"{number}.png" for number in range(6)])
    video = ImageFolder(folder)
    for number in range(3):
        (folder / f"{number}.png").write_bytes(b"would fail")
    frames = list(video.frames(3))
    assert [frame.index for frame in frames] == numbers(frames) == [3, 4, 5]
    assert times(frames) == [Fraction(3, 30), Fraction(4, 30), Fraction(5, 30)]
    assert list(video.frames(6)) == list(video.frames(60)) == []


def test_images_are_read_one_by_one(tmp_path: Path):
    folder = folder_of(tmp_path, ["1.png", "2.png"])
    frames = ImageFolder(folder).frames()
    next(frames)
    save(folder / "2.png", 30)  # only now
    assert numbers(frames) == [30]


def test_a_motchallenge_sequence_has_its_own_name_and_rate(tmp_path: Path):
    folder = folder_of(tmp_path / "MOT17-02" / "img1", ["000001.jpg"])
    (tmp_path / "MOT17-02" / "seqinfo.ini").write_text(
        "[Sequence]\nname=MOT17-02\nframeRate=14\nseqLength=1\n"
    )
    assert ImageFolder(folder).info.name == "MOT17-02"
    assert ImageFolder(folder).info.frame_rate == 14
    assert ImageFolder(folder, Fraction(25)).info.frame_rate == 25


def test_a_frame_rate_in_the_folder_itself_counts_first(tmp_path: Path):
    folder = folder_of(tmp_path / "sequence", ["1.jpg"])
    (tmp_path / "seqinfo.ini").write_text("[Sequence]\nframeRate=14\n")
    (folder / "seqinfo.ini").write_text("\ufeff[Sequence]\nframeRate = 29.97\n", "utf-8")
    assert ImageFolder(folder).info.frame_rate == Fraction(2997, 100)


def test_a_frame_rate_has_a_denominator_that_videos_can_count_in(tmp_path: Path):
    folder = folder_of(tmp_path, ["1.jpg"])
    for given in (Fraction(30000, 1001), Fraction("29.97002997002997"), Fraction(30 / 1.001)):
        info = ImageFolder(folder, given).info
        assert info.frame_rate == 1 / info.time_base == Fraction(30000, 1001)


def test_a_seqinfo_that_is_silent_leaves_the_default_frame_rate(tmp_path: Path):
    folder = folder_of(tmp_path, ["1.jpg"])
    (folder / "seqinfo.ini").write_text("[Sequence]\nname=x\n")
    assert ImageFolder(folder).info.frame_rate == 30


@pytest.mark.parametrize(
    "content", ["frameRate=30", "[Sequence]\nframeRate=fast", "[Sequence]\nframeRate=0"]
)
def test_a_seqinfo_without_a_usable_rate_is_named(tmp_path: Path, content: str):
    folder = folder_of(tmp_path, ["1.jpg"])
    (folder / "seqinfo.ini").write_text(content)
    with pytest.raises(SourceError, match=r"seqinfo\.ini"):
        ImageFolder(folder)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_as_exif_tells(tmp_path: Path, orientation: int):
    upright = np.zeros((4, 6, 3), np.uint8)
    upright[0, 0], upright[0, 5], upright[3, 0] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    stored = {  # where row 0 and column 0 of what is stored are shown (Exif 2.3, tag 0x0112)
        1: upright,  # top, left
        2: upright[:, ::-1],  # top, right
        3: upright[::-1, ::-1],  # bottom, right
        4: upright[::-1],  # bottom, left
        5: upright.transpose(1, 0, 2),  # left, top
        6: upright[:, ::-1].transpose(1, 0, 2),  # right, top
        7: upright[::-1, ::-1].transpose(1, 0, 2),  # right, bottom
        8: upright[::-1].transpose(1, 0, 2),  # left, bottom
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "1.png", exif=exif)
    video = ImageFolder(tmp_path)
    assert (video.info.width, video.info.height) == (6, 4)
    (frame,) = video.frames()
    np.testing.assert_array_equal(frame.image, upright)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_every_kind_of_pixel_becomes_rgb(tmp_path: Path, mode: str):
    grey = np.repeat(np.array([[0, 255], [255, 0]], np.uint8)[..., None], 3, axis=2)
    Image.fromarray(grey).convert(mode).save(tmp_path / "1.tif")
    (frame,) = ImageFolder(tmp_path).frames()
    np.testing.assert_array_equal(frame.image, grey)


def ramp(number: int) -> np.ndarray:
    """(10, 100) from 0 to 999, and the first row brighter with each number."""
    values = np.arange(1000.0).reshape(10, 100)
    values[0] += number
    return values


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [
        (lambda grey: (7000 + grey).astype(np.uint16), "png"),
        (lambda grey: (7000 + grey).astype(np.uint16), "tif"),
        (lambda grey: grey.astype(np.int32), "tif"),
        (lambda grey: (grey / 1000).astype(np.float32), "tif"),
        (lambda grey: (grey * 1e6 - 5e8).astype(np.float32), "tif"),
    ],
)
def test_deep_pictures_are_stretched_by_what_the_sequence_shows(tmp_path, caplog, kind, suffix):
    for number in range(3):
        Image.fromarray(kind(ramp(number))).save(tmp_path / f"{number}.{suffix}")
    frames = list(ImageFolder(tmp_path).frames())
    # All but 0.5 % at either end, of 3 x 1000 values: about 5 to 994 become 0 to 255.
    expected = np.clip((ramp(0)[1:] - 5) / 989 * 255, 0, 255)
    for frame in frames:
        assert frame.image.dtype == np.uint8
        np.testing.assert_allclose(frame.image[1:, :, 0], expected, atol=1)  # rounding, number
        np.testing.assert_array_equal(frame.image[..., 0], frame.image[..., 2])
    assert (frames[2].image >= frames[0].image).all()  # stretched alike
    assert "pictures of more than 8 bits: values from" in caplog.text


def test_a_deep_picture_of_one_value_is_black_and_nan_too(tmp_path):
    flat = np.full((4, 4), 3.5, np.float32)
    flat[0, 0] = np.nan
    Image.fromarray(flat).save(tmp_path / "1.tif")
    (frame,) = ImageFolder(tmp_path).frames()
    assert not frame.image.any()


def test_pictures_of_eight_bits_stay_as_they_are(tmp_path, caplog):
    grey = np.arange(100, 120, dtype=np.uint8).reshape(4, 5)
    Image.fromarray(grey).save(tmp_path / "1.tif")
    (frame,) = ImageFolder(tmp_path).frames()
    np.testing.assert_array_equal(frame.image[..., 1], grey)
    assert caplog.text == ""


@pytest.mark.parametrize("suffix", ["tif", "webp", "gif"])
def test_each_page_of_the_files_of_a_folder_is_a_frame(tmp_path, suffix):
    for file, first in (("a", 0), ("b", 3)):
        pages = [Image.fromarray(numbered(number)) for number in range(first, first + 3)]
        pages[0].save(
            tmp_path / f"{file}.{suffix}", save_all=True, append_images=pages[1:], lossless=True
        )
    video = ImageFolder(tmp_path)
    assert numbers(video.frames()) == [0, 1, 2, 3, 4, 5]
    assert numbers(video.frames(4)) == [4, 5]
    assert video.info.num_frames == 6


def test_a_smaller_copy_of_a_page_is_no_frame(tmp_path):
    pages = [Image.fromarray(numbered(0)), Image.fromarray(numbered(0, 32, 24))]
    with TiffImagePlugin.AppendingTiffWriter(str(tmp_path / "1.tif"), True) as writer:
        for page, kind in zip(pages, (0, 1), strict=True):
            page.save(writer, format="TIFF", tiffinfo={254: kind})
            writer.newFrame()
    (frame,) = ImageFolder(tmp_path).frames()
    assert frame.image.shape == (48, 64, 3)


def test_pages_of_an_animation_have_its_own_times(tmp_path):
    pages = [Image.fromarray(numbered(number)) for number in range(3)]
    path = tmp_path / "a.webp"
    pages[0].save(path, save_all=True, append_images=pages[1:], duration=[100, 250, 100])
    video = ImageFolder(path)
    assert times(video.frames()) == [0, Fraction(1, 10), Fraction(35, 100)]
    assert times(ImageFolder(path, Fraction(5)).frames()) == [0, Fraction(1, 5), Fraction(2, 5)]


@pytest.mark.parametrize("suffix", ["gif", "ppm", "pgm", "jp2"])
def test_further_kinds_of_images_are_read(tmp_path, suffix):
    for number in range(3):
        image = Image.fromarray(numbered(number))
        (image.convert("L") if suffix == "pgm" else image).save(tmp_path / f"{number}.{suffix}")
    assert numbers(ImageFolder(tmp_path).frames()) == [0, 1, 2]


def test_a_broken_image_is_named_after_those_before_it(tmp_path: Path):
    for name in ("1.jpg", "2.jpg", "3.jpg", "1.png", "2.png"):
        suffix = Path(name).suffix[1:]
        folder_of(tmp_path / suffix, [name])
    for file in (tmp_path / "jpg" / "3.jpg", tmp_path / "png" / "2.png"):
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2])
        frames = ImageFolder(file.parent).frames()
        with pytest.raises(SourceError, match=re.escape(f"{file} cannot be read as an image")):
            for _ in frames:
                pass


def test_a_png_that_breaks_off_in_another_chunk_is_named(tmp_path: Path):
    save(tmp_path / "1.png", 1)
    content = (tmp_path / "1.png").read_bytes()
    at = content.index(b"IDAT") - 4
    length = int.from_bytes(content[at : at + 4], "big") // 2
    half = content[at + 8 : at + 8 + length]
    check = zlib.crc32(b"IDAT" + half).to_bytes(4, "big")
    (tmp_path / "1.png").write_bytes(
        content[:at] + length.to_bytes(4, "big") + b"IDAT" + half + check + bytes(100)
    )
    with pytest.raises(SourceError, match=r"1\.png cannot be read as an image"):
        ImageFolder(tmp_path)


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_what_is_no_image_is_refused_at_once(tmp_path: Path, content: bytes):
    (tmp_path / "1.png").write_bytes(content)
    with pytest.raises(SourceError, match=r"1\.png cannot be read as an image"):
        ImageFolder(tmp_path)


def test_an_image_of_another_size_is_named(tmp_path: Path):
    folder = folder_of(tmp_path, ["1.png", "2.png"])
    save(folder / "3.png", 2, width=48, height=64)
    frames = ImageFolder(folder).frames()
    assert [next(frames).index, next(frames).index] == [0, 1]
    with pytest.raises(SourceError, match=r"3\.png is 48 x 64 pixels, .* 64 x 48"):
        next(frames)


def test_a_folder_without_images_is_refused(tmp_path: Path):
    folder_of(tmp_path / "sequence" / "img1", ["1.png"])
    (tmp_path / "sequence" / "notes.txt").touch()
    with pytest.raises(SourceError, match=r"sequence holds no images"):
        ImageFolder(tmp_path / "sequence")


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch):
    def refused(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refused)
    with pytest.raises(SourceError, match=f"{tmp_path} cannot be read: Permission denied"):
        ImageFolder(tmp_path)


def test_an_image_beyond_the_limit_of_pixels_is_named(tmp_path: Path, monkeypatch):
    folder = folder_of(tmp_path, ["1.jpg"])
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 1)
    with pytest.raises(SourceError, match=r"1\.jpg cannot be read as an image"):
        ImageFolder(folder)


def test_an_assumed_frame_rate_is_said(tmp_path, caplog):
    (tmp_path / "img1").mkdir()
    save(tmp_path / "img1/1.png", 1)
    with caplog.at_level(logging.INFO):
        ImageFolder(tmp_path / "img1", Fraction(5))
        (tmp_path / "seqinfo.ini").write_text("[Sequence]\nframeRate=14\n")
        ImageFolder(tmp_path / "img1")
        assert "assumed" not in caplog.text
        (tmp_path / "seqinfo.ini").unlink()
        ImageFolder(tmp_path / "img1")
    assert "30 frames/s are assumed; give --fps" in caplog.text
