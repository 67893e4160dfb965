from contextlib import suppress
from fractions import Fraction

import numpy as np
import pytest

from masa_cli.errors import SourceError
from masa_cli.formats.embeddings import (
    EmbeddingsReader,
    EmbeddingsWriter,
    Kept,
    finish_embeddings,
)
from masa_cli.structures import CameraMotion, Detections, Observation, VideoInfo

INFO = VideoInfo("street", 96, 64, Fraction(30000, 1001), Fraction(1001, 30000), None)
KEPT = Kept(INFO, ("car", 'a "b" [c]'), 0.07, "prompt", {"--prompt": "car, 日本"})


def frame(index, num_boxes=2, dim=3):
    rng = np.random.default_rng(index)
    found = Detections(
        rng.normal(size=(num_boxes, 4)).astype(np.float32),
        rng.normal(size=num_boxes).astype(np.float32),
        np.arange(num_boxes) % 2,
    )
    looks = rng.normal(size=(num_boxes, dim)).astype(np.float32)
    motion = CameraMotion(rng.normal(size=(2, 3)), index == 1)
    return Observation(index, index / 7, found, looks, motion, (INFO.width, INFO.height))


def write(path, frames):
    with EmbeddingsWriter(path, KEPT) as writer:
        looks = [writer.write(each).embeddings for each in frames]
        offset = writer.offset
    finish_embeddings(path, offset, len(frames))
    return looks


def assert_same(back, given, looks):
    assert (back.index, back.time, back.frame_size) == (given.index, given.time, given.frame_size)
    assert back.motion.is_cut == given.motion.is_cut
    assert np.array_equal(back.motion.matrix, given.motion.matrix)
    for name in ("boxes", "scores", "labels"):
        assert np.array_equal(getattr(back.detections, name), getattr(given.detections, name))
    assert np.array_equal(back.embeddings, looks)
    assert back.embeddings.dtype == np.float32


def test_all_comes_back_and_embeddings_as_the_writer_said(tmp_path):
    path = tmp_path / "embeddings.masa"
    frames = [frame(0), frame(1, num_boxes=0), frame(2, num_boxes=5)]
    looks = write(path, frames)
    reader = EmbeddingsReader(path)
    assert reader.kept == KEPT
    for _ in range(2):  # iterating again starts again
        for back, given, kept in zip(reader, frames, looks, strict=True):
            assert_same(back, given, kept)
    assert np.array_equal(looks[0], frames[0].embeddings.astype(np.float16).astype(np.float32))


def test_an_embedding_beyond_float16_becomes_the_largest_number(tmp_path):
    huge = frame(0)
    huge.embeddings[0, 0] = 1e6
    assert write(tmp_path / "e", [huge])[0][0, 0] == 65504


def test_a_run_goes_on_where_its_state_was_saved(tmp_path):
    frames = [frame(index) for index in range(4)]
    write(tmp_path / "whole", frames)
    with EmbeddingsWriter(tmp_path / "e", KEPT) as writer:
        for each in frames[:2]:
            writer.write(each)
        offset = writer.offset
        writer.write(frames[3])  # lost: it is behind what was saved
    with EmbeddingsWriter(tmp_path / "e", KEPT, resume_at=offset) as writer:
        for each in frames[2:]:
            writer.write(each)
        offset = writer.offset
    finish_embeddings(tmp_path / "e", offset, 4)
    assert (tmp_path / "e").read_bytes() == (tmp_path / "whole").read_bytes()
    finish_embeddings(tmp_path / "e", offset, 4)  # again, after a kill: nothing to do
    assert len(list(EmbeddingsReader(tmp_path / "e"))) == 4


def test_wherever_the_file_is_cut_it_says_so(tmp_path):
    path = tmp_path / "e"
    write(path, [frame(0), frame(1)])
    whole = path.read_bytes()
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        with pytest.raises(SourceError, match=r"is no file of embeddings|is damaged or cut short"):
            list(EmbeddingsReader(path))


@pytest.mark.parametrize("seed", range(200))
def test_flipped_bits_are_an_error_or_other_numbers_but_no_crash(tmp_path, seed):
    path = tmp_path / "e"
    write(path, [frame(0), frame(1)])
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    for place in rng.integers(0, len(data), 4):
        data[place] ^= 1 << int(rng.integers(8))
    path.write_bytes(data)
    with suppress(SourceError):
        list(EmbeddingsReader(path))


@pytest.mark.parametrize("content", [b"", b"{}", b"\x93NUMPY\x01\x00\x76\x00{'descr': 'O'}"])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "e"
    path.write_bytes(content)
    with pytest.raises(SourceError, match="is no file of embeddings"):
        EmbeddingsReader(path)


def test_pickled_objects_are_never_loaded(tmp_path):
    path = tmp_path / "e"
    with path.open("wb") as file:
        np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(SourceError, match="is no file of embeddings"):
        EmbeddingsReader(path)
