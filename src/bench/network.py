"""Whether an address answers, found out in seconds also where there is no network at all."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request

PATIENCE_SECONDS = 1.5  # how long an unreachable server may keep a person waiting


def why_unreachable(address: str, seconds: float = PATIENCE_SECONDS) -> str | None:
    """Why nothing answers at an address, in a few words; None if something does.

    The proxy variables are obeyed. The answer comes in time also where names do not resolve, for which the system's
    own resolver may take far longer.
    """
    reasons = ["no answer in time"]

    def probe() -> None:
        reasons.append(_probe(address, seconds))

    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(seconds + 0.1)
    return reasons[-1] or None


def reason_of(error: Exception) -> str:
    """What the operating system or the server says of a failed request, in one line."""
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code}"
    reason = getattr(error, "reason", error)
    lines = str(getattr(reason, "strerror", None) or reason).splitlines()
    return lines[0] if lines else type(error).__name__


def _probe(address: str, seconds: float) -> str:
    """An empty text if the address answers in any way that is not a proxy's refusal, else the reason."""
    try:
        request = urllib.request.Request(address, method="HEAD", headers={"User-Agent": "bench"})
        with urllib.request.urlopen(request, timeout=seconds):
            return ""
    except urllib.error.HTTPError as error:
        return reason_of(error) if error.code in (407, 502, 503, 504) else ""
    except (OSError, ValueError) as error:
        return reason_of(error)
