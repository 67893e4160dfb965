import hashlib
import io
import zipfile

import pytest
from huggingface_hub import constants

from masa_cli.weights import manifest
from tests.weights.file_server import Files, serving


@pytest.fixture(autouse=True)
def clean_machine(tmp_path, monkeypatch):
    """Nothing of this machine is looked at."""
    for name in ("MASA_WEIGHTS", "HF_TOKEN", "HF_HUB_OFFLINE", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf/hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "hf/token"))


@pytest.fixture
def content():
    """An archive as torch makes them, large enough to arrive in several pieces."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for part in range(4):
            piece = hashlib.shake_128(bytes([part])).digest(600_000)
            archive.writestr(f"archive/data/{part}", piece)
    return buffer.getvalue()


@pytest.fixture
def server():
    with serving(Files()) as files:
        yield files


@pytest.fixture
def set_manifest(tmp_path, monkeypatch):
    """Make the manifest these rows; the values of a row are strings, numbers or lists."""

    def use(*rows):
        path = tmp_path / "weights.toml"
        lines = []
        for row in rows:
            lines.append("[[files]]")
            lines += [f"{key} = {value!r}" for key, value in row.items()]
        path.write_text("\n".join(lines))
        monkeypatch.setattr(manifest, "MANIFEST", path)
        manifest.load_manifest.cache_clear()

    yield use
    manifest.load_manifest.cache_clear()
