"""Against a server that answers as the Hugging Face hub does, as far as its client asks."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
from huggingface_hub import constants, file_download

from masa_cli.errors import WeightsError
from masa_cli.weights.fetch import fetch, fetch_model
from masa_cli.weights.manifest import find_weights, look_for_model
from tests.weights.file_server import COMMIT, refused_address

PATH = "/org/repo/resolve/main/some.pth"


def quiet(done, total):
    """The client of the hub has a bar of its own."""


@pytest.fixture
def hub(server, content, set_manifest, monkeypatch):
    server.files[PATH] = content
    server.is_hub = True
    set_manifest({"name": "some", "summary": "s", "file": "some.pth", "hub": "org/repo"})
    point_to(server.address, monkeypatch)
    return server


def point_to(address, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(file_download, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def get(folder=None, waits=(0.0, 0.0)):
    return fetch("some", folder, on_progress=quiet, waits=waits)


def num_downloads(hub):
    return sum(method == "GET" for method, _ in hub.asked)


def test_it_goes_into_the_cache_of_the_hub(hub, content, tmp_path):
    path = get()
    assert path.is_relative_to(tmp_path / "hf/hub/models--org--repo")
    assert path.read_bytes() == content
    assert get() == path == find_weights("some")
    assert num_downloads(hub) == 1


def test_it_goes_into_the_folder_of_the_user_and_nothing_else_does(hub, content, tmp_path):
    path = get(tmp_path / "mine")
    assert path.read_bytes() == content
    assert [each.name for each in (tmp_path / "mine").iterdir()] == ["some.pth"]


@pytest.mark.parametrize("folder", [None, "mine"])
def test_a_cut_connection_goes_on(hub, content, tmp_path, folder):
    hub.cuts = [11 << 20]
    hub.files[PATH] = content * 8
    path = get(tmp_path / folder if folder else None)
    assert path.read_bytes() == content * 8
    assert any(asked for _, asked in hub.asked)


@pytest.mark.parametrize("folder", [None, "mine"])
def test_a_wrong_checksum_leaves_nothing(hub, tmp_path, folder):
    hub.promised_sha256 = "0" * 64
    where = tmp_path / folder if folder else None
    with pytest.raises(WeightsError, match="sha256"):
        get(where)
    with pytest.raises(WeightsError, match="not on this machine"):
        find_weights("some", where)
    left = [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size > 1e5]
    assert not left


def test_another_file_at_the_hub_than_the_known_one_is_not_fetched(hub, set_manifest):
    row = {"name": "some", "summary": "s", "file": "some.pth", "hub": "org/repo"}
    set_manifest(row | {"sha256": "1" * 64})
    with pytest.raises(WeightsError, match="now has another some"):
        get()
    assert num_downloads(hub) == 0


def test_a_missing_file_names_hub_and_answer(hub):
    hub.files.clear()
    with pytest.raises(WeightsError, match=r"org/repo answered 404 for some\.pth"):
        get()


def test_the_space_is_looked_at_first(hub, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(WeightsError, match="GB free"):
        get()
    assert num_downloads(hub) == 0


def test_no_network_says_what_was_wanted_and_how_to_go_on(hub, tmp_path, monkeypatch):
    point_to(refused_address(), monkeypatch)
    with pytest.raises(WeightsError) as caught:
        get(tmp_path)
    assert caught.value.problem.endswith("could not be fetched: 127.0.0.1 cannot be reached")
    assert f"save it as {tmp_path / 'some.pth'}" in caught.value.fix


def test_the_token_is_sent(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_abc")
    get()
    looks_whether_it_is_there, *asks_for_the_file = hub.tokens
    assert looks_whether_it_is_there is None
    assert set(asks_for_the_file) == {"Bearer hf_abc"}


def masa(*arguments, **variables):
    return subprocess.run(
        [sys.executable, "-m", "masa_cli", "weights", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | variables,
    )


def test_the_variables_of_the_hub_rule_the_command(server, tmp_path):
    """A real process and the real manifest: a file of which no checksum is published."""
    server.is_hub = True
    server.files["/dereksiyuanli/masa/resolve/main/bdd_box_track_val_cocofmt.json"] = b"{}"
    where = {"HF_ENDPOINT": server.address, "HF_HOME": str(tmp_path / "home")}
    offline = masa("pull", "bdd-mot-val", HF_HUB_OFFLINE="1", **where)
    assert offline.returncode == 1
    assert "HF_HUB_OFFLINE is set" in offline.stderr
    assert not server.asked
    done = masa("pull", "bdd-mot-val", **where)
    assert done.returncode == 0, done.stderr
    path = done.stdout.strip()
    assert path.startswith(str(tmp_path / "home/hub/models--dereksiyuanli--masa"))
    offline = masa("pull", "bdd-mot-val", HF_HUB_OFFLINE="1", **where)
    assert (offline.returncode, offline.stdout.strip()) == (0, path)
    assert hashlib.sha256(b"{}").hexdigest() in os.path.realpath(path)


WHOLE = {"config.json": b"{}", "model.safetensors": b"weights", "vocab.txt": b"a"}
CODE = {"modeling.py": b"import os", "pytorch_model.bin": b"pickle"}


@pytest.fixture
def models(hub):
    """A hub with a whole model, code and pickles beside it."""

    def serve(files=WHOLE | CODE, revision="main"):
        about = {"id": "org/net", "modelId": "org/net", "sha": COMMIT, "tags": [], "downloads": 0}
        about |= {"private": False, "likes": 0}
        about["siblings"] = [{"rfilename": name, "size": len(x)} for name, x in files.items()]
        text = json.dumps(about).encode()
        for end in ("", "?blobs=True", *_of_revisions("main", revision, COMMIT)):
            hub.files[f"/api/models/org/net{end}"] = text
        for name, body in files.items():
            for each in ("main", revision, COMMIT):
                hub.files[f"/org/net/resolve/{each}/{name}"] = body

    serve()
    return serve


def _of_revisions(*names):
    return [f"/revision/{name}{end}" for name in names for end in ("", "?blobs=True")]


@pytest.mark.parametrize("folder", [None, "mine"])
def test_a_whole_model_comes_without_code_and_pickles(models, hub, tmp_path, folder):
    where = tmp_path / folder if folder else None
    place = fetch_model("hf:org/net", where)
    assert sorted(each.name for each in place.iterdir() if each.is_file()) == sorted(WHOLE)
    assert look_for_model("org/net", where) == place
    before = len(hub.asked)
    assert fetch_model("hf:org/net", where) == place
    assert len(hub.asked) == before  # it is here


def test_a_revision_of_a_model_is_kept_apart(models):
    models(revision="v1")
    place = fetch_model("hf:org/net@v1")
    assert look_for_model("org/net@v1") == place
    assert look_for_model("org/net") is None


def test_a_model_without_safetensors_is_refused(models):
    models(CODE | {"config.json": b"{}"})
    hub_model = "the model org/net has no weights in safetensors"
    with pytest.raises(WeightsError, match=hub_model):
        fetch_model("hf:org/net")


@pytest.mark.parametrize(
    ("refusal", "status", "name", "error"),
    [
        ("GatedRepo", 403, "org/net", "the model org/net is gated"),
        ("RepoNotFound", 404, "org/none", "there is no model org/none"),
        ("RevisionNotFound", 404, "org/net@v9", "the model org/net has no revision v9"),
        ("", 500, "org/net", "answered 500 for org/net"),
    ],
)
def test_what_the_hub_refuses_is_told_in_a_sentence(models, hub, refusal, status, name, error):
    hub.refusal, hub.statuses = refusal, [200, status]
    with pytest.raises(WeightsError, match=error):
        fetch_model(f"hf:{name}")


def test_no_hub_and_no_name_are_told(models, monkeypatch):
    with pytest.raises(WeightsError, match="no name of a model"):
        fetch_model("hf:a/b/c/d")
    point_to(refused_address(), monkeypatch)
    with pytest.raises(WeightsError, match=r"could not be fetched: 127.0.0.1 cannot be reached"):
        fetch_model("hf:org/net")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE is set"):
        fetch_model("hf:org/net")
