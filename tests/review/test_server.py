"""What the server answers, and to whom it answers nothing."""

import json
import os
import socket
import threading

import numpy as np
import pytest
from werkzeug.test import Client

from masa_cli import formats
from masa_cli.review import server
from masa_cli.review.log import LogFile
from masa_cli.review.opening import Opening
from masa_cli.review.places import Suspicions
from masa_cli.review.server import MAX_BODY, ReviewApp, page_file
from masa_cli.review.session import open_review
from tests.review.tables import shown

PORT, TOKEN = 8123, "secret"
HOST = f"127.0.0.1:{PORT}"
OWN = {"Host": HOST, "Origin": f"http://{HOST}"}


def opens(review):
    def show(opening):
        opening.show(review.video)
        return review

    return show


@pytest.fixture
def app(review, tmp_path):
    with Opening(opens(review)) as opening:
        opening.review(None)
        app = ReviewApp(opening, tmp_path, TOKEN)
        app.port = PORT
        yield app


@pytest.fixture
def client(app):
    return Client(app)


def get(client, path, **headers):
    return client.get(f"/{TOKEN}/{path}", headers={"Host": HOST, **headers})


def post(client, path, body, **headers):
    return client.post(f"/{TOKEN}/{path}", json=body, headers={**OWN, **headers})


def edit(client, record, revision=0):
    return post(client, "api/edit", {"record": record, "revision": revision})


# The page and what it is told.


def test_the_page_and_its_files_are_given(client):
    page = get(client, "")
    assert page.status_code == 200
    assert page.mimetype == "text/html"
    assert get(client, "main.js").mimetype == "text/javascript"


def test_nothing_of_the_page_is_fetched_from_elsewhere():
    for name in server._PAGE:
        text = page_file(name).decode()
        assert "http://" not in text.replace("http://www.w3.org", "")
        assert "https://" not in text


def test_every_file_of_the_page_is_in_the_table():
    folder = os.path.join(os.path.dirname(server.__file__), "page")
    assert set(os.listdir(folder)) == set(server._PAGE)


def test_state_tells_video_and_history(client):
    state = get(client, "api/state").json
    assert (state["width"], state["height"], state["frames"]) == (96, 64, 30)
    assert (state["revision"], state["done"], state["free"]) == (0, 0, 3)
    assert state["classes"] == ["person"]


def test_tracks_are_packed_as_documented(client):
    data = get(client, "api/tracks").data
    length = int(np.frombuffer(data, "<u4", 1)[0])
    header = json.loads(data[4 : 4 + length])
    assert header == {"ids": [1, 2], "labels": [0, 0], "counts": [30, 30]}
    frames = np.frombuffer(data, "<i4", 60, 4 + length)
    boxes = np.frombuffer(data, "<f4", 240, 4 + length + 240).reshape(-1, 4)
    assert frames[:3].tolist() == [0, 1, 2]
    assert boxes[0].tolist() == [5, 5, 15, 25]
    assert len(data) == 4 + length + 60 * (4 + 16 + 4 + 2 + 1)


def test_times_are_those_of_the_video(client):
    times = np.frombuffer(get(client, "api/times").data, "<f8")
    np.testing.assert_allclose(times, np.arange(30) / 25)


@pytest.mark.parametrize(
    ("wanted", "status", "told"),
    [
        ("bytes=0-9", 206, "bytes 0-9/{}"),
        ("bytes=5-", 206, "bytes 5-{last}/{}"),
        ("bytes=-4", 206, "bytes {tail}-{last}/{}"),
        ("bytes=99999999-", 416, "bytes */{}"),
    ],
)
def test_the_video_comes_in_pieces(client, review, wanted, status, told):
    size = review.video.path.stat().st_size
    answer = get(client, "video", Range=wanted)
    assert answer.status_code == status
    expected = told.format(size, last=size - 1, tail=size - 4)
    assert answer.headers["Content-Range"] == expected


def test_a_long_video_is_never_read_at_once(client, monkeypatch):
    monkeypatch.setattr(server, "_MOST_AT_ONCE", 100)
    assert len(get(client, "video", Range="bytes=0-").data) == 100


# Edits.


def test_an_edit_is_done_and_kept(client, review):
    answer = edit(client, {"edit": "swap", "id": 1, "other": 2, "frame": 15})
    assert answer.status_code == 200
    assert (answer.json["revision"], answer.json["done"]) == (1, 1)
    assert sorted(answer.json["changed"]) == ["1", "2"]
    assert len(LogFile.read(review.log).records) == 1
    assert shown(review.tracks.table())[1] == [(frame, 5 + frame) for frame in range(30)]


