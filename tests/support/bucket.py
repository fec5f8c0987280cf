"""A bucket in an S3 of this process's own, for as long as its input stays open.

It runs in the environment that `make test-bucket` makes, not in that of the tests, which has no boto3. Its argument
has policies by the names of users, as JSON. It says where it is and the users' keys. Then it puts the objects that
each line of its input has, and answers with all objects that there are.
"""

from __future__ import annotations

import json
import sys

import boto3
from moto import settings
from moto.server import ThreadedMotoServer

EVERYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


def say(answer: dict) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main(bucket: str, policies: dict[str, dict]) -> None:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()

    def client(service: str, key: str, secret: str):
        return boto3.client(
            service,
            endpoint_url=f"http://{host}:{port}",
            region_name="us-east-1",
            aws_access_key_id=key,
            aws_secret_access_key=secret,
        )

    client("s3", "anyone", "anyone").create_bucket(Bucket=bucket)
    iam = client("iam", "anyone", "anyone")
    keys = {}
    for name, policy in {"owner": EVERYTHING, **policies}.items():
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=json.dumps(policy))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        keys[name] = (key["AccessKeyId"], key["SecretAccessKey"])
    # From here on, signatures and policies count.
    settings.INITIAL_NO_AUTH_ACTION_COUNT = 0

    s3 = client("s3", *keys["owner"])
    say({"url": f"http://{host}:{port}", "keys": keys})
    for line in sys.stdin:
        for path, text in json.loads(line).items():
            s3.put_object(Bucket=bucket, Key=path, Body=text.encode())
        paths = [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]
        say({path: s3.get_object(Bucket=bucket, Key=path)["Body"].read().decode() for path in paths})


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
