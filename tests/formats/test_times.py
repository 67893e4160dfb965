"""When frames are, as far as files tell."""

from fractions import Fraction

import numpy as np
import pytest

from masa_cli.formats import FORMATS, open_writer, read_tracks
from masa_cli.formats.times import EvenRate, FrameTimes, rate_of
from masa_cli.structures import Frame
from tests.formats.tracks_of_all_kinds import INFO, NAMES, NUM_FRAMES, tracks_at

HELD = [0, 0.1, 0.2, 5.2, 5.3, 5.4]  # seconds: a picture that stands for five


def test_time_goes_evenly_between_and_around_what_is_known():
    times = FrameTimes(np.array([2, 4, 8]), np.array([1.0, 2.0, 4.0]))
    assert times.step == 0.5
    assert times.at(np.arange(10)).tolist() == [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5]


def test_no_time_is_before_0_where_none_was_told():
    times = FrameTimes(np.array([3, 5]), np.array([1.0, 2.0]))
    assert times.at(np.arange(4)).tolist() == [0, 0, 0.5, 1]


def test_one_known_frame_has_come_evenly_from_0():
    assert FrameTimes(np.array([5]), np.array([1.0])).at(np.array([10])).tolist() == [2]


@pytest.mark.parametrize("seconds", [[0, 0, 0, 1], [0, 1, 1, 1], [3, 3, 2, 1]])
def test_times_that_do_not_grow_or_differ_within_a_frame_are_not_read_and_said(
    tmp_path, caplog, seconds
):
    frames = np.array([0, 1, 2, 2])
    assert FrameTimes.of_rows(tmp_path / "x.csv", frames, np.array(seconds, float)) is None
    assert "x.csv: its times are not read" in caplog.text


@pytest.mark.parametrize("rate", [Fraction(10), Fraction(30000, 1001), Fraction(1, 5)])
def test_an_even_rate_is_noticed_in_rounded_times(rate):
    even = EvenRate()
    for index in range(50):
        even.see(Frame.without_image(index, round(index / rate, 3)))
    assert even.rate == pytest.approx(rate, abs=1e-3)
    assert rate_of(float(1 / rate)) == rate


def test_a_rate_that_changes_or_begins_late_is_none():
    for times in (HELD, [1, 2, 3]):
        even = EvenRate()
        for index, time in enumerate(times):
            even.see(Frame.without_image(index, Fraction(time)))
        assert even.rate is None


WITH_TIMES = [name for name, row in FORMATS.items() if "times" in row.holds]


@pytest.mark.parametrize("name", WITH_TIMES)
def test_times_come_back(tmp_path, name):
    if name == "parquet":
        pytest.importorskip("pyarrow")
    given = np.arange(NUM_FRAMES) / 10 if name == "cvat" else np.array(HELD)
    path = tmp_path / "o"
    with open_writer(name, path, info=INFO, classes=NAMES) as writer:
        for index, time in enumerate(given.tolist()):
            writer.write(Frame.without_image(index, Fraction(time)), tracks_at(index))
    table = read_tracks(path, format=name)
    assert np.allclose(table.times.at(np.arange(NUM_FRAMES)), given)


@pytest.mark.parametrize("time", ["12:00:01", "1e300", "nan"])
def test_a_column_time_of_something_else_is_not_read_and_said(tmp_path, caplog, time):
    path = tmp_path / "o.csv"
    path.write_text(f"frame,time,id,x1,y1,x2,y2,score\n4,{time},2,1,1,5,5,1\n")
    assert read_tracks(path).times is None
    assert ("its column time is not read" in caplog.text) == (time != "nan")


def test_tracks_of_a_motchallenge_sequence_have_its_frame_rate(tmp_path):
    path = tmp_path / "seq/gt/gt.txt"
    path.parent.mkdir(parents=True)
    path.write_text("3,1,1,2,3,4,1\n")
    (tmp_path / "seq/seqinfo.ini").write_text("[Sequence]\nframeRate=14\n")
    assert read_tracks(path).times.at(np.array([7])).tolist() == [0.5]


@pytest.mark.parametrize("column", [["a", "b"], [None, None], [1e300, 2e300]])
def test_a_column_time_of_parquet_that_holds_no_seconds_is_passed_over(tmp_path, column):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    names = ("x1", "y1", "x2", "y2", "score")
    rows = {"frame": [0, 1], "id": [1, 1], **{name: [1.0, 2.0] for name in names}}
    parquet.write_table(arrow.table(rows | {"time": column}), str(tmp_path / "o.parquet"))
    assert read_tracks(tmp_path / "o.parquet").times is None
