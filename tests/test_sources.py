"""What can be read: each kind of source on small files, hostile and damaged ones, and real data when it is there."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import sys
import zipfile
from pathlib import Path

import pytest

from limner.data import idx
from limner.data.decode import Target, decode
from limner.data.sources import SOURCES, Unreadable, natural, open_source, safe_title
from limner.errors import InputError
from sources_support import IMAGES, LABELS, REAL, idx_bytes, names, png, run_directory, write, zipped

FILES = {
    "cats/b.png": png(1),
    "cats/a.PNG": png(2),
    "dogs/deep/er/c.jpg": png(3),
    "dogs/note.txt": b"text",
    "LICENSE": b"MIT",
    "README.md": b"# hello",
    ".hidden.png": png(9),
    ".git/x.png": png(9),
    "__MACOSX/cats/._a.png": b"junk",
    "dogs/without_ending": png(4),
}


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_folder_and_zip_list_the_same(kind: str, tmp_path: Path) -> None:
    location = write(tmp_path / "pets", FILES) if kind == "folder" else zipped(tmp_path / "pets.zip", FILES)
    source = open_source(location)
    assert source.kind == kind
    assert source.title == "pets"
    assert source.location == str(location)
    assert [(entry.name, entry.label) for entry in source.entries] == [
        ("cats/a.PNG", "cats"),
        ("cats/b.png", "cats"),
        ("dogs/deep/er/c.jpg", "dogs"),
        ("dogs/without_ending", "dogs"),
    ]
    assert source.ignored == 3
    assert [source.read(index) for index in range(4)] == [png(2), png(1), png(3), png(4)]
    with source.open(1) as file:  # type: ignore[union-attr]
        assert file.read() == png(1)


def test_classes_below_a_folder_that_holds_everything(tmp_path: Path) -> None:
    files = {"all/cats/1.png": png(), "all/dogs/2.png": png()}
    for location in (write(tmp_path / "a", files), zipped(tmp_path / "a.zip", files)):
        assert [entry.label for entry in open_source(location).entries] == ["cats", "dogs"]


def test_no_classes_when_some_pictures_lie_beside_the_folders(tmp_path: Path) -> None:
    write(tmp_path, {"cats/1.png": png(), "2.png": png()})
    assert [entry.label for entry in open_source(tmp_path).entries] == [None, None]


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    write(tmp_path / "there", {"x.png": png()})
    write(tmp_path / "here", {"y.png": png()})
    (tmp_path / "here/sub").symlink_to(tmp_path / "there")
    (tmp_path / "here/loop").symlink_to(tmp_path / "here")
    (tmp_path / "here/gone.png").symlink_to(tmp_path / "nowhere.png")
    source = open_source(tmp_path / "here")
    assert [entry.name for entry in source.entries] == ["sub/x.png", "y.png"]
    assert [item.name for item in source.skipped] == ["gone.png"]


def test_a_run_below_the_folder_is_passed_over(tmp_path: Path) -> None:
    """Its samples multiply while it trains, so the collection would never stay the same."""
    write(tmp_path, {"a.png": png(1), "b.png": png(2), "walk/out.png": png(3)})
    before = open_source(tmp_path)
    run_directory(tmp_path / "runs/self")
    source = open_source(tmp_path)
    assert [entry.name for entry in source.entries] == ["a.png", "b.png", "walk/out.png"]
    assert source.content_hash()[0] == before.content_hash()[0]
    assert source.notes == ["runs/self: a run of Limner's, passed over"] and not before.notes
    for number in range(4):
        run_directory(tmp_path / f"runs/{number}")
    assert open_source(tmp_path).notes == ["runs/0, runs/1, runs/2 and 2 more: runs of Limner's, passed over"]
    with pytest.raises(InputError, match="a run of Limner's"):
        open_source(tmp_path / "runs/self")
    with pytest.raises(InputError, match=r"no image files; runs/0.*passed over"):
        open_source(run_directory(tmp_path / "other/runs/0").parents[1])
    assert names(tmp_path / "runs/self/samples") == ["000000100.png"]  # whoever names them means them
    (tmp_path / "runs/self/recipe.toml").unlink()
    assert "runs/self/samples/000000100.png" in names(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no pipes")
def test_pipes_and_devices_are_named_and_never_opened(tmp_path: Path) -> None:
    write(tmp_path, {"good.png": png(), "folder.png/in.png": png()})
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    source = open_source(tmp_path)
    assert [entry.name for entry in source.entries] == ["folder.png/in.png", "good.png"]
    assert [(item.name, item.reason) for item in source.skipped] == [
        ("pipe.png", "a pipe or device, no file"),
        ("zero.png", "a pipe or device, no file"),
    ]


def test_a_folder_of_which_nothing_can_be_read_says_why(tmp_path: Path) -> None:
    (tmp_path / "x.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"x\.png: cannot be opened \(a link to nowhere"):
        open_source(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_are_no_text(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path / "set")
    os.makedirs(folder + b"/\xff")
    for name in (b"/\xfe.png", b"/\xff/\xfe.png"):
        with open(folder + name, "wb") as file:
            file.write(png(7))
    source = open_source(tmp_path / "set")
    assert [source.read(index) for index in range(2)] == [png(7)] * 2
    assert source.content_hash()[0]


def test_an_archive_with_odd_entries_opens(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", {"a.png": png(), "nosuffix": bytes(range(256)), "##": b"x"})
    content = bytearray(path.read_bytes().replace(b"##", b"\0\0"))  # no name at all
    start = content.index(b"nosuffix") + len("nosuffix")
    content[start : start + 20] = b"\xff" * 20  # cannot be unpacked to see what it is
    path.write_bytes(content)
    assert names(path) == ["a.png"]


@pytest.mark.parametrize("name", ["../evil.png", "a/../../evil.png", "/etc/evil.png", "..\\evil.png", "C:\\evil.png"])
def test_an_archive_that_points_outside_is_refused(name: str, tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", {"good.png": png(), name: png()})
    with pytest.raises(InputError, match="outside") as caught:
        open_source(path)
    assert repr(name) in str(caught.value) and str(path) in str(caught.value)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["x.zip"]


def test_dots_in_names_are_no_attack(tmp_path: Path) -> None:
    assert names(zipped(tmp_path / "x.zip", {"a..b.png": png(), "c...png": png()})) == [
        "a..b.png",
        "c...png",
    ]


def test_damaged_and_encrypted_zip_entries_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("a.png", png(1))
        archive.writestr("b.png", png(2))
        archive.writestr("c.png", b"")
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 6] ^= 0xFF  # in a.png: its CRC is wrong now
    second = content.index(b"PK\x01\x02", content.index(b"PK\x01\x02") + 4)
    content[second + 8] |= 1  # b.png's "encrypted" flag in the directory
    path.write_bytes(content)
    source = open_source(path)
    with pytest.raises(Unreadable, match="CRC"):
        source.read(0)
    with pytest.raises(Unreadable, match="encrypted"):
        source.read(1)
    with pytest.raises(Unreadable, match="empty"):
        source.read(2)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no image files"),
        ({"a.txt": b"x", "b.doc": b"y"}, r"no image files \(2 other files\)"),
    ],
)
def test_nothing_to_read(files: dict[str, bytes], message: str, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(InputError, match=message):
        open_source(write(tmp_path / "x", files))
    with pytest.raises(InputError, match=message):
        open_source(zipped(tmp_path / "x.zip", files))


@pytest.mark.parametrize(
    "location", ["", "~nosuchuser/x", "no/such/folder", "nothing.zip", "hf:", "procedural:castles", "a\0b"]
)
def test_what_is_not_there_is_one_clear_line(location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        open_source(location)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
    assert location in str(caught.value) or repr(location) in str(caught.value)


@pytest.mark.parametrize(
    "name", ["x.zip", "x.npy", "x.npz", "x.h5", "x-images-idx3-ubyte", "x-images-idx3-ubyte.gz", "x.tar"]
)
@pytest.mark.parametrize("content", [b"", b"rubbish" * 100, b"\x1f\x8brubbish", b"PK\x03\x04" + bytes(100)])
def test_rubbish_under_any_name_is_one_clear_line(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        open_source(tmp_path / name)
    assert "\n" not in str(caught.value) and name in str(caught.value)


def test_a_missing_extra_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.h5").write_bytes(b"")
    for module in ("h5py", "datasets"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=r"pip install 'limner\[hdf5\]'"):
        open_source(tmp_path / "x.h5")
    with pytest.raises(InputError, match=r"pip install 'limner\[hub\]'"):
        open_source("hf:someone/something")


# The hub


def test_a_hub_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through ``datasets`` itself, from a folder as the hub holds one."""
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hf"))
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    write(tmp_path / "set", {"train/cat/1.png": png(1), "train/dog/2.png": png(2), "train/dog/3.png": png(3)})
    source = open_source(f"hf:{tmp_path / 'set'}:train")
    assert source.kind == "hub" and source.title == "set"
    assert [entry.label for entry in source.entries] == ["cat", "dog", "dog"]
    assert source.classes == ("cat", "dog")
    values = [int(decode(source.read(index), Target(16, 16, 1)).pixels[0, 0, 0]) for index in range(3)]
    assert values == [1, 2, 3]
    assert source.content_hash()[0] == open_source(f"hf:{tmp_path / 'set'}").content_hash()[0]
    with pytest.raises(InputError, match="split"):
        open_source(f"hf:{tmp_path / 'set'}:nonsense")


