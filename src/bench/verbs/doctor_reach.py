"""`doctor`: whether the dataset hub and W&B can be reached, and what runs would do. Nothing of an account is shown."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from bench.config import WandbConfig
from bench.data.hub import endpoint
from bench.network import why_unreachable
from bench.tracking.wandb_run import wandb_mode
from bench.verbs.doctor_findings import Finding

_GROUP = "network"


def hub() -> list[Finding]:
    """The dataset hub."""
    host = urlsplit(endpoint()).netloc
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        advice = "no download; type: unset HF_HUB_OFFLINE"
        return [Finding(group=_GROUP, name="hub", value="HF_HUB_OFFLINE is set", state="remark", advice=advice)]
    reason = why_unreachable(endpoint())
    if reason is None:
        return [Finding(group=_GROUP, name="hub", value=f"{host} answers")]
    advice = "corpora on this machine still work; others: set BENCH_DATA=DIR, or a proxy with HTTPS_PROXY"
    value = f"{host} cannot be reached ({reason})"
    return [Finding(group=_GROUP, name="hub", value=value, state="remark", advice=advice)]


def wandb() -> list[Finding]:
    """W&B: online or offline, and if online, whether its server answers."""
    mode = wandb_mode(WandbConfig())
    if mode == "offline":
        if os.environ.get("WANDB_MODE") == "offline":
            return [Finding(group=_GROUP, name="W&B", value="offline: WANDB_MODE=offline")]
        advice = "runs are kept in results/wandb; to upload as they go, type: wandb login"
        return [Finding(group=_GROUP, name="W&B", value="offline: not logged in", advice=advice)]
    address = os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai"
    host = urlsplit(address).netloc.rpartition("@")[2]
    reason = why_unreachable(address)
    if reason is None:
        return [Finding(group=_GROUP, name="W&B", value=f"online: logged in, {host} answers")]
    advice = "runs stay offline and can be uploaded later; to skip the attempt, type: export WANDB_MODE=offline"
    value = f"online, but {host} cannot be reached ({reason})"
    return [Finding(group=_GROUP, name="W&B", value=value, state="remark", advice=advice)]
