"""The project under Meltano, as its users run it: `meltano run`, with failures on either side of the pipe."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
import signal

import pytest
import yaml

from braze_simulator import Simulator, digits, seeded
from support.meltano_project import variables
from support.paths import ROOT
from support.runs import KEY, detections

pytestmark = pytest.mark.timeout(240)

DAYS = 60
RUN = ("run", "tap-braze-sms", "target-postgres")
STATE_ID = "dev:tap-braze-sms-to-target-postgres"


@pytest.fixture
def braze():
    with Simulator(seeded(3000, days=DAYS), api_key=KEY) as serving:
        yield serving


@pytest.fixture
def project(tmp_path, braze, database, meltano_project):
    """A project whose state lies in a file, read without another start of Meltano."""
    state = {"MELTANO_STATE_BACKEND_URI": f"file://{tmp_path / 'state'}"}
    return meltano_project(variables(braze, days=DAYS) | {"TARGET_POSTGRES_SQLALCHEMY_URL": database.url} | state)


def saved_bookmark(tmp_path, state_id=STATE_ID):
    (file,) = (path for path in (tmp_path / "state").rglob("state.json") if path.parent.name == state_id)
    state = json.loads(file.read_text())["completed"]["singer_state"]
    return state["bookmarks"]["invalid_phone_numbers"]["replication_key_value"]


def started_and_stuck(project, braze):
    """Start a run, and let Braze stop answering in the middle of it."""
    braze.behaviour.change({"fault_rate": 0.0, "latency": 0.1})
    before = len(braze.requests)
    run = project.start(*RUN)
    run.until(lambda: len(braze.requests) > before + 6)
    braze.behaviour.change({"fault_rate": 1.0, "fault_kinds": ["hang"], "latency": 0.0})
    answered = len(braze.requests)
    run.until(lambda: len(braze.requests) > answered)
    return run


def test_a_schedule_loads_the_list_once_and_then_what_came(project, braze, tmp_path, database):
    # Or, in the first hour of a day, the end of the day before is read again.
    project.env(TAP_BRAZE_SMS_LOOKBACK_MINUTES=0)
    project("schedule", "run", "hourly-braze-postgres")
    assert database.rows() == detections(braze)
    bookmark = saved_bookmark(tmp_path)

    braze.detect(40, minutes=4)
    braze.requests.clear()
    log = project(*RUN)
    assert database.rows() == detections(braze)
    assert len(braze.requests) <= 2
    assert "Read 40 records" in log
    assert saved_bookmark(tmp_path) >= bookmark

    log = project("run", "--full-refresh", *RUN[1:])
    assert database.rows() == detections(braze)
    assert "Read 3040 records" in log


def test_runs_that_are_cut_short_fail_and_the_next_completes_the_table(project, braze, database):
    project.env(TAP_BRAZE_SMS_WINDOW_DAYS=5, TAP_BRAZE_SMS_PAGE_SIZE=50, TAP_BRAZE_SMS_MAX_PARALLEL_REQUESTS=2)

    run = started_and_stuck(project, braze)
    run.plugin("tap-braze-sms").send_signal(signal.SIGTERM)
    assert "Extractor failed" in run.ends(failing=True)

    run = started_and_stuck(project, braze)
    run.plugin("target-postgres").send_signal(signal.SIGKILL)
    assert "Loader failed" in run.ends(failing=True)

    started_and_stuck(project, braze).kill()

    braze.behaviour.fault_rate = 0.0
    # Or Meltano takes the dead run for one under way, for five minutes.
    project("run", "--force", *RUN[1:])
    assert database.rows() == detections(braze)


def test_a_backfill_in_runs_of_a_few_seconds_completes_the_table_and_reads_little_twice(project, database):
    # Some seconds a day, so that several runs share the work, and no more runs than days on the slowest machine.
    with Simulator(seeded(900, days=3), api_key=KEY, latency=0.25) as slow:
        project.env(
            TAP_BRAZE_SMS_API_URL=slow.url,
            TAP_BRAZE_SMS_START_DATE=dt.datetime.now(dt.timezone.utc).date() - dt.timedelta(days=4),
            TAP_BRAZE_SMS_MAX_RUN_MINUTES=0.07,
            TAP_BRAZE_SMS_WINDOW_DAYS=1,
            TAP_BRAZE_SMS_PAGE_SIZE=50,
            TAP_BRAZE_SMS_MAX_PARALLEL_REQUESTS=1,
        )
        logs = []
        while not logs or "max_run_minutes is over" in logs[-1]:
            logs.append(project(*RUN))
        assert len(logs) > 1
        assert database.rows() == detections(slow)
    read = [int(re.search(r"Read (\d+) records? detected", log)[1]) for log in logs]
    assert sum(read) < 1.25 * 900


def test_a_refused_key_fails_the_run_with_one_line_that_says_what_to_do(project):
    project.env(TAP_BRAZE_SMS_API_KEY="wrong-key")
    log = project.fails(*RUN)
    (line,) = (line for line in log.splitlines() if "answered 401" in line)
    assert "check api_key" in line
    assert "Traceback" not in log
    assert "wrong-key" not in log


def test_two_workspaces_share_a_table(project, braze, database):
    """Each is a plugin of its own, with a state of its own."""
    with Simulator(seeded(500, days=DAYS, seed=1), api_key=KEY) as other:
        file = project.folder / "meltano.yml"
        content = yaml.safe_load(file.read_text())
        content["plugins"]["extractors"] += [
            {
                "name": f"tap-braze-sms--{name}",
                "inherit_from": "tap-braze-sms",
                "config": {
                    "api_url": serving.url,
                    "stream_maps": {
                        "invalid_phone_numbers": {
                            "workspace": f"'{name}'",
                            "__key_properties__": ["workspace", "phone", "invalid_detected_at"],
                        }
                    },
                },
            }
            for name, serving in {"eu": braze, "us": other}.items()
        ]
        file.write_text(yaml.safe_dump(content))
        project("run", "tap-braze-sms--eu", "target-postgres", "tap-braze-sms--us", "target-postgres")
        expected = [(name, *each) for name, listed in (("eu", braze), ("us", other)) for each in detections(listed)]
        assert database.rows("workspace, phone, invalid_detected_at") == expected


def test_numbers_are_hashed_as_the_security_page_says_in_jobs_that_select_other_streams_too(project, braze, database):
    """The map in YAML, which keeps no null, beside one of lookups; the salt from .env; beside the URL an empty name."""
    file = project.folder / "meltano.yml"
    content = yaml.safe_load(file.read_text())
    (map_,) = [
        json.loads(block) for block in re.findall(r"```json\n(.*?)```", (ROOT / "SECURITY.md").read_text(), re.DOTALL)
    ]
    map_["stream_maps"]["phone_number_status"] = {"workspace": "'shop'"}
    content["plugins"]["extractors"][0].setdefault("config", {}).update(map_)
    file.write_text(yaml.safe_dump(content))
    project.env(TAP_BRAZE_SMS_STREAM_MAP_CONFIG='{"salt": "made-up"}', TAP_BRAZE_SMS_INSTANCE="")
    verified = [entry.phone for entry in braze.entries()[:30]]
    (project.folder / "output" / "verified.csv").write_text("\n".join(["phone", *verified]))

    project("run", "verified-to-braze", "tap-braze-sms--full", "target-postgres")

    assert {digits(phone) for post in braze.removal_posts for phone in post} == {digits(phone) for phone in verified}
    columns = "FROM information_schema.columns WHERE table_name = 'invalid_phone_numbers' AND column_name !~ '^_sdc'"
    assert sorted(database.ask(f"SELECT column_name {columns}")) == [
        ("invalid_detected_at",),
        ("phone_hash",),
        ("reason",),
    ]
    hashed = [hashlib.sha256(b"made-up" + digits(entry.phone).encode()).hexdigest() for entry in braze.entries()]
    assert [value for (value,) in database.rows("phone_hash")] == sorted(hashed)


def test_verified_numbers_are_handed_back_and_no_others(project, braze):
    looked_up, *verified = (entry.phone for entry in braze.entries()[:71])
    unknown = "+15005550006"
    lines = ["phone,by", *(f"{phone},ann" for phone in [*verified, unknown])]
    (project.folder / "output" / "verified.csv").write_text("\n".join(lines))
    daily = project.folder / "daily.txt"
    daily.write_text(looked_up)
    project.env(TAP_BRAZE_SMS_PHONE_NUMBERS=json.dumps([looked_up]), TAP_BRAZE_SMS_PHONE_NUMBERS_FILE=daily)

    # Of a mistyped flag, Meltano's own kind for it would make false, and of the dry run one that is meant.
    project.env(TARGET_BRAZE_SMS_DRY_RUN="ture")
    assert "dry_run: got 'ture', takes true or false" in project.fails("run", "verified-to-braze")
    assert braze.removal_posts == []

    project.env(TARGET_BRAZE_SMS_DRY_RUN="false")
    project("run", "verified-to-braze")

    assert [len(post) for post in braze.removal_posts] == [50, 50, 40]
    handed = {digits(phone) for post in braze.removal_posts for phone in post}
    assert handed == {digits(phone) for phone in verified}
    assert not handed & {digits(entry.phone) for entry in braze.entries()}


def test_meltano_invokes_the_check(project):
    report = project("invoke", "--no-install", "tap-braze-sms:check")
    assert "key and permission            accepted" in report
    assert "Nothing that was seen differs from Braze's documents." in report
