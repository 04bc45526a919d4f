"""What is packed, what is left or refused, and that what arrives is what was sent."""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchbridge.errors import ConfigError, SpecError, StoreError
from batchbridge.model import Files
from batchbridge.uploads import Archive, deliver, extract, pack, tarfile, unpack_script
from localdev.s3_server import s3_client


def write(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def names(archive: Archive) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(archive.data)) as tar:
        return [member.name for member in tar]


def inline(archive: Archive) -> Files:
    return deliver(archive, limit=archive.size, store=None)


# -- packing ---------------------------------------------------------------------------------

NAMES = st.text("abcxyz _-é.", min_size=1, max_size=8).filter(lambda s: s.strip(". ") != "")
TREES = st.dictionaries(
    st.lists(NAMES, min_size=1, max_size=3).map(tuple), st.binary(max_size=200), max_size=6
).filter(lambda tree: not any(a != b and b[: len(a)] == a for a in tree for b in tree))


@given(tree=TREES, order=st.randoms(use_true_random=False))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_same_files_make_the_same_archive(tmp_path_factory, tree, order):
    archives = []
    for when in (0, 1_700_000_000):
        root = tmp_path_factory.mktemp("tree")
        items = list(tree.items())
        order.shuffle(items)
        for parts, data in items:
            path = root.joinpath(*parts)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            os.utime(path, (when, when))
        archives.append(pack(["."], root=root))
    assert archives[0] == archives[1]
    target = tmp_path_factory.mktemp("target")
    extract(inline(archives[0]), target)
    assert {p: target.joinpath(*p).read_bytes() for p in tree} == tree


def test_the_digest_is_that_of_the_bytes(tmp_path):
    archive = pack(["a"], root=write(tmp_path, {"a": "x"}))
    assert archive.digest == sha256(archive.data).hexdigest()
    assert archive.size == len(archive.data)


def test_modes_are_reduced_to_whether_it_can_be_executed(tmp_path):
    write(tmp_path, {"run": "", "data": ""})
    (tmp_path / "run").chmod(0o710)
    (tmp_path / "data").chmod(0o666)
    with tarfile.open(fileobj=io.BytesIO(pack(["."], root=tmp_path).data)) as tar:
        facts = {m.name: (m.mode, m.mtime, m.uid, m.gid, m.uname, m.gname) for m in tar}
    assert facts == {"run": (0o755, 0, 0, 0, "", ""), "data": (0o644, 0, 0, 0, "", "")}


def test_paths_below_the_root_keep_their_place_and_others_their_last_name(tmp_path):
    write(tmp_path, {"here/src/pkg/a.py": "", "there/lib/b.py": "", "c.txt": ""})
    paths = ["src/pkg/a.py", "../there/lib", str(tmp_path / "c.txt")]
    archive = pack(paths, root=tmp_path / "here")
    assert names(archive) == ["c.txt", "lib", "lib/b.py", "src/pkg/a.py"]


def test_a_parent_directory_lands_under_its_own_name(tmp_path):
    write(tmp_path, {"project/a.py": "", "project/here/b.py": ""})
    archive = pack([".."], root=tmp_path / "project" / "here")
    assert names(archive) == ["project", "project/a.py", "project/here", "project/here/b.py"]


def test_naming_a_file_twice_is_fine_and_two_files_of_one_name_are_not(tmp_path):
    write(tmp_path, {"here/lib/a.py": "", "there/lib/a.py": ""})
    assert names(pack(["lib", "./lib/a.py"], root=tmp_path / "here")) == ["lib", "lib/a.py"]
    with pytest.raises(SpecError, match="would both become lib"):
        pack(["lib", "../there/lib"], root=tmp_path / "here")


def test_a_name_that_is_not_utf8_and_a_long_one_arrive(tmp_path):
    odd = os.fsdecode(b"caf\xe9")
    long = "x" * 200
    (tmp_path / "from").mkdir()
    write(tmp_path / "from", {odd: "1", f"{long}/{long}": "2"})
    extract(inline(pack(["."], root=tmp_path / "from")), tmp_path / "to")
    assert (tmp_path / "to" / odd).read_text() == "1"
    assert (tmp_path / "to" / long / long).read_text() == "2"


@pytest.mark.parametrize("path", ["missing", "dir/missing", "../missing"])
def test_a_missing_path_is_named(tmp_path, path):
    with pytest.raises(SpecError, match=f"{path} is not there") as caught:
        pack([path], root=tmp_path)
    assert caught.value.path == "upload"