# Fashion-MNIST by name


def test_fashion_mnist_is_found_checked_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = {}
    contents["train-images-idx3-ubyte.gz"] = gzip.compress(idx_bytes(IMAGES), mtime=0)
    contents["train-labels-idx1-ubyte.gz"] = gzip.compress(idx_bytes(LABELS), mtime=0)
    sums = {name: hashlib.md5(content).hexdigest() for name, content in contents.items()}
    assert list(idx.FASHION_FILES) == list(contents)  # the training pair is all that is asked for
    monkeypatch.setattr(idx, "FASHION_FILES", sums)
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    asked: list[str] = []

    def answer(url: str, timeout: float) -> io.BytesIO:
        asked.append(url)
        assert url.startswith("https://") and timeout < 120
        if served is None:
            raise OSError("Name or service not known")
        return io.BytesIO(served[url.rpartition("/")[2]])

    monkeypatch.setattr(idx, "urlopen", answer)
    served: dict[str, bytes] | None = None
    with pytest.raises(InputError, match=r"cannot be downloaded \(Name or service not known\).*LIMNER_DATA"):
        open_source("fashion-mnist")
    served = {name: b"<html>" for name in contents}
    with pytest.raises(InputError, match="MD5 sum is wrong"):
        open_source("fashion-mnist")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]  # nothing half-done stays
    served = contents
    source = open_source("fashion-mnist")
    assert (source.kind, source.location, source.title, len(source.entries)) == (*["fashion-mnist"] * 3, 6)
    asked.clear()
    open_source("fashion-mnist")
    assert not asked  # from the cache
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "other"))
    served = None
    write(tmp_path / "data/fashion-mnist", contents)
    monkeypatch.setenv("LIMNER_DATA", str(tmp_path / "data"))
    assert len(open_source("fashion-mnist").entries) == 6
    assert not asked
    (tmp_path / "data/fashion-mnist/train-images-idx3-ubyte.gz").write_bytes(b"edited")
    with pytest.raises(InputError, match=r"train-images-idx3-ubyte\.gz is there, but its MD5 sum is wrong"):
        open_source("fashion-mnist")
    monkeypatch.setenv("LIMNER_DATA", "~nosuchuser/data")
    with pytest.raises(InputError, match="LIMNER_DATA = ~nosuchuser/data"):
        open_source("fashion-mnist")
    monkeypatch.delenv("LIMNER_DATA")
    (tmp_path / "file").write_text("a file where the cache should be")
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="cannot be downloaded"):
        open_source("fashion-mnist")


