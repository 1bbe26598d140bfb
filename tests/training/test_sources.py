"""A file is what was expected, or there is none; a server of the test's own stands in for the internet."""

import hashlib
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from training.datasets import DataError
from training.sources import download, unzip

CONTENT = b"ratings" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Origin(BaseHTTPRequestHandler):
    asked = 0

    def do_GET(self) -> None:
        Origin.asked += 1
        known = self.path == "/files/data.zip"
        self.send_response(200 if known else 404)
        self.end_headers()
        if known:
            self.wfile.write(CONTENT)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def origin(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    Origin.asked = 0
    with ThreadingHTTPServer(("127.0.0.1", 0), Origin) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/files"
        server.shutdown()
        thread.join()


def test_a_file_is_fetched_once_and_then_kept(origin: str, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "cache"
    for _ in range(2):
        file = download(f"{origin}/data.zip", sha256=SHA256, max_bytes=len(CONTENT), folder=folder)
        assert file.read_bytes() == CONTENT

    assert Origin.asked == 1
    assert [path.name for path in folder.iterdir()] == ["data.zip"]


def test_a_kept_file_that_was_damaged_is_fetched_again(origin: str, tmp_path: Path) -> None:
    (tmp_path / "data.zip").write_bytes(b"half a fi")

    file = download(f"{origin}/data.zip", sha256=SHA256, max_bytes=10_000, folder=tmp_path)

    assert file.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("name", "sha256", "max_bytes", "problem"),
    [
        ("data.zip", "0" * 64, 10_000, "is not the file that was expected"),
        ("data.zip", SHA256, len(CONTENT) - 1, "has more than the 6,999 bytes"),
        ("other.zip", SHA256, 10_000, "cannot be downloaded.*404"),
    ],
)
def test_what_is_not_as_expected_is_refused_and_not_kept(
    origin: str, tmp_path: Path, name: str, sha256: str, max_bytes: int, problem: str
) -> None:
    with pytest.raises(DataError, match=problem) as refused:
        download(f"{origin}/{name}", sha256=sha256, max_bytes=max_bytes, folder=tmp_path)

    assert "--data" in refused.value.fix
    assert list(tmp_path.iterdir()) == []


def test_offline_is_told_with_a_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    # Port 9 (discard) of this machine: nobody listens.
    with pytest.raises(DataError, match="cannot be downloaded") as refused:
        download("http://127.0.0.1:9/data.zip", sha256=SHA256, max_bytes=10, folder=tmp_path)

    assert "are you online?" in refused.value.fix


def test_a_folder_that_cannot_be_written_to_is_told(origin: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(DataError, match="cannot write to"):
        download(f"{origin}/data.zip", sha256=SHA256, max_bytes=10_000, folder=tmp_path / "file" / "cache")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("ml/u.data", "1\t2\t3")
        opened.writestr("ml/u.item", "0" * 5_000)
        opened.writestr("../../evil", "out of the folder")
    return path


def test_only_the_named_members_are_unpacked_whatever_else_is_inside(archive: Path, tmp_path: Path) -> None:
    folder = unzip(archive, ["ml/u.data", "../../evil"], folder=tmp_path / "out", max_bytes=100)

    assert {path.name for path in folder.iterdir()} == {"u.data", "evil"}
    assert not (tmp_path.parent / "evil").exists()
    assert (folder / "u.data").read_text() == "1\t2\t3"


@pytest.mark.parametrize(
    ("member", "problem"), [("ml/u.user", "ml/u.user"), ("ml/u.item", "u.item in .* has more than 100 bytes")]
)
def test_a_member_that_is_missing_or_too_large_is_named(
    archive: Path, tmp_path: Path, member: str, problem: str
) -> None:
    with pytest.raises(DataError, match=problem):
        unzip(archive, ["ml/u.data", member], folder=tmp_path / "out", max_bytes=100)

    assert not (tmp_path / "out").exists()


def test_what_is_no_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "data.zip").write_text("<html>")

    with pytest.raises(DataError, match=r"data\.zip cannot be unpacked"):
        unzip(tmp_path / "data.zip", ["a"], folder=tmp_path / "out", max_bytes=100)
