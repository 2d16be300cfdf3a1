"""What is said to people: errors (what was wrong, where, and what to type next) and notices, in one line each."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable


class UserError(Exception):
    """A mistake that the person at the keyboard can mend; the door prints it as one line and exits with code 2."""


class BusyError(UserError):
    """The run is being carried out by another process: nothing is wrong, and nothing to be done but wait."""


class DivergedError(Exception):
    """The training loss is no longer finite: a result about the recipe, not a mistake in the program."""


class Notice(UserWarning):
    """Something about their input that a person should know, and that stops nothing; the door prints it as one line."""


def notice(message: str) -> None:
    """Tell a person, once."""
    warnings.warn(message, Notice, stacklevel=3)


def did_you_mean(wrong: str, known: Iterable[str], most: int = 12) -> str:
    """A short hint that ends an error line: the closest known name, else the known names themselves.

    Returns: `did you mean 'gru'?`, or `choose one of: gru, lstm, rnn`.
    """
    names = sorted(known)
    close = difflib.get_close_matches(wrong, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    shown = ", ".join(names[:most]) + (", …" if len(names) > most else "")
    return f"choose one of: {shown}"
