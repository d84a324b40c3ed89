"""A server that speaks the protocol of S3 over HTTP, and Amazon's own client for it.

For what does not depend on the protocol, there is storage in memory, which takes a hundredth of the
time.
"""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer
from obstore import store as stores

BUCKET = "adapters"


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Object storage for one test, in which each URL is a bucket of its own."""
    buckets: dict[str, stores.MemoryStore] = {}

    def bucket(url: str, **settings: Any) -> stores.MemoryStore:
        return buckets.setdefault(url, stores.MemoryStore())

    monkeypatch.setattr(stores, "from_url", bucket)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def s3_client(endpoint: str) -> Iterator["boto3.client"]:
    """Amazon's own client, which takes its time to read what it can ask."""
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    yield client
    client.close()


@pytest.fixture
def s3(
    endpoint: str, s3_client: "boto3.client", monkeypatch: pytest.MonkeyPatch
) -> Iterator["boto3.client"]:
    """Amazon's own client, on a bucket that is empty for each test."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": "true",
    }.items():
        monkeypatch.setenv(name, value)
    s3_client.create_bucket(Bucket=BUCKET)
    yield s3_client
    while items := s3_client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        keys = [{"Key": item["Key"]} for item in items]
        s3_client.delete_objects(Bucket=BUCKET, Delete={"Objects": keys})
    s3_client.delete_bucket(Bucket=BUCKET)
