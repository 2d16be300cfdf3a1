"""`python -m bench --help`: what can be typed, listed from `conf/` and `sweeps/` without composing anything."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from importlib import import_module

from bench.errors import UserError, did_you_mean
from bench.options import groups, options, sweep_files

_TOP = """\
GRU first, LSTM only with evidence? Trains, times and compares recurrent networks for text.

usage: python -m bench [KEY=VALUE ...]            one run
       python -m bench -m [KEY=V1,V2 ...]         several runs, each its own process
       python -m bench VERB [...]                 something else: {verbs}

examples:
  python -m bench                                 GRU on the bundled news corpus
  python -m bench model=lstm data=imdb model.bidirectional=true training.epochs=5
  python -m bench -m model=rnn,gru,lstm seed='range(3)'
  python -m bench -m +sweep=gru_first dry_run=true
  python -m bench duel model=gru,lstm,rnn data=imdb   speed only, step by step in turns
  python -m bench predict latest < texts          label new texts, one a line, with the run trained last
  python -m bench inspect RUN_ID "a text"         gates, states and attribution, token by token
  python -m bench data=local data.path=DIR        your own train/dev/test as .parquet .csv .tsv .jsonl
"""
_KEYS = """\
keys for every run:
  seed=N            all random streams; equal seeds of two cells pair
  results=DIR       where records go (results)
  force=true        run again although a finished record exists
  keep=none|best|all   weights to keep on disk
  dry_run=true      say what would run, and stop

keys for sweeps, beside -m:
  until=verdict     add seeds look by look, only where the verdict is open
  tuning.trials=N   first N trials per arm in the same space (conf/tuning)
  retry=failed|diverged|all   repeat what ended so; the rest is skipped or goes on

flags:
  -m, --multirun    every combination of comma-separated values; finished runs are skipped
  --cfg job         show the composed configuration; every key has a comment in conf/
  --info, --hydra-help, --shell-completion        Hydra's own
  --debug           tracebacks instead of one-line errors
  --version         the program's version
"""


def help_for(arguments: Sequence[str], verbs: Mapping[str, str]) -> int:
    """Print the help of the program, or of the one verb that is named. verbs: name -> module:function.

    Raises: `UserError` for an unknown verb.
    """
    names = [word for word in arguments if not word.startswith("-")]
    if not names:
        print(_overview(sorted(verbs)))
        return 0
    if names[0] not in verbs:
        raise UserError(f"unknown verb '{names[0]}': {did_you_mean(names[0], verbs)}")
    module = import_module(verbs[names[0]].partition(":")[0])
    print(inspect.getdoc(module))
    if usage := getattr(module, "USAGE", None):
        print(f"\nusage: {usage}")
    return 0


def _overview(verbs: Sequence[str]) -> str:
    choices = [(f"{group}=", options(group)) for group in groups()]
    choices += [("+sweep=", sorted(sweep_files())), ("hydra/launcher=", options("hydra/launcher"))]
    width = max(len(name) for name, _ in choices)
    listed = "\n".join(f"  {name:<{width}}  {' '.join(names)}" for name, names in choices)
    return f"{_TOP.format(verbs=', '.join(verbs))}\nwhat can be chosen:\n{listed}\n\n{_KEYS}"