def test_the_published_sums() -> None:
    assert idx.FASHION_FILES["train-images-idx3-ubyte.gz"] == "8d4fb7e6c68d591d4c3dfef9ec88bf0d"
    assert len(idx.FASHION_CLASSES) == 10 and idx.FASHION_CLASSES[9] == "Ankle boot"


# Procedural


def test_procedural_collections() -> None:
    source = open_source("procedural:initials:12")
    assert source.title == "initials" and len(source.entries) == 12
    assert source.read(3).shape == (64, 64, 1)  # type: ignore[union-attr]
    sized = source.sized(24, 32)
    assert sized.read(3).shape == (32, 24, 1)  # type: ignore[union-attr]
    assert source.entries[3].label is not None and source.entries[3].label == sized.entries[3].label
    assert (
        len({open_source(f"procedural:{name}").content_hash()[0] for name in ("initials:12", "initials:13", "maps:12")})
        == 3
    )
    assert open_source("procedural:maps").read(0).shape == (64, 64, 3)  # type: ignore[union-attr]
    for wrong in ("procedural:initials:0", "procedural:initials:x", "procedural:initials:-5", "procedural:"):
        with pytest.raises(InputError):
            open_source(wrong)


def test_processes_draw_what_one_process_draws() -> None:
    source = open_source("procedural:initials:400").sized(16, 16)
    target = Target(16, 16, 3)
    assert source.stream(target, 1) is None
    stream = source.stream(target, 2)
    assert stream is not None
    for index in range(5):
        decoded = next(stream)
        assert (decoded.pixels == decode(source.read(index), target).pixels).all()  # type: ignore[union-attr]
    stream.close()  # type: ignore[attr-defined]


