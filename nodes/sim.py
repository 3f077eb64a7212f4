"""The sim node: tapes in, one engine run under the law, a finished run folder out."""

import os
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import pyarrow as pa

from alphatrade.nodes import wiring
from alphatrade.nodes.artifacts import Folder, RunFolder
from alphatrade.nodes.canary import told
from alphatrade.nodes.counting import Count, counted
from alphatrade.nodes.feedback import taken_up
from alphatrade.nodes.identity import Identity, file_digest, identify, plugin_digests
from alphatrade.nodes.replay import Replay, ReplayOutput, replay
from alphatrade.nodes.result import RunResult
from alphatrade.nodes.settings import RunSpec, Settings, cache_dir, plain_yaml
from alphatrade.nodes.stress import stress
from alphatrade.nodes.summary import summarise
from alphatrade.nodes.tape import Market, Tape
from alphatrade.nodes.tapes import load_tape
from alphatrade.reflection.parquet import write_parquet
from alphatrade.reflection.probes import described
from alphatrade.reflection.report import write_report
from alphatrade.risk.errors import ConfigError, TapeError
from alphatrade.strategies.policy import canonical

Runs = Callable[[Replay[Any], Path], ReplayOutput]


def simulate(settings: Settings) -> RunResult:
    """
    Replay the tapes of `settings` and write the run folder.

    Parameters
    ----------
    settings : Settings
        Validated configuration.

    Returns
    -------
    RunResult

    Raises
    ------
    InputError
        If a tape or a folder cannot be used, a feature asks for what a tape lacks, or the replay is one that the ledger
        has to count (:mod:`alphatrade.nodes.counting`) and cannot.
    """
    settings = taken_up(settings)
    run = settings.run
    _check_ack(run.output.ack_fd)
    tapes = load_tapes(run)
    identity = identity_of(settings, tapes)
    return published(settings, tapes, identity, "sim")


def published(
    settings: Settings, tapes: Sequence[Market], identity: Identity, why: str, run_it: Runs = replay,
    source: dict[str, Any] | None = None,
) -> RunResult:  # fmt: skip
    """
    Run loaded tapes, or live markets, have the run counted where it is a trial, and publish its folder.

    Parameters
    ----------
    settings : Settings
    tapes : sequence of Market
    identity : Identity
    why : str
        What the ledger says of it, where it is counted; what nobody could see beforehand is not.
    run_it : callable
        What runs: a replay, or a node.
    source : dict, optional
        Where live markets are heard.
    """
    run = settings.run
    known = _known(tapes)
    with RunFolder(run.paths.artifacts, identity.run_id) as folder:
        count = counted(settings, known, identity.run_id, why) if known else Count()
        summary = run_into(folder, settings, tapes, identity, run_it, source)
        count.close_run(folder.path, summary, known, float(run.venue.starting_balance))
        return RunResult(folder.publish(), summary)


def _known(tapes: Sequence[Market]) -> list[Tape]:
    return [tape for tape in tapes if isinstance(tape, Tape)]