def test_a_pipe_and_a_socket_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SpecError, match="pipe is a pipe"):
        pack(["."], root=tmp_path)
    (tmp_path / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(tmp_path / "s"))
        with pytest.raises(SpecError, match="s is a pipe, a socket"):
            pack(["."], root=tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_cannot_be_read_is_a_store_error(tmp_path):
    write(tmp_path, {"a": ""})
    (tmp_path / "a").chmod(0)
    with pytest.raises(StoreError, match="cannot pack"):
        pack(["a"], root=tmp_path)


# -- what stays behind -----------------------------------------------------------------------


def test_an_ignore_file_governs_the_directory_it_stands_in(tmp_path):
    write(
        tmp_path,
        {
            ".batchbridgeignore": "*.log\n/build/\n",
            "a.log": "",
            "a.py": "",
            "build/x": "",
            "sub/.batchbridgeignore": "!keep.log\n/b.py\n",
            "sub/keep.log": "",
            "sub/other.log": "",
            "sub/b.py": "",
            "sub/build/y": "",
        },
    )
    everything = [n for n in names(pack(["."], root=tmp_path)) if not n.endswith("ignore")]
    assert everything == ["a.py", "sub", "sub/build", "sub/build/y", "sub/keep.log"]
    below = [n for n in names(pack(["sub"], root=tmp_path)) if not n.endswith("ignore")]
    assert below == ["sub", "sub/build", "sub/build/y", "sub/keep.log"]


def test_an_ignore_file_speaks_for_a_directory_from_elsewhere_too(tmp_path):
    write(tmp_path, {"lib/.batchbridgeignore": "secret*", "lib/secret.key": "", "lib/a.py": ""})
    (tmp_path / "here").mkdir()
    assert "lib/secret.key" not in names(pack(["../lib"], root=tmp_path / "here"))


def test_repositories_caches_and_environments_stay_behind_unless_asked_for(tmp_path):
    write(
        tmp_path,
        {".git/config": "", "a/__pycache__/m.pyc": "", ".venv/bin/python": "", "a/m.py": ""},
    )
    assert names(pack(["."], root=tmp_path)) == ["a", "a/m.py"]
    write(tmp_path, {".batchbridgeignore": "!.venv"})
    assert ".venv/bin/python" in names(pack(["."], root=tmp_path))


def test_an_ignore_file_with_a_line_that_is_no_pattern_is_named(tmp_path):
    write(tmp_path, {".batchbridgeignore": "*.log\n!\n", "a": ""})
    with pytest.raises(SpecError, match=r"\.batchbridgeignore cannot be read: .*'!'"):
        pack(["a"], root=tmp_path)


def test_naming_what_is_ignored_is_refused(tmp_path):
    write(tmp_path, {".batchbridgeignore": "/build/\n", "build/out/x": ""})
    with pytest.raises(SpecError, match="build/out is ignored") as caught:
        pack(["build/out"], root=tmp_path)
    assert ".batchbridgeignore" in caught.value.remedy


# -- links -----------------------------------------------------------------------------------


def test_a_link_that_stays_inside_is_kept(tmp_path):
    write(tmp_path, {"src/data/v2/x": "1"})
    (tmp_path / "src/latest").symlink_to("data/v2")
    extract(inline(pack(["src"], root=tmp_path)), tmp_path / "to")
    assert (tmp_path / "to/src/latest").readlink() == Path("data/v2")
    assert (tmp_path / "to/src/latest/x").read_text() == "1"


@pytest.mark.parametrize("target", ["../secret", "/etc/passwd", "../../..", "sub/../../secret"])
def test_a_link_that_leads_out_is_refused_by_name(tmp_path, target):
    write(tmp_path, {"src/sub/x": "", "secret": ""})
    (tmp_path / "src/link").symlink_to(target)
    with pytest.raises(SpecError, match=f"src/link is a link that leads out, to {target}"):
        pack(["src"], root=tmp_path)


def test_a_link_may_lead_to_another_named_path(tmp_path):
    write(tmp_path, {"src/x": "", "lib/y": ""})
    (tmp_path / "src/lib").symlink_to("../lib")
    assert "src/lib" in names(pack(["src", "lib"], root=tmp_path))
    with pytest.raises(SpecError, match="leads out"):
        pack(["src"], root=tmp_path)


def test_a_named_link_travels_as_what_it_leads_to(tmp_path):
    write(tmp_path, {"here/x": "", "elsewhere/data/y": "1"})
    (tmp_path / "here/data").symlink_to(tmp_path / "elsewhere/data")
    extract(inline(pack(["data"], root=tmp_path / "here")), tmp_path / "to")
    assert (tmp_path / "to/data/y").read_text() == "1"


# -- the way ---------------------------------------------------------------------------------


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return pack(["run.sh"], root=write(tmp_path / "from", {"run.sh": "echo hello\n"}))


def test_what_fits_travels_inside(archive):
    files = deliver(archive, limit=archive.size, store="/not/there")
    assert files == Files(archive.digest, archive.size, data=archive.data)


@pytest.mark.parametrize("limit", [None, 0, 1])
def test_what_does_not_fit_and_has_no_store_is_refused(archive, limit):
    with pytest.raises(SpecError, match=f"{archive.size} bytes packed, {limit or 0} fit") as caught:
        deliver(archive, limit=limit, store=None)
    assert "s3://" in caught.value.remedy


def test_a_directory_keeps_it_once_under_its_digest(archive, tmp_path):
    store = tmp_path / "shared dir"
    store.mkdir()
    first = deliver(archive, limit=0, store=str(store))
    [file] = store.iterdir()
    written = file.stat()
    assert deliver(archive, limit=0, store=str(store)) == first
    assert (first.location, first.data) == (file.as_uri(), None)
    assert file.name == f"{archive.digest}.tar.gz"
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (written.st_ino, written.st_mtime_ns)
    extract(first, tmp_path / "to")
    assert (tmp_path / "to/run.sh").read_text() == "echo hello\n"


def test_a_directory_that_is_not_there_is_not_made(archive, tmp_path):
    with pytest.raises(StoreError, match="cannot write to"):
        deliver(archive, limit=0, store=str(tmp_path / "unmounted"))


def test_a_write_that_fails_leaves_nothing_behind(archive, tmp_path, monkeypatch):
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        deliver(archive, limit=0, store=str(tmp_path))
    assert not list(tmp_path.glob("*upload*")) + list(tmp_path.glob("*.gz"))


@pytest.mark.parametrize("store", ["s3://", "s3:///prefix", "relative/dir", "gs://bucket"])
def test_a_store_that_is_none_is_refused(archive, store):
    with pytest.raises(ConfigError, match="is no store"):
        deliver(archive, limit=0, store=store)


def test_without_boto3_the_extra_is_named(archive, monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(ConfigError, match="needs boto3") as caught:
        deliver(archive, limit=0, store="s3://bucket")
    assert "batchbridge[s3]" in caught.value.remedy


def test_s3_is_sent_it_once_under_its_digest(archive, s3):
    where = {"Bucket": s3.bucket, "Key": f"once/{archive.digest}.tar.gz"}
    deliver(archive, limit=0, store=f"s3://{s3.bucket}/once")
    assert s3_client(s3).get_object(**where)["Body"].read() == archive.data
    s3_client(s3).put_object(**where, Body=b"mark")
    deliver(archive, limit=0, store=f"s3://{s3.bucket}/once/")
    assert s3_client(s3).get_object(**where)["Body"].read() == b"mark"


def test_whoever_has_the_address_in_s3_can_read_it(archive, s3, tmp_path, monkeypatch):
    first = deliver(archive, limit=0, store=f"s3://{s3.bucket}/team/uploads/")
    assert "Expires=604800" in str(first.location)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name)
    extract(first, tmp_path / "to")
    assert (tmp_path / "to/run.sh").read_text() == "echo hello\n"
    assert run_script(first, tmp_path).stdout == "then\necho hello\n"


def test_what_s3_refuses_is_said_in_its_words(archive, s3):
    with pytest.raises(StoreError, match="s3://no-such-bucket"):
        deliver(archive, limit=0, store="s3://no-such-bucket/x")


def test_without_credentials_nothing_is_stored(archive, s3, monkeypatch, tmp_path):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StoreError, match="credentials"):
        deliver(archive, limit=0, store=f"s3://{s3.bucket}")


