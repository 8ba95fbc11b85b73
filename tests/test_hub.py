"""Pushing to the hub, against a stand-in of its HTTP API on this machine: what arrives, and what is said when it cannot."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conftest import Cli
from export_support import small
from limner.errors import InputError
from limner.sharing.card import card, plain
from limner.sharing.export import export_safetensors
from limner.sharing.hub import push
from limner.sharing.publish import LIST, LIST_FORMAT, publish

TOKEN = "hf_standin"


class Hub(ThreadingHTTPServer):
    """As much of the hub's API as its client asks of it for a commit. Large files go by git's LFS, as on the hub."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.endpoint = f"http://127.0.0.1:{self.server_port}"
        self.created: dict[str, dict[str, Any]] = {}
        self.stored: dict[str, bytes] = {}
        self.files: dict[str, dict[str, bytes]] = {}
        self.commits: list[str] = []
        self.refuse: dict[str, int] = {}
        """What is answered to a path with such a piece in it."""


class Answers(BaseHTTPRequestHandler):
    """One request."""

    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, values: Any, status: int = 200) -> None:
        content = json.dumps(values).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def refused(self, body: bytes) -> bool:
        status = next((status for piece, status in self.server.refuse.items() if piece in self.path), 0)
        if not status and self.headers.get("Authorization") != f"Bearer {TOKEN}" and "/stored/" not in self.path:
            status = 401
        if status:
            self.answer({"error": "You shall not\npass"}, status)
        return bool(status)

    def do_HEAD(self) -> None:
        self.resolved(body=False)

    def resolved(self, body: bool = True) -> None:
        """One file of a repository, as a download asks for it."""
        place, _, name = self.path.strip("/").partition("/resolve/main/")
        content = self.server.files.get(place, {}).get(name)
        self.send_response(200 if content is not None else 404)
        for key, value in {
            "Content-Length": str(len(content or b"")),
            "ETag": '"1"',
            "X-Repo-Commit": "0" * 40,
        }.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(content or b"")

    def do_GET(self) -> None:
        if self.refused(b""):
            return
        if "/resolve/" in self.path:
            self.resolved()
            return
        place = self.path.partition("?")[0].removeprefix("/api/")
        if place not in self.server.created:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        files = [{"rfilename": name} for name in self.server.files[place]]
        self.answer({"id": place.partition("/")[2], "siblings": files})

    def do_PUT(self) -> None:
        content = self.body()
        self.server.stored[self.path.rpartition("/")[2]] = content
        self.answer({})

    def do_POST(self) -> None:
        content = self.body()
        if self.refused(content):
            return
        path, hub = self.path.partition("?")[0], self.server
        if path == "/api/repos/create":
            asked = json.loads(content)
            place = f"{asked.get('type', 'model')}s/{asked['organization']}/{asked['name']}"
            again = place in hub.created
            hub.created.setdefault(place, asked)
            hub.files.setdefault(place, {".gitattributes": b""})
            self.answer({"url": f"{hub.endpoint}/{place.removeprefix('models/')}"}, 409 if again else 200)
        elif path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif "/preupload/" in path:
            files = [file["path"] for file in json.loads(content)["files"]]
            large = (".onnx", ".safetensors", ".png")
            modes = [{"path": file, "uploadMode": "lfs" if file.endswith(large) else "regular"} for file in files]
            self.answer({"files": [{**mode, "shouldIgnore": False} for mode in modes]})
        elif path.endswith("/info/lfs/objects/batch"):
            objects = json.loads(content)["objects"]
            where = [
                {**each, "actions": {"upload": {"href": f"{hub.endpoint}/stored/{each['oid']}"}}} for each in objects
            ]
            self.answer({"transfer": "basic", "objects": where})
        elif "/commit/" in path:
            self.commit(path.removeprefix("/api/").partition("/commit/")[0], content)
        else:
            self.answer({"error": f"no such thing: {path}"}, 500)

    def commit(self, place: str, content: bytes) -> None:
        files = self.server.files[place]
        for line in map(json.loads, content.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                self.server.commits.append(value["summary"])
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.stored[value["oid"]]
                assert hashlib.sha256(files[value["path"]]).hexdigest() == value["oid"]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        oid = hashlib.sha1(content).hexdigest()
        self.answer(
            {"commitUrl": f"{self.server.endpoint}/{place.removeprefix('models/')}/commit/{oid}", "commitOid": oid}
        )


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def client(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """This process's client talks to the stand-in. It reads its settings when it is imported."""
    import huggingface_hub
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    address = f"{hub.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    assert huggingface_hub.get_token() == TOKEN
    return hub


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    export_safetensors(small("dcgan", 16, 12, 3, classes=2), tmp_path / "g.safetensors", licence="CC-BY-4.0")
    return tmp_path / "g.safetensors"


def test_all_of_it_arrives_in_one_commit(client: Hub, weights: Path, tmp_path: Path):
    pushed = push(weights, "me/discs", private=True, site=False)
    assert client.created["models/me/discs"]["visibility"] == "private"
    files = client.files["models/me/discs"]
    assert set(files) == {
        *(".gitattributes", "README.md", "samples.png", "recipe.toml", "generator.safetensors", "generator.onnx")
    }
    assert client.commits == ["6,400 images seen"]
    assert pushed.url == f"{client.endpoint}/me/discs" and pushed.site is None
    assert pushed.files == {name: len(content) for name, content in files.items() if name != ".gitattributes"}
    (tmp_path / "back.onnx").write_bytes(files["generator.onnx"])
    import limner

    again = limner.load(tmp_path / "back.onnx")
    wanted = small("dcgan", 16, 12, 3, classes=2)
    assert np.abs(again.draw_seeds([1, 2]).astype(int) - wanted.draw_seeds([1, 2]).astype(int)).max() <= 1
    (tmp_path / "samples.png").write_bytes(files["samples.png"])
    with Image.open(tmp_path / "samples.png") as sheet:
        assert min(sheet.size) > 300
    text = files["README.md"].decode()
    head, _, rest = text.removeprefix("---\n").partition("---\n")
    assert "license: cc-by-4.0\n" in head and "library_name: limner\n" in head and '- "class-conditional"\n' in head
    for words in (
        "![",
        "(samples.png)",
        "16 x 12, RGB",
        "6,400",
        "kind 0, kind 1",
        "16 seeds: images in",
        "seed=7",
        '"labels"',
    ):
        assert words in rest, words
    assert "| None" not in text and "| nan" not in text.lower()
    push(weights, "me/discs", site=False)
    assert len(client.commits) == 2 and client.created["models/me/discs"]["visibility"] == "private"


def test_the_page_goes_to_a_static_space_and_leaves_nothing_stale(
    client: Hub, weights: Path, monkeypatch: pytest.MonkeyPatch
):
    from limner.sharing import hub as pushing

    def page(content: bytes, *others: str) -> dict[str, bytes]:
        files = dict.fromkeys(["index.html", *others], content)
        return {**files, LIST: json.dumps({"format": LIST_FORMAT, "files": [*files]}).encode(), "README.md": content}

    pages = iter([page(b"one", "a/old.js"), page(b"two", "a/new.js")])
    monkeypatch.setattr(pushing, "_page", lambda *_: next(pages))
    for content in (b"one", b"two"):
        if content == b"two":
            client.files["spaces/me/discs"]["notes.md"] = b"somebody's own"
        pushed = push(weights, "me/discs")
        assert client.files["spaces/me/discs"]["index.html"] == content
    assert client.created["spaces/me/discs"]["sdk"] == "static"
    kept = {".gitattributes", "notes.md", "README.md"}
    assert set(client.files["spaces/me/discs"]) == {*kept, "index.html", "a/new.js", LIST}
    assert pushed.site == f"{client.endpoint}/spaces/me/discs"
    assert pushed.site in client.files["models/me/discs"]["README.md"].decode()


def test_a_damaged_list_is_named_where_it_is(client: Hub, weights: Path):
    client.created["spaces/me/discs"] = {}
    client.files["spaces/me/discs"] = {"index.html": b"mine", LIST: b"{"}
    with pytest.raises(InputError, match=f"push me/discs: the {LIST} of the space of that name is damaged; push to"):
        push(weights, "me/discs")
    assert not client.commits


@pytest.mark.parametrize(
    ("place", "files", "words"),
    [
        (
            "spaces",
            ["app.py", "README.md"],
            r"the space of that name \(--no-site leaves it alone\) holds .* \(app.py\)",
        ),
        ("models", ["README.md", "model.bin"], r"that repository holds something else \(model.bin\)"),
    ],
)
def test_what_somebody_has_put_there_stays(client: Hub, weights: Path, place: str, files: list[str], words: str):
    client.created[f"{place}/me/discs"] = {}
    client.files[f"{place}/me/discs"] = dict.fromkeys([".gitattributes", *files], b"mine")
    with pytest.raises(InputError, match=words):
        push(weights, "me/discs")
    assert not client.commits and set(client.files[f"{place}/me/discs"].values()) == {b"mine"}
    client.files[f"{place}/me/discs"] = {"README.md": b"new"}
    push(weights, "me/discs")
    assert len(client.commits) == 2 and client.files[f"{place}/me/discs"]["README.md"] != b"new"


@pytest.mark.parametrize(
    ("refuse", "words"),
    [
        ({"repos/create": 403}, "the hub refuses (403: You shall not"),
        ({"repos/create": 401}, "check the name, and that your token may write there"),
        ({"commit": 400}, "the hub refuses (400: "),
        ({"repos/create": 500}, "the hub fails (500: "),
    ],
)
def test_refusals_are_one_line(client: Hub, weights: Path, refuse: dict[str, int], words: str):
    from limner.errors import LimnerError

    client.refuse = refuse
    with pytest.raises(LimnerError) as error:
        push(weights, "me/discs")
    assert words in str(error.value) and "\n" not in str(error.value) and "push me/discs: " in str(error.value)
    assert isinstance(error.value, InputError) == (500 not in refuse.values())
    assert not client.commits


@pytest.mark.parametrize(
    "name", ["discs", "me/", "/discs", "me/a b", "me/../x", "a/b/c", "me/x--y", "me/x.git", "-/x", "me/\n"]
)
def test_names_that_the_hub_would_not_have(name: str, weights: Path):
    with pytest.raises(InputError, match="write OWNER/NAME"):
        push(weights, name)


def test_the_command_says_what_is_wrong(cli: Cli, hub: Hub, weights: Path, tmp_path: Path):
    settings = {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(tmp_path / "home"),
        "HF_TOKEN": "",
    }
    done = cli("push", weights, "me/discs", **settings)
    assert (
        done.returncode == 2 and done.stderr == "limner: push: no token; log in with 'hf auth login', or set HF_TOKEN\n"
    )
    done = cli("push", weights, "me/discs", **{**settings, "HF_TOKEN": TOKEN, "HF_ENDPOINT": "http://127.0.0.1:9"})
    assert done.returncode == 1 and "cannot be reached" in done.stderr and done.stderr.count("\n") == 1, done.stderr
    done = cli("push", weights, "me/discs", **{**settings, "HF_TOKEN": TOKEN})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{hub.endpoint}/me/discs: 5 files, ") and "README.md" in hub.files["models/me/discs"]
    # The page is the one that publish makes, and draws with the very generator.
    page = hub.files["spaces/me/discs"]
    publish(weights, tmp_path / "page")
    made = {path.relative_to(tmp_path / "page").as_posix() for path in (tmp_path / "page").rglob("*") if path.is_file()}
    assert set(page) == {*made, "README.md", ".gitattributes"}
    assert page["index.html"] == (tmp_path / "page" / "index.html").read_bytes()
    assert b"sdk: static" in page["README.md"] and "spaces/me/discs\n" in done.stdout
    done = cli("push", weights, "me/other", "--no-site", **{**settings, "HF_TOKEN": TOKEN})
    assert done.returncode == 0 and "spaces/me/other" not in hub.files and "its page" not in done.stdout


def test_a_missing_client_is_one_line(weights: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"pip install 'limner\[hub\]'"):
        push(weights, "me/discs")


def test_names_of_strangers_do_no_harm_in_a_card():
    generator = small("dcgan", 16, 12, 3)
    generator.name = "x](http://evil) | <script>\n# big"
    text = card(generator, "me/discs", about={}, licence="a: b\n- c", files={}, parity="", site=None)
    shown = re.sub(r"\\.", "", text)  # without what is escaped
    assert "<" not in shown and "](http://evil)" not in shown and "\n# big" not in shown
    assert "license: other\n" in text
    assert plain("a_b*c`d|e") == r"a\_b\*c\`d\|e"
