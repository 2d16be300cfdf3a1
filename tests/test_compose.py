"""From what is typed to a validated configuration: every mistake is one line that says what to type instead."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra

from bench.compose import compose
from bench.config import WandbConfig
from bench.errors import UserError
from bench.options import groups, options, sweep_files

MISTAKES = {
    "model=gruu": "unknown model 'gruu': did you mean 'gru'?",
    "modle=gru": "unknown key 'modle': did you mean 'model'?",
    "model.hiden_size=3": "unknown key 'model.hiden_size': did you mean 'model.hidden_size'?",
    "hidden_size=3": "unknown key 'hidden_size': did you mean 'model.hidden_size'?",
    "epochs=3": "did you mean 'training.epochs'?",
    "+model.hiden_size=1": "did you mean 'model.hidden_size'?",
    "~model.hiden_size": "did you mean 'model.hidden_size'?",
    "++model.cell=gruu": "model.cell=gruu: unknown cell; did you mean 'gru'?",
    "model.hidden_size=-1": "model.hidden_size=-1: should be greater than or equal to 1",
    "model.hidden_size=1.5": "model.hidden_size=1.5: should be a valid integer",
    "training.learning_rate=abc": "training.learning_rate=abc: should be a valid number",
    "training.learning_rate=nan": "training.learning_rate=",
    "model.bidirectional=maybe": "model.bidirectional=maybe: should be a valid boolean",
    "seed=null": "seed=null: should be a valid integer",
    "model.cell=???": "model.cell is not set: add model.cell=VALUE",
    "model.hidden_size=${typo}": "model.hidden_size: Interpolation key 'typo' not found",
    "model": "cannot read 'model': write KEY=VALUE",
    "=3": "cannot read '=3': write KEY=VALUE",
    "model=": "unknown model '': choose one of: attention, bag, gru, ",
    "model=null": "model=null: needs the name of an option: choose one of: attention, bag, gru, ",
    "data.path=a(b": "quote a value with special characters, as in \"data.path='a(b'\"",
    "model=gru,lstm": "model=gru,lstm is several runs: add -m",
    "model=[gru,lstm]": "one run takes one model; for several runs write -m model=gru,lstm",
    "seed=range(3)": "seed=range(3) is several runs: add -m",
    "logger=csv,wandb": "write logger=[csv,wandb] for both, or add -m",
    "logger=[csv,wandbb]": "unknown logger 'wandbb': did you mean 'wandb'?",
    "+seed=3": "seed exists already: drop the plus",
    "+training=default": "training is chosen already: drop the plus",
    "embedding.path=x": "embedding.path means nothing to random vectors",
    "+sweep=gru_frist": "unknown sweep 'gru_frist': did you mean 'gru_first'?",
    "sweep=gru_first": "write -m +sweep=gru_first",
    "hydra/launcher=pol": "unknown hydra/launcher 'pol': did you mean 'pool'?",
    "hydra.launcher.worker=2": "did you mean 'hydra.launcher.workers'?",
}


@pytest.mark.parametrize("typed", MISTAKES)
def test_a_mistake_is_named_in_one_line_with_what_to_type(typed: str) -> None:
    with pytest.raises(UserError) as caught:
        compose([typed])
    assert MISTAKES[typed] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_option_of_every_group_composes(tmp_path: Path) -> None:
    needs = {"local": [f"data.path={tmp_path}"], "glove": []}
    for group in groups():
        for option in options(group):
            compose([f"{group}={option}", *needs.get(option, [])])


@pytest.mark.parametrize(
    ("typed", "wandb", "csv", "tensorboard"),
    [
        ([], True, False, False),
        (["logger=csv"], False, True, False),
        (["logger=[csv,wandb]"], True, True, False),
        (["logger=[tensorboard,csv]"], False, True, True),
        (["logger=none"], False, False, False),
        (["logger=[]"], False, False, False),
    ],
)
def test_trackers_combine(typed: list[str], wandb: bool, csv: bool, tensorboard: bool) -> None:
    logger = compose(typed).logger
    assert (logger.wandb == WandbConfig(), logger.csv, logger.tensorboard) == (wandb, csv, tensorboard)


def test_a_sweep_file_sets_what_its_runs_share_and_the_command_line_wins() -> None:
    config = compose(["+sweep=smoke", "training.epochs=7"])
    assert config.sweep.name == "smoke"
    assert config.data.max_length == 32
    assert config.training.epochs == 7


def test_every_sweep_file_composes() -> None:
    for name in sweep_files():
        assert compose([f"+sweep={name}"]).sweep.name == name


def test_a_persons_own_sweeps_are_found_and_named_after_their_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "mine.yaml").write_text("defaults:\n  - override /model: lstm\ntraining: {epochs: 2}\n")
    (tmp_path / "sweeps" / "broken.yaml").write_text("training: {epochs: 2\n")
    config = compose(["+sweep=mine"])
    assert (config.sweep.name, config.model.cell, config.training.epochs) == ("mine", "lstm", 2)
    with pytest.raises(UserError, match=r"cannot read sweeps/broken\.yaml: .*line 2"):
        compose(["+sweep=broken"])


def test_composing_inside_another_hydra_application_leaves_it_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "theirs.yaml").write_text("sweep: 1\nmodel: their own\n")
    with initialize_config_dir(str(tmp_path), version_base="1.2", job_name="theirs"):
        before = GlobalHydra.instance().hydra
        with pytest.raises(UserError):
            compose(["model=gruu"])
        assert compose(["model=lstm"]).model.cell == "lstm"
        assert GlobalHydra.instance().hydra is before
        assert hydra_compose("theirs", overrides=["sweep=2"]) == {"sweep": 2, "model": "their own"}
    assert not GlobalHydra.instance().is_initialized()
    assert "sweep" not in ConfigStore.instance().repo