def test_an_edit_does_not_wait_for_places_nor_does_its_refusal(clip, tmp_path, monkeypatch):
    """Of hours they take seconds; a split that was made before must be refused at once."""
    found = threading.Event()
    slow = Suspicions.of

    def of(table, whole=None):
        found.wait(20)
        return slow(table, whole)

    monkeypatch.setattr(Suspicions, "of", of)
    with open_review(*clip, tmp_path / "e.jsonl") as review, Opening(opens(review)) as opening:
        opening.review(None)
        app = ReviewApp(opening, tmp_path, TOKEN)
        app.port = PORT
        client = Client(app)
        split = {"edit": "split", "id": 1, "frame": 15, "new": 6}
        assert edit(client, split).json["done"] == 1
        assert edit(client, split, 1).json["problem"] == "there is an identity 6 already"
        assert get(client, "api/places").json == {"places": None}
        assert not found.is_set()
        found.set()
        assert review.places(None) is not None
        assert get(client, "api/places").json["places"] is not None


def test_an_edit_that_cannot_be_done_changes_nothing(client, review):
    answer = edit(client, {"edit": "delete", "id": 9})
    assert answer.status_code == 422
    assert answer.json["problem"] == "there is no identity 9"
    assert not review.log.exists()


def test_an_edit_of_what_has_changed_since_is_refused(client):
    assert edit(client, {"edit": "delete", "id": 1}).status_code == 200
    answer = edit(client, {"edit": "delete", "id": 2})
    assert (answer.status_code, answer.json["kind"]) == (409, "stale")


def test_an_edit_that_cannot_be_written_down_is_not_done(client, review, monkeypatch):
    edit(client, {"edit": "delete", "id": 1})
    before = shown(review.tracks.table())

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for record in ({"edit": "delete", "id": 2}, {"edit": "undo"}):
        answer = edit(client, record, 1)
        assert answer.status_code == 422
        assert "No space left" in answer.json["problem"]
    assert shown(review.tracks.table()) == before
    monkeypatch.undo()
    assert len(LogFile.read(review.log).records) == 1
    assert edit(client, {"edit": "undo"}, 1).status_code == 200


def test_a_box_beyond_the_video_is_refused(client):
    box = {"edit": "box", "id": 1, "frame": 30, "box": [1, 2, 3, 4]}
    assert "past the last, 29" in edit(client, box).json["problem"]


def test_saving_writes_any_format(client, review, tmp_path):
    edit(client, {"edit": "rename", "id": 1, "to": 7})
    for name, chosen in (("out.xml", "cvat"), ("out.txt", "mot"), ("out.jsonl", "jsonl")):
        answer = post(client, "api/save", {"name": name, "format": chosen})
        assert answer.status_code == 200, answer.json
        table = formats.read_tracks(tmp_path / name)
        assert set(table.tracks.ids.tolist()) == {2, 7}


def test_saving_replaces_nothing_unasked(client, review, tmp_path):
    (tmp_path / "out.txt").write_text("mine")
    body = {"name": "out.txt", "format": "mot"}
    assert post(client, "api/save", body).status_code == 422
    assert (tmp_path / "out.txt").read_text() == "mine"
    assert post(client, "api/save", {**body, "overwrite": True}).status_code == 200


@pytest.mark.parametrize("name", ["tracks.jsonl", "street.mp4"])
def test_saving_never_replaces_an_input(client, review, tmp_path, name):
    before = (tmp_path / name).read_bytes()
    body = {"name": name, "format": "jsonl", "overwrite": True}
    assert post(client, "api/save", body).status_code == 422
    assert (tmp_path / name).read_bytes() == before


