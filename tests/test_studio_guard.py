"""Who the studio answers: names of this machine, its own pages, and whoever knows the token."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from limner.errors import InputError
from limner.studio import guard
from limner.studio.server import address, listen
from limner.studio.settings import checked
from studio_support import HOME, client, studio

TOKEN = "a-token-for-this-test"


@pytest.fixture
def local(tmp_path: Path) -> TestClient:
    return client(studio(tmp_path))


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8377", 200),
        ("localhost:9000", 200),  # as through a tunnel
        ("[::1]:8377", 200),
        ("LOCALHOST", 200),
        ("evil.example", 421),  # a name that was made to lead here
        ("evil.example:8377", 421),
        ("127.0.0.1.evil.example:8377", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1@evil.example", 421),
        ("192.168.0.7:8377", 421),
        ("", 421),
        ("127.0.0.1:99999", 421),
    ],
)
def test_only_names_of_this_machine_are_answered(local: TestClient, host: str, status: int) -> None:
    assert local.get("/api/about", headers={"host": host}).status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": HOME}, 200),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:8000"}, 403),  # another program's page on this machine
        ({"origin": "https://127.0.0.1:8377"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 200),  # a link that was clicked
    ],
)
def test_other_pages_are_refused(local: TestClient, headers: dict[str, str], status: int) -> None:
    assert local.get("/api/runs", headers=headers).status_code == status


@pytest.mark.parametrize(
    "headers", [{"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}]
)
def test_nothing_is_done_for_another_page(local: TestClient, headers: dict[str, str]) -> None:
    form = {"data": "procedural:initials", "recipe": "quick"}
    assert local.post("/api/trainings", json=form, headers=headers).status_code == 403
    assert local.post("/api/runs/x/stop", headers=headers).status_code == 403


def test_a_body_has_to_be_json_and_of_known_length(local: TestClient) -> None:
    text = '{"data": "procedural:initials", "recipe": "quick"}'
    assert local.post("/api/check", content=text, headers={"content-type": "text/plain"}).status_code == 422
    large = b" " * (guard.LARGEST_BODY + 1)
    assert local.post("/api/check", content=large, headers={"content-type": "application/json"}).status_code == 413
    assert local.post("/api/check", content=iter([b"{}"])).status_code == 411


def test_every_answer_has_the_headers_that_keep_it_apart(local: TestClient) -> None:
    for path in ("/api/runs", "/api/nothing", "/home.json"):
        headers = local.get(path).headers
        assert headers["content-security-policy"].startswith(
            "default-src 'none'; script-src 'self' 'wasm-unsafe-eval';"
        )
        assert "unsafe-inline" not in headers["content-security-policy"]
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["cross-origin-embedder-policy"] == "require-corp"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in local.get("/api/runs", headers={"origin": HOME}).headers


def test_beyond_this_machine_a_token_has_to_be_known(tmp_path: Path) -> None:
    made = studio(tmp_path, host="0.0.0.0", token=TOKEN)
    asking = client(made, "http://192.168.0.7:8377")
    assert asking.get("/api/runs").status_code == 401
    assert asking.get("/api/runs?token=another-token-of-16").status_code == 401
    assert asking.get("/api/runs", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert asking.get("/api/runs", headers={"authorization": "Bearer x"}).status_code == 401
    assert (
        asking.get("/api/runs", headers={"cookie": f"limner-studio-8377={TOKEN}"}).status_code == 401
    )  # it holds a proof
    entered = asking.get(f"/?run=a%20b&token={TOKEN}", follow_redirects=False)
    assert entered.status_code == 303
    assert entered.headers["location"] == "/?run=a+b"
    assert TOKEN not in str(entered.headers)
    assert {"HttpOnly", "SameSite=Strict"} <= set(entered.headers["set-cookie"].split("; "))
    assert asking.get("/api/runs").status_code == 200  # by the cookie
    assert asking.get("/api/runs", headers={"host": "evil.example"}).status_code == 421
    # Another studio of this host has the same cookies, and neither takes the other's nor shows it anything.
    other = client(made, "http://192.168.0.7:8378")
    other.cookies.update(asking.cookies)
    assert other.get("/api/runs").status_code == 401
    other.get(f"/?token={TOKEN}")
    asking.cookies.update(other.cookies)
    assert [one.get("/api/runs").status_code for one in (asking, other)] == [200, 200]
    # Behind a container's port the browser knows another, and keeps cookies by name alone.
    outside = asking.get(f"/?token={TOKEN}", headers={"host": "192.168.0.7:9001"}, follow_redirects=False)
    assert outside.headers["set-cookie"].startswith("limner-studio-9001=")
    asking.cookies.delete("limner-studio-9001")
    (mine, theirs) = {cookie.name: cookie.value for cookie in asking.cookies.jar}.values()
    assert mine != theirs


def test_the_way_in_leads_nowhere_else(tmp_path: Path) -> None:
    asking = client(studio(tmp_path, token=TOKEN))
    for path in ("//evil.example/", "/%5Cevil.example", "/\\evil.example"):
        place = asking.get(f"{HOME}{path}?token={TOKEN}", follow_redirects=False).headers["location"]
        assert place.startswith("/") and not place.startswith(("//", "/\\"))


def test_settings_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    assert checked(tmp_path).token is None
    made = checked(tmp_path, host="0.0.0.0")
    assert made.token is not None and len(made.token) >= 24
    assert checked(tmp_path, host="0.0.0.0").token != made.token
    assert checked(tmp_path, token=TOKEN).token == TOKEN
    for wrong in ({"host": "a b"}, {"port": 70_000}, {"token": "short"}, {"token": "with blanks in the token"}):
        with pytest.raises(InputError):
            checked(tmp_path, **wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no such folder"):
        checked(tmp_path, [tmp_path / "nowhere"])
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"):
        checked(tmp_path / "file")


def test_the_usual_port_gives_way_and_a_chosen_one_does_not(tmp_path: Path) -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"--port {port}: cannot be listened on"):
            listen("127.0.0.1", port)
    with listen("127.0.0.1", 8377) as first, listen("127.0.0.1", 8377) as second:
        assert first.getsockname()[1] < second.getsockname()[1] < 8397
    with pytest.raises(InputError, match="--host"):
        listen("203.0.113.9", 0)
    assert address(checked(tmp_path, host="::1", port=81)) == "http://[::1]:81/"
    assert address(checked(tmp_path, token=TOKEN)) == f"http://127.0.0.1:8377/?token={TOKEN}"
