"""How fast a results folder with many records is read: through the index, against reading every JSON file.

python benchmarks/records.py [number of records, 10000]
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from bench.config import known_keys
from bench.runs.record import RunRecord, Status
from bench.runs.store import RECORD, Store


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as name:
        store = Store(name)
        store.prepare()
        generate(store, count)
        import pandas  # noqa: F401 (imported before the clock starts)
        import pyarrow.parquet  # noqa: F401

        scan = seconds(lambda: [json.loads(path.read_text()) for path in store.runs.glob(f"*/*/{RECORD}")])
        first = seconds(store.table)
        warm = min(seconds(store.table) for _ in range(3))
        size = (store.results / "index.parquet").stat().st_size
        assert len(store.table()) == count
    print(f"records              {count}")
    print(f"index file           {size / 1e6:.1f} MB")
    print(f"all JSON files       {scan:.2f} s  (parsed only)")
    print(f"table, no index      {first:.2f} s")
    print(f"table, index warm    {warm:.2f} s")
    print(f"ratio warm/JSON      {warm / scan:.2f}")


def generate(store: Store, count: int) -> None:
    """Records of realistic size: five seeds a configuration, all numbers filled."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    config = {key: f"value of {key}" for key in known_keys() if key.startswith(("data.name", "model.cell", "model.po"))}
    packages = {f"package-{number}": "1.2.3" for number in range(9)}
    for number in range(count):
        begun = start + timedelta(seconds=75 * number)
        record = RunRecord(
            run_id=f"{number:012x}", execution_id=f"{begun:%Y%m%dT%H%M%S}-{number:06x}", pair_key=f"{number % 5:012x}",
            arm=f"arm-{number // 5}", code_version="3beab38ae637", hardware_key="intel-xeon-2c-2t-cpu-1a2b3c",
            status=Status.FINISHED, started_at=begun.isoformat(), finished_at=begun.isoformat(), seed=number % 5,
            test_accuracy=0.9 + number % 97 / 1000, validation_accuracy=0.9, train_seconds=60 + number % 7,
            step_milliseconds_p50=12.5, parameters_total=2_000_000, packages=packages, kernel_operators=["aten::gru"],
            test_confusion=[[100, 1, 2, 3, 4]] * 5, config={**config, "model.hidden_size": 128},
        )  # fmt: skip
        folder = store.folder(record.run_id, record.execution_id)
        folder.mkdir(parents=True)
        (folder / RECORD).write_text(record.to_json(), encoding="utf-8")


def seconds(action: Callable[[], object]) -> float:
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