def run_into(
    folder: Folder, settings: Settings, tapes: Sequence[Market], identity: Identity, run_it: Runs = replay,
    source: dict[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """
    Run loaded tapes, or live markets, into a folder, write all that belongs to a run, and return its summary.

    Parameters
    ----------
    folder : Folder
    settings : Settings
    tapes : sequence of Market
    identity : Identity
    run_it : callable
        What runs: a replay, or a node.
    source : dict, optional
        Where live markets are heard.

    Raises
    ------
    InputError
        If the tapes are too short, or a feature asks for what a tape lacks.
    """
    run = settings.run
    known = _known(tapes)
    specs = [s.model_dump(mode="json") for s in run.all_tapes] if source is None else [deepcopy(source) for _ in tapes]
    write_inputs(folder, settings, tapes, identity, specs)
    output = run_it(Replay(settings.policy, list(tapes), run), folder.path)
    if not output.decisions and not output.fills:  # what another node has left may have been taken over, and sold
        raise TapeError(
            "tape" if known else "feed",
            f"{output.events} events in {output.steps} steps",
            f"more steps than the warm-up: {output.warmup} at this cadence (policy.cadence)",
        )
    folder.write_json("latency.json", output.latency)
    folder.write_json("heartbeat.json", output.heartbeat)
    if output.drift is not None:
        folder.write_json("drift.json", output.drift)
    _write_truth(folder.path, known)
    _write_learned(folder.path, tapes, output)
    if run.output.stress and known:
        folder.write_json("stress.json", stress(Replay(settings.policy, known, run), output))
    summary = summarise(folder, settings, tapes, identity, output)
    folder.write_json("summary.json", summary)
    if run.output.report and output.decisions:  # else there is nothing to show
        write_report(folder.path)
    return summary


def _check_ack(fd: int | None) -> None:
    try:
        if fd is not None:
            os.fstat(fd)
    except OSError as error:
        raise ConfigError("output.ack_fd", fd, "an open file descriptor") from error


def load_tapes(run: RunSpec) -> list[Tape]:
    """
    Load the tapes of a run.

    Raises
    ------
    ConfigError
        If two tapes hold the same instrument or have the same name, or they settle in different currencies.
    """
    tapes = [load_tape(spec, cache_dir(run.paths)) for spec in run.all_tapes]
    require_joint(tapes)
    return tapes


def require_joint(tapes: Sequence[Market]) -> None:
    """
    Refuse markets that cannot be traded together.

    Raises
    ------
    ConfigError
        If two have the same instrument or the same name, or they settle in different currencies.
    """
    ids = [tape.instrument.id for tape in tapes]
    if len(set(ids)) < len(ids):
        raise ConfigError("tapes", ids, "a different instrument in each tape")
    quotes = {tape.instrument.quote: None for tape in tapes}
    if len(quotes) > 1:
        raise ConfigError("tapes", list(quotes), "one quote currency: the law judges them jointly in it")
    names = [tape.name for tape in tapes]
    if len(set(names)) < len(names):
        raise ConfigError("tapes", names, "a different name in each tape: audit and truth are filed under it")


def identity_of(settings: Settings, tapes: Sequence[Market]) -> Identity:
    """Return what a run of `settings` on `tapes` is called."""
    policy = settings.policy
    kinds = [feature.kind for feature in policy.features.values()]
    canary = settings.run.canary
    for flown in (policy, *([] if canary is None else [canary.policy])):
        kinds += [tactic.kind for tactic in flown.topologies.values()]
    spec = settings.run.identity() | {
        "instruments": [instrument_facts(tape, settings.run) for tape in tapes],
        "plugins": plugin_digests(kinds),
    }
    if settings.run.learned is not None:
        spec["learned"] = _learned_digests(settings.run.learned, tapes)
    return identify(settings.policy.policy_hash, [tape.tape_hash for tape in tapes], spec)


def _learned_digests(folder: Path, tapes: Sequence[Market]) -> dict[str, str]:
    found = {}
    for tape in tapes:
        file = wiring.learned_file(folder, tape)
        if not file.is_file():
            raise ConfigError("learned", str(folder), f"a folder with {file.name}, as a run that learns writes it")
        found[file.name] = file_digest(file)
    return found


def instrument_facts(tape: Market, run: RunSpec) -> dict[str, Any]:
    """Return what the law and the auditor need to know of an instrument."""
    spec = run.venue.priced(tape.instrument)
    return {
        "id": spec.id,
        "base": spec.base,
        "quote": spec.quote,
        "price_precision": spec.price_precision,
        "size_precision": spec.size_precision,
        "tick": spec.tick,
        "lot": spec.lot,
        "maker_fee": spec.maker_fee,
        "taker_fee": spec.taker_fee,
        "kind": tape.kind,
        "reference": tape.reference,
        "half_spread_bps": tape.half_spread_bps * run.venue.cost_multiple,
        "stale_after_s": tape.stale_after_s,
    }


def write_inputs(
    folder: Folder, settings: Settings, tapes: Sequence[Market], identity: Identity, specs: list[dict[str, Any]]
) -> None:
    """Write ``policy.json``, ``run.yaml`` and, if bred, ``genotype.json``; `specs` tell where each tape is from."""
    run = settings.run
    folder.write_json("policy.json", canonical(settings.policy))
    if settings.genotype is not None:
        folder.write_json("genotype.json", canonical(settings.genotype))
    facts = [instrument_facts(tape, run) for tape in tapes]
    record = {
        "run_id": identity.run_id,
        "policy_hash": identity.policy_hash,
        **({} if identity.entry is None else {"policy_entry": dict(identity.entry)}),
        "code_hash": identity.code_hash,
        "capital": str(run.venue.starting_balance),
        "currency": tapes[0].instrument.quote,
        "long_only": run.venue.account == "cash",
        "seed": run.seed,
        "instruments": {fact["id"]: {k: v for k, v in fact.items() if k != "id"} for fact in facts},
        "tapes": [
            tape.told() | {"spec": spec} for tape, spec in zip(tapes, specs, strict=True)
        ],
        **{name: value for name, value in run.identity().items() if name != "seed"},
        **({} if run.canary is None else {"canary": canonical(run.canary) | told(run.canary.policy, len(tapes))}),
        "probes": described(),
        "output": run.output.model_dump(mode="json"),
    }
    folder.write_text("run.yaml", plain_yaml(record))


def _write_learned(path: Path, tapes: Sequence[Market], output: ReplayOutput) -> None:
    for tape in tapes:
        found = output.learned.get(tape.instrument.id)
        if found is not None:
            file = wiring.learned_file(path / "learned", tape)
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(found.state)
            if found.synapses is not None:
                write_parquet(found.synapses, path / f"sigma-{file.stem}.parquet")


def _write_truth(path: Path, tapes: Sequence[Tape]) -> None:
    for tape in tapes:
        if tape.truth is not None:
            name = "truth.parquet" if len(tapes) == 1 else f"truth-{tape.name}.parquet"
            write_parquet(pa.Table.from_pandas(tape.truth, preserve_index=False), path / name)
