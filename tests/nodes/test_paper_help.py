"""``alphatrade paper --help`` is a page, all of which is true; what Hydra has to say is still to be had."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from alphatrade.nodes.app import main
from alphatrade.nodes.hydra_app import run_config
from alphatrade.nodes.paper.help import PAGE
from alphatrade.nodes.paper.settings import paper_settings
from alphatrade.risk.errors import ConfigError
from tests.conftest import ROOT

EXAMPLES = re.findall(r"(?<=  )alphatrade paper\b.*", PAGE)
OF_OTHERS = {"env": {"live", "sim"}, "broker": {"live"}}  # of other commands
CHOICES = re.findall(r"^  ([a-z/]+)  +(.*)$", PAGE.partition("GROUP=CHOICE:\n")[2].partition("Keys,")[0], re.MULTILINE)


def said(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["alphatrade", "paper", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0), capfd.readouterr().out


def composed(words: list[str], monkeypatch: pytest.MonkeyPatch) -> DictConfig:
    monkeypatch.setattr(sys, "argv", ["alphatrade"])
    return run_config("paper", words, "paper", lambda config: config)


@pytest.mark.parametrize("words", [("--help",), ("-h",), ("feed=binance", "--help")], ids=" ".join)
def test_help_is_a_page(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert said(monkeypatch, capfd, *words) == (0, PAGE)
    assert 20 <= len(PAGE.splitlines()) <= 26
    assert max(map(len, PAGE.splitlines())) <= 120


SHOWN = {
    "paper --hydra-help": "--multirun", "paper --cfg job feed=binance": "source: binance", "sim --cfg job": "seed: 1",
    "sim --info defaults": "conf",
}  # fmt: skip


@pytest.mark.parametrize("words", SHOWN)
def test_what_hydra_shows_is_shown_and_nothing_is_run(words: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "alphatrade", *words.split()]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "ALPHATRADE_STATE": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert SHOWN[words] in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_valid(example: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(example.partition(". Hydra")[0])[2:]
    config = composed([word for word in words if word not in ("--cfg", "job")], monkeypatch)
    if OmegaConf.select(config, "policy_entry") is None:  # of a ledger that is not here
        paper_settings(config)


def test_each_group_has_the_choices_that_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(CHOICES) >= 6
    for group, told in CHOICES:
        shown = {choice.split()[0] for choice in told.split(", ")}
        there = {path.stem for path in (ROOT / "conf" / group).glob("*.yaml")}
        assert shown == there - OF_OTHERS.get(group, set()), group


@pytest.mark.parametrize("word", [f"{group}={choice}" for group in OF_OTHERS for choice in sorted(OF_OTHERS[group])])
def test_the_choice_of_another_command_is_refused(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=word.partition("=")[0]):
        run_config("paper", [word, "feed=binance", "venue.account=cash"], "paper", paper_settings)


def test_each_key_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    config: Any = composed(["feed=binance", "broker=binance"], monkeypatch)
    tape: Any = composed([], monkeypatch)
    keys = re.split(r",\s+", PAGE.partition("KEY=VALUE: ")[2].partition("\nThe whole")[0])
    assert len(keys) > 10
    for key in keys:
        above, _, name = key.rpartition(".")
        assert any(name in (OmegaConf.select(one, above) if above else one) for one in (config, tape)), key
