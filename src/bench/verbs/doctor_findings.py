"""What `doctor` found out: one finding a line, each with its state and, where something can be done, what to type."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "remark", "impossible"]  # impossible: no run can be made before this is mended
Measure = Literal["missing", "always", "never"]  # kernels are timed where no fresh table is, in any case, or not
Watch = Callable[[str, int], None]  # (cell, hidden size) that is timed next


@dataclass(frozen=True, kw_only=True)
class Finding:
    """group: the heading it stands under;  value: what is the case;  advice: what it means, and what to type."""

    group: str
    name: str
    value: str
    state: State = "ok"
    advice: str | None = None


class Check:
    """A look at something that may not answer, in a thread of its own, begun at once."""

    def __init__(self, group: str, look: Callable[[], Sequence[Finding]]) -> None:
        self._group = group
        self._look = look
        self._found: Sequence[Finding] | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def result(self, seconds: float) -> Sequence[Finding]:
        """What was found, or a remark that nothing was within so many seconds."""
        self._thread.join(seconds)
        if self._found is None:
            return [Finding(group=self._group, name=self._group, value="no answer in time", state="remark")]
        return self._found

    def _run(self) -> None:
        try:
            self._found = self._look()
        except Exception as error:  # a doctor tells of whatever is wrong
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            self._found = [Finding(group=self._group, name=self._group, value=reason, state="remark")]
