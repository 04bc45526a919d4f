"""Files of jobs and arrays."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from batchbridge.cli.manyjobs import Array, read
from batchbridge.defaults import joined
from batchbridge.errors import SpecError, UsageError

JOBS = """\
- command: echo one
  name: one
- command: [echo, two]
  memory: lots
- {command: exit 4, name: three, labels: {team: ml}}
- just text
- command: echo five
  nmae: five
"""


def test_refused_jobs_are_named_by_their_line_and_stop_no_other(bb, world):
    (world / "here" / "jobs.yaml").write_text(JOBS)
    result = bb("submit", "--file", "jobs.yaml", "--key", "k", code=125)
    assert len(result.stdout.split()) == 2
    refused = re.findall(r"error: (jobs.yaml:\d+): (.*)", result.stderr)
    assert [place for place, _ in refused] == ["jobs.yaml:6", "jobs.yaml:3", "jobs.yaml:7"]
    assert any("did you mean 'name'" in words for _, words in refused)
    listed = bb.json("list")
    assert {job["name"] for job in listed} == {"one", "three"}
    assert len({job["job_set"] for job in listed}) == 1


def test_the_same_file_and_key_again_make_nothing_twice(bb, world):
    (world / "here" / "jobs.yaml").write_text(JOBS)
    first = bb("submit", "--file", "jobs.yaml", "--key", "k", code=125)
    again = bb("submit", "--file", "jobs.yaml", "--key", "k", code=125)
    assert first.stdout == again.stdout
    assert len(bb.json("list")) == 2


@pytest.mark.parametrize("answered", [1, 9, 30])
def test_a_submit_that_was_killed_goes_on_under_its_key(bb, world, answered):
    lines = [json.dumps({"command": ["true"], "name": f"n{n}"}) for n in range(40)]
    (world / "here" / "jobs.jsonl").write_text("\n".join(lines))
    command = ("submit", "--file", "jobs.jsonl", "--key", "k")
    with subprocess.Popen(
        [sys.executable, "-m", "batchbridge", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        known = {process.stdout.readline().decode().strip() for _ in range(answered)}
        process.kill()
    refs = bb(*command).stdout.split()
    assert len(set(refs)) == 40
    assert known < set(refs)
    assert {job["ref"] for job in bb.json("list")} == set(refs)
    assert len({job["job_set"] for job in bb.json("list")}) == 1


def test_jobs_may_come_as_json_lines_from_stdin_and_flags_go_first(bb):
    lines = '{"command": ["sh", "-c", "echo $A $B"], "env": {"A": "1", "B": "1"}}\n\n{"oops"\n'
    result = bb("submit", "--file", "-", "--env", "B=2", "--wait", input=lines, code=125)
    assert "error: -:3: is no JSON" in result.stderr
    assert bb("logs", result.stdout.strip()).stdout == "1 2\n"


def test_an_array_tells_each_job_its_index(bb):
    result = bb(
        "submit",
        "--array",
        "3-5",
        "--name",
        "part",
        "--wait",
        "--command",
        "exit $(($BATCHBRIDGE_INDEX / 5))",
        code=1,
    )
    assert len(result.stdout.split()) == 3
    jobs = {job["name"]: job["exit_code"] for job in bb.json("list")}
    assert jobs == {"part-3": 0, "part-4": 0, "part-5": 1}


def test_the_jobs_of_an_array_without_a_name_are_told_apart_too(bb, world):
    bb("submit", "--array", "0-1", "--wait", "--", "true")
    assert {job["name"] for job in bb.json("list")} == {"true-0", "true-1"}
    (world / "here" / "batchbridge.toml").write_text('[job]\nname = "usual"\n')
    bb("submit", "--array", "0-1", "--wait", "--", "true")
    assert {"usual-0", "usual-1"} <= {job["name"] for job in bb.json("list")}


def test_a_bound_holds_and_submit_says_who_holds_it(bb, world):
    script = f"""
        mkdir -p {world}/running
        touch {world}/running/$BATCHBRIDGE_INDEX
        ls {world}/running | wc -l
        sleep 0.1
        rm {world}/running/$BATCHBRIDGE_INDEX"""
    result = bb(
        "submit",
        "--array",
        "0-6%2",
        "--max-cpu",
        "8",
        "--job-set",
        "s",
        "--wait",
        "--command",
        script,
    )
    assert "at most 2 at once: this client holds the bound" in result.stderr
    refs = result.stdout.split()
    assert len(refs) == 7
    assert max(int(bb("logs", ref).stdout) for ref in refs) <= 2


def test_without_a_bound_nothing_is_said_of_one(bb):
    assert "at once" not in bb("submit", "--array", "0-1", "--", "true").stderr


def test_a_dry_run_of_many_is_a_line_each(bb, world):
    (world / "here" / "jobs.yaml").write_text(JOBS)
    result = bb("submit", "--file", "jobs.yaml", "--dry-run", code=125)
    assert [json.loads(line)["command"][-1] for line in result.stdout.splitlines()] == [
        "echo one",
        "exit 4",
    ]
    assert bb.json("list") == []


def test_following_many_shows_the_states_of_all(bb):
    result = bb("submit", "--array", "0-1", "--follow", "--name", "p", "--", "true")
    assert {"p-0", "p-1"} == {
        line.split()[1] for line in result.stderr.splitlines() if "SUCCEEDED" in line
    }


def test_following_a_bounded_array_shows_all_as_they_come(bb):
    result = bb("submit", "--array", "0-2%1", "--follow", "--name", "p", "--", "true")
    ends = [line.split()[1] for line in result.stderr.splitlines() if "SUCCEEDED" in line]
    assert ends == ["p-0", "p-1", "p-2"]


def test_following_an_array_of_one_shows_its_output_too(bb):
    assert bb("submit", "--array", "7-7", "--follow", "--", "echo", "x").stdout == "x\n"


@pytest.mark.parametrize("text", ["5", "3-1", "0-3%0", "a-b", "0-3%", "-1-3"])
def test_what_is_no_array_is_refused(text):
    with pytest.raises(SpecError, match="such as 0-499"):
        Array.parse(text)


def test_an_array_is_its_indexes_and_its_bound():
    array = Array.parse("0-499%20")
    assert (array.indexes, array.bound) == (range(500), 20)
    assert Array.parse("7-7").bound is None


def test_the_common_key_is_text(bb):
    stderr = bb("submit", "--array", "0-1", "--key", "\udcff", "--", "true", code=2).stderr
    assert stderr == "error: key holds what is not UTF-8\n"


def test_an_array_of_more_jobs_than_a_machine_can_hold_is_refused():
    assert len(Array.parse("1-1000000").indexes) == 1_000_000
    with pytest.raises(SpecError, match="array: 0-1000000 has more than 1000000 indexes"):
        Array.parse("0-1000000")
    with pytest.raises(SpecError, match="is none, such as"):
        Array.parse(f"0-{'9' * 5000}")


def test_flags_are_joined_with_mappings_and_replace_the_rest():
    assert joined({"env": {"A": "1"}, "cpu": 1}, {"env": {"B": "2"}, "cpu": 2, "name": "n"}) == {
        "env": {"A": "1", "B": "2"},
        "cpu": 2,
        "name": "n",
    }


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("jobs.yaml", b"command: [true]\n", "no YAML list"),
        ("jobs.yaml", b"- command: [\n", r"jobs.yaml:\d: is no YAML"),
        ("jobs.yaml", b"- name: \xff\n", "cannot be read"),
        ("jobs.yaml", b"[]\n", "no jobs"),
        ("jobs.jsonl", b"\n\n", "no jobs"),
        ("jobs.txt", b"- command: [true]\n", "its name"),
        ("gone/jobs.yaml", None, "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_whole(tmp_path, name, content, words):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=words):
        read(str(path), {})


def test_a_line_of_json_ends_at_a_newline_alone(tmp_path):
    path = tmp_path / "jobs.jsonl"
    names = ["a\u2028b\u2029c\x85d", "e"]
    lines = [json.dumps({"command": ["x"], "name": n}, ensure_ascii=False) for n in names]
    path.write_bytes("\r\n".join(lines).encode())
    items = read(str(path), {})
    assert [item.where.rpartition(":")[2] for item in items] == ["1", "2"]
    assert [item.form["name"] for item in items] == names


def test_an_item_knows_its_line_in_a_file_with_comments_and_anchors(tmp_path):
    path = tmp_path / "jobs.yml"
    path.write_text(
        "# jobs\n- &a\n  command: [x]\n\n- <<: *a\n  name: b\n- !!python/name:os.system x\n"
    )
    items = read(str(path), {})
    assert [item.where.rpartition(":")[2] for item in items] == ["2", "5", "7"]
    assert items[1].form == {"command": ["x"], "name": "b"}
    assert isinstance(items[2].form, SpecError)