@pytest.mark.parametrize(
    "name",
    [
        "../x.txt",
        "/tmp/x.txt",
        "a/b.txt",
        "a\\b.txt",
        "..",
        ".hidden",
        "",
        "C:x.txt",
        "x\0.txt",
        "x\n.txt",
        "x" * 300,
        "x.",
        7,
        None,
    ],
)
def test_saving_writes_into_its_folder_alone(client, name, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    assert post(client, "api/save", {"name": name, "format": "mot"}).status_code == 422
    assert sorted(tmp_path.rglob("*")) == before


def test_saving_replaces_a_link_and_not_what_it_points_to(client, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere/kept.txt"
    target.write_text("mine")
    (tmp_path / "out.txt").symlink_to(target)
    body = {"name": "out.txt", "format": "mot", "overwrite": True}
    assert post(client, "api/save", body).status_code == 200
    assert target.read_text() == "mine"


# Who is refused.


@pytest.mark.parametrize(
    "path", ["/", "/wrong/", "/wrong/api/state", "/secre/", "/secret2/", "//secret/"]
)
def test_without_the_token_nothing_is_told(client, path):
    answer = client.get(path, headers={"Host": HOST})
    assert answer.status_code == 403
    assert TOKEN not in answer.text


@pytest.mark.parametrize(
    "host",
    ["evil.example", f"evil.example:{PORT}", "127.0.0.1", f"127.0.0.1.evil.example:{PORT}", ""],
)
def test_another_host_is_refused(client, host):
    """A name that was made to point to 127.0.0.1 (DNS rebinding)."""
    assert client.get(f"/{TOKEN}/api/state", headers={"Host": host}).status_code == 403


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", f"https://{HOST}", "null", "http://127.0.0.1:1", f"http://{HOST}.evil"],
)
def test_another_origin_is_refused(client, origin, review):
    assert get(client, "api/state", Origin=origin).status_code == 403
    body = {"record": {"edit": "delete", "id": 1}, "revision": 0}
    assert post(client, "api/edit", body, Origin=origin).status_code == 403
    assert not review.log.exists()


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_other_pages_embed_is_refused(client, site):
    assert get(client, "video", **{"Sec-Fetch-Site": site}).status_code == 403


def test_an_edit_without_an_origin_is_refused(client):
    answer = client.post(f"/{TOKEN}/api/edit", json={}, headers={"Host": HOST})
    assert answer.status_code == 403


def test_an_edit_as_a_plain_form_is_refused(client):
    body = json.dumps({"record": {"edit": "delete", "id": 1}, "revision": 0})
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        answer = client.post(f"/{TOKEN}/api/edit", data=body, content_type=kind, headers=OWN)
        assert answer.status_code == 415


@pytest.mark.parametrize(
    "body", ["", "no", "[1]", "{}", '{"revision":"0"}', '{"revision":true}', "[" * 10_000]
)
def test_bodies_that_are_no_edit_are_refused(client, body):
    kind = "application/json"
    answer = client.post(f"/{TOKEN}/api/edit", data=body, content_type=kind, headers=OWN)
    assert answer.status_code == 400


@pytest.mark.parametrize(
    "path",
    [
        "../session.py",
        "%2e%2e/session.py",
        "..%2fsession.py",
        "page/main.js",
        "main.js/",
        "./main.js/..",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "....//main.js",
        "main.js%00",
        "tracks.jsonl",
    ],
)
def test_paths_lead_nowhere_else(client, path):
    answer = client.get(f"/{TOKEN}/{path}", headers={"Host": HOST})
    assert answer.status_code in {403, 404}
    assert "root:" not in answer.text


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_other_methods_are_refused(client, method):
    answer = client.open(f"/{TOKEN}/api/state", method=method, headers=OWN)
    assert answer.status_code == 405


def test_an_edit_cannot_be_fetched_nor_the_state_posted(client):
    assert get(client, "api/edit").status_code == 405
    assert post(client, "api/state", {}).status_code == 405


@pytest.mark.parametrize(
    "query",
    ["", "first=0", "first=-1&count=1", "first=0&count=99", "first=x&count=1", "first=²&count=1"],
)
def test_masks_of_no_frames_are_refused(client, query):
    assert get(client, f"api/masks?{query}").status_code == 400


def test_every_answer_forbids_what_the_page_does_not_need(client):
    for answer in (get(client, ""), get(client, "none"), client.get("/", headers={"Host": "x"})):
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert "Access-Control-Allow-Origin" not in answer.headers


# The server itself, on a real socket.


@pytest.fixture
def listening(app, monkeypatch):
    """The port of a running server."""
    import waitress.server

    made, told = [], threading.Event()
    create = waitress.server.create_server

    def noted(*args, **settings):
        made.append((create(*args, **settings), settings))
        return made[0][0]

    monkeypatch.setattr(waitress.server, "create_server", noted)
    thread = threading.Thread(
        target=server.serve, args=(app, 0, lambda port: told.set()), daemon=True
    )
    thread.start()
    assert told.wait(10)
    assert made[0][1]["host"] == "127.0.0.1"
    yield app.port
    made[0][0].trigger.pull_trigger(made[0][0].close)  # in its own thread
    thread.join(10)
    assert not thread.is_alive()


def answer_to(port, data):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(data)
        return connection.recv(4096).decode("latin-1")


def test_huge_bodies_are_refused_before_they_are_read(listening):
    head = (
        f"POST /{TOKEN}/api/edit HTTP/1.1\r\nHost: 127.0.0.1:{listening}\r\n"
        f"Origin: http://127.0.0.1:{listening}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {MAX_BODY + 1}\r\n\r\n"
    )
    assert answer_to(listening, head.encode()).partition(" ")[2].startswith("413")


def test_huge_heads_are_refused(listening):
    data = f"GET /{TOKEN}/ HTTP/1.1\r\nHost: x\r\nX: {'y' * 100_000}\r\n\r\n"
    assert answer_to(listening, data.encode()).partition(" ")[2].startswith("431")


@pytest.mark.parametrize("path", ["/../../etc/passwd", "http://evil.example/", "*", "/%00"])
def test_odd_request_lines_are_refused(listening, path):
    data = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{listening}\r\nConnection: close\r\n\r\n"
    status = int(answer_to(listening, data.encode()).split(" ")[1])
    assert 400 <= status < 500


def test_a_request_is_answered(listening):
    data = f"GET /{TOKEN}/ HTTP/1.1\r\nHost: 127.0.0.1:{listening}\r\nConnection: close\r\n\r\n"
    answer = answer_to(listening, data.encode())
    assert answer.startswith("HTTP/1.1 200")
    assert "waitress" not in answer
