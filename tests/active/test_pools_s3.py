"""Pools in S3, played by a server on this machine."""

import os

import numpy as np
import pyarrow as pa
import pytest
import s3fs
from helpers.command_line import NAMES, only_json, run
from moto import server
from pyarrow import csv, parquet

import fasttangent as ft


@pytest.fixture(scope="module")
def endpoint():
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "of-nobody")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        running.start()
        host, port = running.get_host_and_port()
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        yield f"http://{host}:{port}"
        running.stop()


@pytest.fixture
def bucket(endpoint):
    """A bucket with 1,000 rows in files of two kinds, and the rows."""
    store = s3fs.S3FileSystem(endpoint_url=endpoint, skip_instance_cache=True)
    name = f"pool-{os.getpid()}-{np.random.default_rng().integers(10**9)}"
    store.mkdir(name)
    rows = np.random.default_rng(0).normal(size=(1000, 3))
    for i, (low, high) in enumerate([(0, 10), (10, 400), (400, 1000)]):
        columns = {key: rows[low:high, j] for j, key in enumerate(NAMES)}
        table = pa.table({"id": np.arange(low, high), **columns})
        with store.open(f"{name}/part/p{i}.{'csv' if i == 1 else 'parquet'}", "wb") as target:
            if i == 1:
                csv.write_csv(table, target)
            else:
                parquet.write_table(table, target, row_group_size=100)
    return f"s3://{name}/part", rows


@pytest.mark.parametrize("pattern", ["", "/", "/p*", "/p[0-9].*"])
def test_rows_and_picks(bucket, endpoint, trained, plain_data, pattern):
    url, rows = bucket
    pool = ft.Pool(url + pattern, id="id", storage_options={"endpoint_url": endpoint})
    model = ft.load(trained / "m.npz")
    assert len(pool) == 1000
    assert np.concatenate([block for _, block in pool.of(model).chunks()]).tobytes() == rows.tobytes()
    found = ft.select(model, pool, 9, labeled=plain_data[0])
    assert found.indices.tolist() == ft.select(model, rows, 9, labeled=plain_data[0]).indices.tolist()
    assert pool.identify(found.indices)["id"].tolist() == found.indices.tolist()


def test_scores_are_resumed(bucket, trained, tmp_path):
    url, rows = bucket
    command = [
        "score",
        trained / "m.npz",
        f"{url}/*",
        "-o",
        tmp_path / "s",
        "--id",
        "id",
        "--resume",
        "--json",
    ]
    assert only_json(run(*command).stdout)["files"] == 3
    assert only_json(run(*command).stdout)["skipped_files"] == 3
    expected, found = ft.load(trained / "m.npz").curiosity(rows), {}
    for path in (tmp_path / "s").iterdir():
        table = parquet.read_table(path).to_pydict()
        found |= dict(zip(map(int, table["id"]), table["curiosity"], strict=True))
    assert [found[i] for i in range(1000)] == expected.tolist()


def test_what_is_not_there_is_named(bucket, endpoint):
    url, _ = bucket
    with pytest.raises(FileNotFoundError, match="holds no table"):
        ft.Pool(f"{url}/x*", storage_options={"endpoint_url": endpoint})
    with pytest.raises(FileNotFoundError):
        ft.Pool(f"{url}/x.parquet", storage_options={"endpoint_url": endpoint})