# -- the other end ---------------------------------------------------------------------------


def hostile(name: str, **fields: object) -> Files:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        member = tarfile.TarInfo(name)
        for field, value in fields.items():
            setattr(member, field, value)
        tar.addfile(member, io.BytesIO(b""))
    return Files(sha256(buffer.getvalue()).hexdigest(), len(buffer.getvalue()), buffer.getvalue())


@pytest.mark.parametrize(
    "files",
    [
        hostile("../escaped"),
        hostile("a/../../escaped"),
        hostile("link", type=tarfile.SYMTYPE, linkname="/etc"),
        hostile("link", type=tarfile.SYMTYPE, linkname="../.."),
        hostile("hard", type=tarfile.LNKTYPE, linkname="../escaped"),
        hostile("device", type=tarfile.CHRTYPE),
    ],
)
def test_an_archive_cannot_reach_out_of_its_target(tmp_path, files):
    with pytest.raises(StoreError, match="cannot unpack"):
        extract(files, tmp_path / "deep/target")
    assert not list(tmp_path.rglob("escaped"))


def test_another_archive_than_the_one_stored_is_refused(archive, tmp_path):
    swapped = Files("0" * 64, archive.size, data=archive.data)
    with pytest.raises(StoreError, match="not the one that was stored"):
        extract(swapped, tmp_path / "to")