# Contents


def test_content_hash_follows_contents_not_places(tmp_path: Path) -> None:
    one = write(tmp_path / "one", {"a.png": png(1), "b/c.png": png(2)})
    two = write(tmp_path / "two", {"b/c.png": png(2), "a.png": png(1), "LICENSE": b"x"})
    three = write(tmp_path / "three", {"a.png": png(2), "b/c.png": png(1)})
    four = write(tmp_path / "four", {"a.png": png(1), "d/c.png": png(2)})  # another class
    hashes = [open_source(path).content_hash()[0] for path in (one, two, three, four)]
    assert hashes[0] == hashes[1] and len(set(hashes)) == 3


def test_known_files_are_not_read_again(tmp_path: Path) -> None:
    write(tmp_path, {"a.png": png(1), "b.png": png(2)})
    for name in ("a.png", "b.png"):
        os.utime(tmp_path / name, (1e9, 1e9))
    first, known = open_source(tmp_path).content_hash()
    assert set(known) == {"a.png", "b.png"}
    (tmp_path / "a.png").write_bytes(png(3))  # same size, same time: not noticed, as documented
    assert len(png(3)) == len(png(1))
    os.utime(tmp_path / "a.png", (1e9, 1e9))
    assert open_source(tmp_path).content_hash(known)[0] == first
    os.utime(tmp_path / "a.png", (1e9, 1e9 + 1))
    changed, _ = open_source(tmp_path).content_hash(known)
    assert changed != first
    assert changed == open_source(tmp_path).content_hash()[0]


def test_a_file_that_was_just_written_is_not_remembered(tmp_path: Path) -> None:
    write(tmp_path, {"a.png": png(1)})
    _, known = open_source(tmp_path).content_hash()
    assert not known


def test_titles_and_order() -> None:
    assert safe_title("my maps (2)/x") == "my-maps-2-x"
    assert safe_title("..") == "collection"
    assert sorted(["10", "9", "b2", "b10", "a"], key=natural) == ["9", "10", "a", "b2", "b10"]


def test_every_kind_has_a_line_of_help_and_something_that_opens_it() -> None:
    for entry in SOURCES.values():
        assert entry.help and "\n" not in entry.help
        assert callable(entry.load())


@pytest.mark.skipif(not REAL, reason="LIMNER_TEST_DATA is not set")
@pytest.mark.parametrize(
    ("name", "count", "ignored"),
    [
        ("initials-64.zip", 8324, 1),
        ("battlemaps-750.zip", 393, 1),
        ("noto-emoji-128.zip", 1671, 2),
        ("fashion-mnist", 60_000, 0),
    ],
)
def test_real_collections(name: str, count: int, ignored: int) -> None:
    source = open_source(Path(REAL) / name)
    assert (len(source.entries), source.ignored) == (count, ignored)
    if name == "fashion-mnist":
        assert source.classes == idx.FASHION_CLASSES and source.entries[0].label == "Ankle boot"
