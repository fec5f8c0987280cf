"""The recipe for GitHub Actions as docs/where-it-runs.md has it, run on machines that keep nothing, with a bucket.

It needs Meltano with its S3 backend, and a stand-in for S3, in an environment of their own: `make test-bucket` makes
that and names it in the variable BUCKET.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time

import pytest
import yaml

from braze_simulator import generated
from support.meltano_project import FOREIGN, Project
from support.paths import ROOT
from support.runs import KEY

BASH = shutil.which("bash") or "bash"
BUCKET = os.environ.get("BUCKET")

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(not BUCKET, reason="needs a bucket: `make test-bucket` brings it"),
]

PAGE = (ROOT / "docs" / "where-it-runs.md").read_text()
JOB = yaml.safe_load(re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[1])["jobs"]["load"]
POLICY = re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)[1]
*_, INSTALL, RUN = JOB["steps"]
STATE = "braze/prod:tap-braze-sms-to-target-postgres/state.json"
LOCK = STATE.replace("state.json", "lock")


class Bucket:
    """S3, with one bucket, and users by what they may do there."""

    def __init__(self, process):
        self.process = process
        self.about = json.loads(process.stdout.readline())

    def holds(self, **put):
        """Put objects; return all there are."""
        self.process.stdin.write(json.dumps(put) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def policy(*without):
    """Return what the page allows, without some of it."""
    allowed = json.loads(POLICY)
    for statement in allowed["Statement"]:
        actions = statement["Action"]
        statement["Action"] = [
            action for action in ([actions] if isinstance(actions, str) else actions) if action not in without
        ]
    # Of a request that deletes several objects, moto asks whether the bucket may be deleted from; S3, whether each may.
    allowed["Statement"][0]["Action"].append("s3:DeleteObject")
    return allowed


@pytest.fixture
def bucket():
    policies = {"job": policy(), "reader": policy("s3:PutObject")}
    command = [f"{BUCKET}/bin/python", ROOT / "tests" / "support" / "bucket.py", "your-bucket", json.dumps(policies)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as process:
        yield Bucket(process)
        process.stdin.close()


class Runner:
    """What a service runs jobs on: a machine for each, with the checkout and the job's variables."""

    def __init__(self, folder, bucket, secrets):
        self.folder = folder
        self.url = bucket.about["url"]
        self.secrets = secrets
        self.jobs = 0

    def __call__(self, simulator, *, failing=False, line="", **changed):
        """Run the step that loads, or only the lines with a word, with secrets or variables changed; return its log."""
        self.jobs += 1
        checkout = Project(self.folder / f"machine-{self.jobs}", {}).folder
        secrets = self.secrets | changed
        environment = {name: value for name, value in os.environ.items() if not FOREIGN.match(name)}
        environment |= {
            # A secret that is not there is an empty text.
            name: re.sub(r"\$\{\{ secrets\.(\w+) \}\}", lambda match: secrets.get(match[1], ""), str(value))
            for name, value in RUN["env"].items()
        }
        environment |= {name: value for name, value in changed.items() if name in RUN["env"]}
        # The simulator is no instance of Braze's, and the bucket none of Amazon's.
        del environment["TAP_BRAZE_SMS_INSTANCE"]
        environment |= {
            "TAP_BRAZE_SMS_API_URL": simulator.url,
            "AWS_ENDPOINT_URL": self.url,
            # Without a key, boto3 would look for one on the machine.
            "AWS_EC2_METADATA_DISABLED": "true",
            "HOME": str(checkout),
            "NO_COLOR": "1",
            "PATH": f"{BUCKET}/bin{os.pathsep}{os.environ['PATH']}",
        }
        command = "\n".join(text for text in RUN["run"].splitlines() if line in text.split() or not line)
        # The plugins are those that make installed.
        command = command.replace(" run braze", " run --no-install braze")
        done = subprocess.run(
            [BASH, "-e", "-c", command], cwd=checkout, env=environment, capture_output=True, text=True, check=False
        )
        log = done.stdout + done.stderr
        assert bool(done.returncode) is failing, log
        return log


@pytest.fixture
def run(tmp_path, bucket):
    key, secret = bucket.about["keys"]["job"]
    secrets = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "BRAZE_API_KEY": KEY}
    return Runner(tmp_path, bucket, secrets)


def test_the_recipe_installs_the_meltano_that_is_tested():
    (wanted,) = re.findall(r"^pip install '(.*)'$", INSTALL["run"])
    assert f"\n{wanted}==" in (ROOT / "requirements" / "bucket.txt").read_text()


def test_each_run_goes_on_from_the_state_in_the_bucket(run, bucket, simulator, database):
    def loaded():
        return database.ask("SELECT count(*) FROM braze.invalid_phone_numbers")

    simulator.add(generated(1_300, days=200))
    run(simulator, WAREHOUSE_URL=database.url)
    assert loaded() == [(1_300,)]
    assert bucket.holds().keys() == {STATE}

    simulator.detect(5, minutes=3)
    simulator.requests.clear()
    # What a run leaves behind that is killed while it writes its state.
    bucket.holds(**{LOCK: str(time.time())})
    run(simulator, WAREHOUSE_URL=database.url)
    assert len(simulator.requests) <= 2
    assert loaded() == [(1_305,)]
    assert bucket.holds().keys() == {STATE}


@pytest.mark.parametrize(
    "changed, said",
    [
        ({"AWS_SECRET_ACCESS_KEY": "another"}, "SignatureDoesNotMatch"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "Unable to locate credentials"),
        ({"MELTANO_STATE_BACKEND_URI": "s3://not-your-bucket/braze"}, "AccessDenied"),
    ],
    ids=["another key", "no key", "another bucket"],
)
def test_a_run_that_cannot_read_its_state_fails_and_reads_nothing(run, simulator, changed, said):
    simulator.add(generated(50, days=20))
    # By itself, too, without the line before it.
    log = run(simulator, failing=True, line="run", **changed)
    assert said in log
    assert "Failed to retrieve state" in log
    assert not simulator.requests


def test_a_key_that_may_not_write_the_state_is_noticed_before_anything_is_read(run, bucket, simulator):
    simulator.add(generated(50, days=20))
    key, secret = bucket.about["keys"]["reader"]
    log = run(simulator, failing=True, AWS_ACCESS_KEY_ID=key, AWS_SECRET_ACCESS_KEY=secret)
    assert "CreateMultipartUpload operation: Access Denied" in re.sub(r"[│\s]+", " ", log)
    assert not simulator.requests
    assert bucket.holds() == {}
