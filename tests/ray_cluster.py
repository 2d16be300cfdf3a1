"""A Ray cluster of two nodes on this machine, in a process of its own: what it prints is nobody's business.

`python tests/ray_cluster.py` writes a line of JSON to file descriptor 3 when it is up, and again after each word that
it reads: `kill` ends the second node without a warning, `add` starts another one. It ends with its standard input.
"""

from __future__ import annotations

import json
import os
import sys

os.environ.update(
    RAY_USAGE_STATS_ENABLED="0", RAY_AUTH_MODE="disabled", RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0",  # loopback
    RAY_health_check_initial_delay_ms="0", RAY_health_check_period_ms="500", RAY_health_check_timeout_ms="2000",
    RAY_health_check_failure_threshold="5",
)  # fmt: skip

from ray._private.node import Node
from ray.cluster_utils import Cluster

MEMORY = 80 * 2**20


def raylet(node: Node) -> int:
    return int(node.all_processes["raylet"][0].process.pid)


def second_node(cluster: Cluster) -> Node:
    """Of two cores, and two GPUs if one believes it."""
    return cluster.add_node(num_cpus=2, num_gpus=2, object_store_memory=MEMORY)


def main() -> None:
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, "object_store_memory": MEMORY}
    )
    second = second_node(cluster)
    with open(3, "w", encoding="utf-8") as answers:
        while True:
            raylets = [raylet(node) for node in cluster.list_all_nodes()]
            print(json.dumps({"address": cluster.address, "raylets": raylets}), file=answers, flush=True)
            word = sys.stdin.readline().strip()
            if word == "kill":
                cluster.remove_node(second, allow_graceful=False)
            elif word == "add":
                second = second_node(cluster)
            else:
                break
    cluster.shutdown()


if __name__ == "__main__":
    main()
