from masa_cli.training.curves import Table, draw_curves, read_table


def test_a_table_goes_on_after_the_step_that_is_kept(tmp_path):
    path = tmp_path / "losses.csv"
    table = Table(path)
    for step in (1, 2, 3):
        table.append(step, {"loss": step / 10})
    with path.open("a") as file:
        file.write("4,0.")  # a run that was killed
    again = Table(path, until=2)
    again.append(3, {"loss": 0.7})
    expected = [{"step": 1, "loss": 0.1}, {"step": 2, "loss": 0.2}, {"step": 3, "loss": 0.7}]
    assert read_table(path) == expected
    assert path.read_text().splitlines()[0] == "step,loss"
    assert read_table(tmp_path / "none.csv") == []


def test_half_a_line_is_no_row(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("step,a,b\n1,2,3\n2,5")
    assert read_table(path) == [{"step": 1, "a": 2, "b": 3}]


def test_curves_are_drawn_also_of_nothing(tmp_path):
    losses, validation = Table(tmp_path / "a.csv"), Table(tmp_path / "b.csv")
    assert draw_curves(tmp_path / "x.png", losses, validation, {})
    losses.append(1, {"loss": 2.0, "loss x": 1.0, "lr": 0.1})
    validation.append(1, {"recall": 0.5})
    assert draw_curves(tmp_path / "x.png", losses, validation, {"recall": 0.3})
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