def test_an_address_that_does_not_answer_is_a_store_error(archive, tmp_path):
    gone = Files(archive.digest, archive.size, location=(tmp_path / "gone").as_uri())
    with pytest.raises(StoreError, match="cannot unpack"):
        extract(gone, tmp_path / "to")


# -- the script ------------------------------------------------------------------------------


def run_script(
    files: Files, cwd: Path, target: str = "work", path: str | None = None
) -> subprocess.CompletedProcess[str]:
    script = unpack_script(files, target) + "echo then; cat work/run.sh\n"
    env = {"PATH": path or os.environ["PATH"]}
    return subprocess.run(
        ["/bin/sh"], input=script, cwd=cwd, env=env, capture_output=True, text=True, timeout=60
    )


def only(directory: Path, *tools: str) -> str:
    """A PATH with these tools alone, and what any image has."""
    directory.mkdir()
    for tool in (*tools, "mkdir", "rm", "cat", "gzip"):
        found = shutil.which(tool)
        if found is None:
            pytest.skip(f"{tool} is not installed")
        target = sys.executable if tool == "python3" else found
        (directory / tool).write_text(f'#!/bin/sh\nexec {target} "$@"\n')
        (directory / tool).chmod(0o755)
    return str(directory)


INLINE_TOOLS = [
    ("base64", "sha256sum", "tar"),
    ("openssl", "tar"),
    ("python3",),
    ("base64", "tar"),
    ("base64", "shasum", "tar"),
]


@pytest.mark.parametrize("tools", INLINE_TOOLS, ids="-".join)
def test_the_script_unpacks_with_whatever_is_there(archive, tmp_path, tools):
    done = run_script(inline(archive), tmp_path, path=only(tmp_path / "bin", *tools))
    assert (done.returncode, done.stdout, done.stderr) == (0, "then\necho hello\n", "")
    assert [p.name for p in (tmp_path / "work").iterdir()] == ["run.sh"]


@pytest.mark.parametrize("tool", ["python3", "curl", "wget"])
def test_the_script_fetches_with_whatever_is_there(archive, tmp_path, httpserver, tool):
    httpserver.expect_request("/x", query_string="sig=a%20b").respond_with_data(archive.data)
    location = httpserver.url_for("/x?sig=a%20b")
    files = Files(archive.digest, archive.size, location=location)
    done = run_script(files, tmp_path, path=only(tmp_path / "bin", tool, "sha256sum", "tar"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "then\necho hello\n", "")


def test_the_script_reads_a_shared_directory(archive, tmp_path):
    store = tmp_path / "it's shared"
    store.mkdir()
    done = run_script(deliver(archive, limit=0, store=str(store)), tmp_path)
    assert (done.returncode, done.stdout) == (0, "then\necho hello\n")


def test_the_target_is_expanded_where_the_job_runs(archive, tmp_path):
    done = run_script(inline(archive), tmp_path, target='"$PWD/work"')
    assert done.returncode == 0


FAILURES = [
    (("sha256sum", "tar"), "neither base64 nor openssl nor python3"),
    (("base64", "sha256sum"), "neither tar nor python3"),
]


@pytest.mark.parametrize(("tools", "words"), FAILURES)
def test_the_script_says_which_tool_is_missing(archive, tmp_path, tools, words):
    done = run_script(inline(archive), tmp_path, path=only(tmp_path / "bin", *tools))
    assert (done.returncode, done.stdout) == (125, "")
    assert words in done.stderr


def test_the_script_says_that_nothing_can_download(archive, tmp_path):
    files = Files(archive.digest, archive.size, location="https://store.example/x")
    done = run_script(files, tmp_path, path=only(tmp_path / "bin", "tar"))
    assert done.returncode == 125
    assert "neither python3 nor curl nor wget" in done.stderr


def test_the_script_checks_the_digest(archive, tmp_path):
    done = run_script(Files("0" * 64, archive.size, data=archive.data), tmp_path)
    assert (done.returncode, done.stdout) == (125, "")
    assert f"their sha256 is {archive.digest} and should be {'0' * 64}" in done.stderr


def test_the_script_says_that_the_target_cannot_be_written(archive, tmp_path):
    (tmp_path / "file").write_text("")
    done = run_script(inline(archive), tmp_path, target="file/work")
    assert done.returncode == 125
    assert "file/work cannot be written to" in done.stderr
