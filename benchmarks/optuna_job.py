"""A candidate for Hydra's optuna sweeper: the default genotype with other topologies and numbers, replayed.

Run in the venv of benchmarks/optuna.lock, with ``alphatrade`` on PYTHONPATH; arguments are Hydra's. What the sweeper
moves is ``+kinds.<regime>`` and ``+numbers.<path>``; a kind that the founder does not have there gets parameters from
the middle of the domain, on its own scale.
"""

import json
import sys
from math import sqrt
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from alphatrade.nodes.evolve import CandidateJob, search_settings

LOST = -1e6  # what a candidate without a score is told: the sweeper wants a number
SIGNALS = {"ret": "ret_20", "trend": "trend_20", "range": "range_60"}


def middle(kind: str, domain: dict[str, Any]) -> dict[str, Any]:
    """Return a gene of a kind, its parameters in the middle of their ranges."""
    if kind == "flat":
        return {"kind": kind}
    asked = domain["topologies"][kind]
    params: dict[str, Any] = {}
    for name, own in asked["params"].items():
        value = sqrt(own["low"] * own["high"]) if own.get("log") else (own["low"] + own["high"]) / 2
        params[name] = round(value) if own.get("whole") else value
    if asked.get("signal"):
        params["signal"] = SIGNALS[asked["signal"][0]]
    return {"kind": kind, "params": params}


def task(config: DictConfig) -> float:
    """Replay one candidate and return its fitness, basis points."""
    domain: Any = OmegaConf.to_container(config.domain)
    own: Any = OmegaConf.to_container(config.genotype, resolve=True)
    for regime, kind in config.get("kinds", {}).items():
        if own["topologies"][regime][0]["kind"] != kind:
            own["topologies"][regime] = [middle(kind, domain)]
    for path, value in config.get("numbers", {}).items():
        *parts, last = path.split("__")
        node = own
        for part in parts:
            node = node[part]
        node[last] = value
    out = Path(HydraConfig.get().sweep.dir) / f"{HydraConfig.get().job.num}.json"
    with open_dict(config):
        config.pop("kinds", None)
        config.pop("numbers", None)
        config.genotype = own
        config.trial.out = str(out.with_suffix(".outcome"))
    job = CandidateJob()
    job(config)
    assert job.outcome is not None
    found = job.outcome.fitness if job.outcome.status == "scored" else LOST
    genotype = search_settings(config).genotype.model_dump(mode="json")
    out.write_text(json.dumps({"fitness": max(found, LOST), "status": job.outcome.status, "genotype": genotype}))
    return max(found, LOST)


if __name__ == "__main__":
    from hydra_plugins.hydra_joblib_launcher.config import JobLibLauncherConf

    # alphatrade has a launcher of this name, too
    ConfigStore.instance().store(group="hydra/launcher", name="peer_joblib", node=JobLibLauncherConf, provider="peer")
    hydra.main(version_base="1.3", config_path="pkg://alphatrade.conf", config_name="evolve")(task)()
    sys.exit(0)
