"""Two clocks in two processes, one of them slow; what the first process reads alone, and over both.

usage: RANK=0|1 WORLD_SIZE=2 MASTER_ADDR=… MASTER_PORT=… python -m tests.clocks_of_two SECONDS_A_STEP
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict

import pytorch_lightning as pl
import torch
import torch.distributed as processes

from bench.data.batches import Batch
from bench.runs.clock import TrainingClock
from bench.runs.memory import peak_memory

STEPS = 4


def main() -> None:
    processes.init_process_group("gloo")
    trainer, module, clock = pl.Trainer(logger=False, enable_checkpointing=False), pl.LightningModule(), TrainingClock()
    ones = torch.ones(3, dtype=torch.int64)
    batch = Batch(torch.ones(3, 2, dtype=torch.int64), ones * 2, ones, ones, torch.ones(3))
    for step in range(STEPS):
        clock.on_train_batch_start(trainer, module, batch, step)
        time.sleep(float(sys.argv[1]))
        clock.on_train_batch_end(trainer, module, None, batch, step)
    clock.on_train_end(trainer, module)
    alone, together = clock.timing(), clock.timing(over_processes=True)
    assert alone is not None
    assert together is not None
    read = {"train_seconds", "step_milliseconds_p50", "samples_per_second"}
    steps = [{name: getattr(timing, name) for name in read} for timing in (alone, together)]
    contention = [asdict(clock.contention.reading(over_processes=both)) for both in (False, True)]
    own = peak_memory(module.device)
    memory = [asdict(peak) for peak in (own, own.over_processes())]
    print(json.dumps({"timing": steps, "contention": contention, "memory": memory}))
    processes.destroy_process_group()


if __name__ == "__main__":
    main()
