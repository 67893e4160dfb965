import subprocess
import sys

import pytest

from masa_cli.checkpoints import find_weights
from masa_cli.errors import WeightsError

NAME = "masa_r50.pth"


def put(folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NAME).touch()
    return folder / NAME


def put_into_hub_cache(tmp_path):
    commit = "a" * 40
    repo = tmp_path / "hf/hub/models--dereksiyuanli--masa"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs/main").write_text(commit)
    return put(repo / "snapshots" / commit)


def test_the_folder_of_the_option_comes_first(tmp_path, monkeypatch):
    monkeypatch.setenv("MASA_WEIGHTS", str(tmp_path / "variable"))
    with pytest.raises(WeightsError):
        find_weights("r50", tmp_path / "option")
    in_order = [
        put_into_hub_cache(tmp_path),
        put(tmp_path / "cache/masa/weights"),
        put(tmp_path / "variable"),
        put(tmp_path / "option"),
    ]
    while in_order:
        assert find_weights("r50", tmp_path / "option") == in_order.pop()
        find_weights("r50", tmp_path / "option").unlink()


def test_a_missing_file_says_what_to_type_and_where_to_put_it(tmp_path):
    with pytest.raises(WeightsError) as caught:
        find_weights("r50", tmp_path)
    assert '"r50" (masa_r50.pth, 528.4 MB)' in caught.value.problem
    assert "masa weights pull r50" in caught.value.fix
    assert "https://huggingface.co/dereksiyuanli/masa/resolve/main/masa_r50.pth" in caught.value.fix
    assert str(tmp_path / NAME) in caught.value.fix


def test_without_a_folder_it_is_put_into_the_user_s_cache(tmp_path):
    with pytest.raises(WeightsError) as caught:
        find_weights("r50")
    assert str(tmp_path / "cache/masa/weights" / NAME) in caught.value.fix


def test_finding_loads_neither_torch_nor_the_network(tmp_path):
    put(tmp_path)
    code = (
        "import sys; from pathlib import Path; from masa_cli.checkpoints import find_weights\n"
        f"find_weights('r50', Path({str(tmp_path)!r}))\n"
        "heavy = {'torch', 'numpy', 'requests', 'huggingface_hub'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
