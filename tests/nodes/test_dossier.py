"""The dossier: a stranger derives it again; whoever tampers with it, or signs what is not so, is found at his step."""

import io
import random
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from typer.testing import CliRunner

from alphatrade.evolution import promotion
from alphatrade.evolution.dossier import MANIFEST, SIGNATURES, difference, dumped, opened, pack, sealed, unpack
from alphatrade.evolution.evidence import Again, Evidence, trials_of
from alphatrade.evolution.provenance import IN_ITSELF
from alphatrade.evolution.trial import row_from
from alphatrade.nodes import dossier, identity, judge, promote, verify_spots, verify_steps
from alphatrade.nodes.app import app
from alphatrade.nodes.kill_drill import Drill
from alphatrade.nodes.promote import records
from alphatrade.nodes.verify import Asked, Case, Row, outcome, trusted, verified
from alphatrade.reflection.keys import SigningKey
from alphatrade.reflection.ledger_files import FILE
from alphatrade.risk.errors import AlphaTradeError, ConfigError, InputError, LedgerError
from alphatrade.strategies.policy import canonical
from tests.conftest import ROOT
from tests.nodes.make_dossier import Made, make
from tests.reflection.make_ledger import NOW

LEDGER = f"ledger/{FILE}"
FAST = ("archive", "members", "signatures", "policy_hash", "ledger", "copies", "code", "lock file", "tapes")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("dossier"))


@pytest.fixture(autouse=True)
def gate(made: Made, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Gather what was gathered before, and replay what was entered: real replays are another test's matter."""
    monkeypatch.setattr(promote, "gather", made.gate)
    monkeypatch.setattr(verify_spots, "replayed", lambda _, __, leaf: leaf["cells"])
    return monkeypatch


def asked(made: Made, **parts: Any) -> Asked:
    own = Asked(made.policy_hash, frozenset([made.cast.service.public]), spot=2, spot_seed="a")
    return own._replace(**parts)


def checked(data: bytes, own: Asked, folder: Path, steps: tuple[str, ...] = ()) -> list[Row]:
    """Return the rows of a verification, of all steps or the first few."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for row in verified(Case(data, own, folder)):
        rows.append(row)
        if steps and row.step == steps[-1]:
            break
    return rows


def resealed(
    made: Made, changed: dict[str, bytes | None], facts: dict[str, Any] | None = None, signer: SigningKey | None = None
) -> bytes:
    """Return a dossier with other members (None: without one) and facts, signed as if all were well."""
    own = opened(made.data)
    members = {name: data for name, data in own.members.items() if name not in (MANIFEST, SIGNATURES)} | changed
    told = {name: value for name, value in canonical(own.manifest).items() if name != "members"} | (facts or {})
    kept = {name: data for name, data in members.items() if data is not None}
    return sealed(kept, told, [("service", signer or made.cast.service)])


def edited(made: Made, name: str, **parts: Any) -> dict[str, bytes | None]:
    """Return a member of JSON with other values."""
    plain = Case(made.data, asked(made), made.path.parent / "unused").plain(name)
    return {name: dumped(plain | parts)}


# -- the honest one


def test_a_dossier_is_verified_without_anything_else(made: Made, tmp_path: Path) -> None:
    case = Case(made.data, asked(made), tmp_path)
    rows = list(verified(case))
    assert [row.step for row in rows] == list(verify_steps.STEPS)
    assert all(row.holds and row.recorded and row.found for row in rows), rows
    assert outcome(case).startswith("verified: NOT promoted, refused by recomputed")
    assert not case.file.manifest.promoted


def test_one_that_is_promoted_says_so(made: Made, tmp_path: Path, gate: pytest.MonkeyPatch) -> None:
    few = {
        name: check for name, check in promotion.CHECKS.items() if name in ("ledger", "transcript", "policy", "latency")
    }
    gate.setattr(promotion, "CHECKS", few)
    path = dossier.write_dossier(
        made.evidence, made.spec, made.settings, made.own, made.cast.folder, [made.cast.service, made.cast.person]
    )
    case = Case(path.read_bytes(), asked(made, trust=frozenset([made.cast.person.public])), tmp_path)
    assert all(row.holds for row in verified(case))
    assert outcome(case) == f"verified: promoted, {made.policy_hash}"
    assert [one.name for one in case.file.signatures] == ["person", "service"]
    (before,) = path.parent.glob(f"{made.policy_hash}-*.zip")
    assert before.read_bytes() == made.data, "one that the ledger may name is not written over"


def test_what_is_in_it_has_its_place(made: Made) -> None:
    own = opened(made.data)
    for words, where in own.manifest.contents.items():
        first = where.partition(":")[0].partition(",")[0].split()[0]
        assert first in own.members or any(name.startswith(first) for name in own.members), words
    asked_for = {"genotype", "policy", "lineage", "trials", "grid tables", "statistics", "audits", "kill drill", "seeds",
                 "ledger segment", "signatures", "red team", "hashes of code, tape and lock file"}  # fmt: skip
    assert asked_for <= set(own.manifest.contents)
    policy = own.members[dossier.POLICY]
    assert dossier.sha(policy) == made.policy_hash
    assert str(made.path.parent) not in own.members[dossier.SETTINGS].decode()


def test_members_give_the_same_bytes_anywhere(made: Made) -> None:
    own = opened(made.data)
    assert pack(dict(reversed(own.members.items()))) == made.data
    assert resealed(made, {}) == made.data
    with zipfile.ZipFile(io.BytesIO(made.data)) as file:
        assert file.testzip() is None
        assert {info.date_time for info in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_an_unsafe_name_is_no_members(tmp_path: Path) -> None:
    for name in ("../x.json", "/x.json", "a//b", "a/../b", "x y", ""):
        with pytest.raises(InputError):
            pack({name: b""})
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as file:
            file.writestr(zipfile.ZipInfo(name or "a/"), b"")
        with pytest.raises(InputError):
            unpack(out.getvalue())


# -- whoever tampers is found at his step, and only there

Tamper = Callable[[Made, Path, pytest.MonkeyPatch], tuple[bytes, Asked]]


def _zip_time(made: Made, folder: Path, patch: pytest.MonkeyPatch) -> tuple[bytes, Asked]:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, data in opened(made.data).members.items():
            file.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), data)
    return out.getvalue(), asked(made)


def _extra_member(made: Made, folder: Path, patch: pytest.MonkeyPatch) -> tuple[bytes, Asked]:
    return pack(opened(made.data).members | {"more.json": b"{}"}), asked(made)


def _stranger(made: Made, folder: Path, patch: pytest.MonkeyPatch) -> tuple[bytes, Asked]:
    return resealed(made, {}, signer=SigningKey.generate(folder / "stranger.pem")), asked(made)


def _other_policy(made: Made, folder: Path, patch: pytest.MonkeyPatch) -> tuple[bytes, Asked]:
    return made.data, asked(made, policy_hash="0" * 64)


def _other_ledger(made: Made, folder: Path, patch: pytest.MonkeyPatch) -> tuple[bytes, Asked]:
    return made.data, asked(made, fingerprint="1" * 64)


def _other_file(made: Made, folder: Path, patch: pytest.MonkeyPatch) -> tuple[bytes, Asked]:
    file = folder / "policy.json"
    file.write_bytes(opened(made.data).members[dossier.POLICY] + b"\n")
    return made.data, asked(made, policy=file)


def _code(made: Made, folder: Path, patch: pytest.MonkeyPatch) -> tuple[bytes, Asked]:
    return resealed(made, {}, {"code_hash": "2" * 64, "commit": "c" * 40}), asked(made)


def _lock(made: Made, folder: Path, patch: pytest.MonkeyPatch) -> tuple[bytes, Asked]:
    return resealed(made, {}, {"lock_hash": "2" * 64}), asked(made)


def _tape(made: Made, folder: Path, patch: pytest.MonkeyPatch) -> tuple[bytes, Asked]:
    return resealed(made, {}, {"tapes": {"WLD/USD.SIM": "2" * 64}}), asked(made)


def _policy(made: Made, folder: Path, patch: pytest.MonkeyPatch) -> tuple[bytes, Asked]:
    return resealed(made, {dossier.POLICY: b"{}"}), asked(made)


def _settings(made: Made, folder: Path, patch: pytest.MonkeyPatch) -> tuple[bytes, Asked]:
    plain = dossier.portable(made.settings)
    return resealed(made, {dossier.SETTINGS: dumped(plain | {"search": plain["search"] | {"seed": 9}})}), asked(made)


def _lineage(made: Made, folder: Path, patch: pytest.MonkeyPatch) -> tuple[bytes, Asked]:
    return resealed(made, {dossier.LINEAGE: b"[]"}), asked(made)


def _softer(made: Made, folder: Path, patch: pytest.MonkeyPatch) -> tuple[bytes, Asked]:
    """Thresholds of one's own, each as soft as the code allows, and the verdict that follows from them."""
    soft = {"dsr": 0.9, "pbo": 0.4}
    spec = made.spec.model_copy(update=soft)
    verdict = canonical(promotion.judge(made.evidence, spec))
    return resealed(made, edited(made, dossier.PROMOTION, **soft) | {dossier.VERDICT: dumped(verdict)}), asked(made)


def _no_transcript(made: Made, folder: Path, patch: pytest.MonkeyPatch) -> tuple[bytes, Asked]:
    """A gate that has lost the check itself: the step of the verification still asks for it."""
    few = {name: check for name, check in promotion.CHECKS.items() if name != "transcript"}
    patch.setattr(promotion, "CHECKS", few)
    return resealed(made, {dossier.VERDICT: dumped(canonical(promotion.judge(made.evidence, made.spec)))}), asked(made)


def _replays(made: Made, folder: Path, patch: pytest.MonkeyPatch) -> tuple[bytes, Asked]:
    first, *rest = made.evidence.holdout
    other = made.evidence.model_copy(update={"holdout": (first.model_copy(update={"fills": 6}), *rest)})
    patch.setattr(promote, "gather", lambda *_, **__: other)
    return made.data, asked(made)


def _made_up(made: Made, folder: Path, patch: pytest.MonkeyPatch) -> tuple[bytes, Asked]:
    """Whatever else is replayed gives other results than were entered: all trials but those of the gate are made up."""
    patch.setattr(verify_spots, "replayed", lambda _, __, leaf: [cell | {"fills": 6} for cell in leaf["cells"]])
    return made.data, asked(made)


def _verdict(made: Made, folder: Path, patch: pytest.MonkeyPatch) -> tuple[bytes, Asked]:
    rows = [canonical(row) for row in promotion.judge(made.evidence, made.spec).checks]
    rows[0]["figure"] = 1
    return resealed(made, edited(made, dossier.VERDICT, checks=rows)), asked(made)


def _drill(made: Made, folder: Path, patch: pytest.MonkeyPatch) -> tuple[bytes, Asked]:
    return resealed(made, edited(made, dossier.DRILL, flat_ns=1)), asked(made)


def _seeds(made: Made, folder: Path, patch: pytest.MonkeyPatch) -> tuple[bytes, Asked]:
    return resealed(made, {}, {"seeds": {"run": 7}}), asked(made)


def _latency(made: Made, folder: Path, patch: pytest.MonkeyPatch) -> tuple[bytes, Asked]:
    slow = made.evidence.latency.model_copy(update={"p99": 9_000_000})  # type: ignore[union-attr]
    patch.setattr(promote, "gather", lambda *_, **__: made.evidence.model_copy(update={"latency": slow}))
    return made.data, asked(made)


TAMPERS: dict[str, Tamper] = {
    "archive": _zip_time, "members": _extra_member, "signatures": _stranger, "policy_hash": _other_policy,
    "ledger": _other_ledger, "copies": _other_file, "code": _code, "lock file": _lock, "tapes": _tape,
    "genotype and policy": _policy, "settings": _settings, "thresholds": _softer, "lineage": _lineage, "transcript": _no_transcript,
    "replays": _replays, "spot checks": _made_up, "verdict": _verdict, "kill drill": _drill, "manifest": _seeds, "latency": _latency,
}  # fmt: skip
ALSO = {"replays": ("verdict",)}  # the hash of the evidence is part of the verdict: it tells as well


@pytest.mark.parametrize("step", verify_steps.STEPS)
def test_without_a_step_what_it_is_for_passes(made: Made, step: str, tmp_path: Path, gate: pytest.MonkeyPatch) -> None:
    """Mutation: with the step the tampering is found there, without it nothing else notices."""
    played = Case(made.data, asked(made), tmp_path / "made").drill
    gate.setattr(dossier, "drilled", lambda *_: played)  # time: the real one is drilled again in other tests
    data, own = TAMPERS[step](made, tmp_path, gate)
    rows = checked(data, own, tmp_path / "with")
    assert (rows[-1].step, rows[-1].holds) == (step, False), rows[-1]
    for name in (step, *ALSO.get(step, ())):
        gate.delitem(verify_steps.STEPS, name)
    assert all(row.holds for row in checked(data, own, tmp_path / "without"))


def test_thresholds_are_named_by_their_file_or_by_what_is_another(made: Made, tmp_path: Path) -> None:
    held = verify_steps.thresholds(Case(made.data, asked(made), tmp_path / "made"))
    assert held == ("thresholds", "conf/promotion/default.yaml", True)
    for field, soft, ours in (("dsr", 0.9, "0.95"), ("pbo", 0.4, "0.2"), ("cost_multiple", 1.5, "2"), ("seed", 2, "1")):
        data = resealed(made, edited(made, dossier.PROMOTION, **{field: soft}))
        found = verify_steps.thresholds(Case(data, asked(made), tmp_path / field))
        assert found == (f"{field} {soft}", f"{ours} in conf/promotion/default.yaml", False)


def test_latency_is_held_against_what_this_machine_can_tell(
    made: Made, tmp_path: Path, gate: pytest.MonkeyPatch
) -> None:
    """A busy machine refuses nobody, nor does a ratio by chance; both together do, and no measurement at all."""
    cases = {(1_900_000, 100_000): True, (4_200_000, 4_300_000): True, (2_100_000, 1_000_000): False, None: False}
    for figures, holds in cases.items():
        parts = None if figures is None else {"n": 90, "p99": figures[0], "base_p99": figures[1]}
        other = Evidence.model_validate(canonical(made.evidence) | {"latency": parts})
        gate.setattr(promote, "gather", lambda *_, other=other, **__: other)
        case = Case(made.data, asked(made), tmp_path / str(figures))
        assert verify_steps.latency(case).holds == holds
        rows = [
            row.model_copy(update={"holds": False}) if row.name == "latency" else row for row in case.verdict.checks
        ]
        case.verdict = case.verdict.model_copy(update={"checks": tuple(rows)})
        assert verify_steps.latency(case).holds


def test_a_trial_that_was_made_up_is_found_by_who_draws_it(
    made: Made, tmp_path: Path, gate: pytest.MonkeyPatch
) -> None:
    """Nobody knows which: each seed draws its own, and with all of them drawn none gets away."""
    leaves = [leaf for leaf in trials_of(made.evidence, made.evidence.search) if leaf["cells"]]
    others = [
        leaf
        for leaf in leaves
        if (leaf["generation"], leaf["index"]) != (made.evidence.generation, made.evidence.index)
    ]
    forged = others[-1]

    def replayed(_: Any, __: Any, leaf: dict[str, Any]) -> list[dict[str, Any]]:
        first, *rest = leaf["cells"]
        returns = [first["returns"][0] + 1e-9, *first["returns"][1:]]
        return leaf["cells"] if leaf != forged else [first | {"returns": returns}, *rest]

    gate.setattr(verify_spots, "replayed", replayed)
    case = Case(made.data, asked(made), tmp_path)

    def found(number: int, seed: str) -> verify_steps.Found:
        case.asked = case.asked._replace(spot=number, spot_seed=seed)
        return verify_steps.spot_checks(case)

    seeds = [str(n) for n in range(30)]
    for seed in seeds[:5]:
        last, cell = found(len(others), seed), forged["cells"][0]
        where = f"trial {forged['generation']}.{forged['index']}, {cell['instrument']} from {cell['start']}: returns.0 "
        assert not last.holds
        assert last.recorded.startswith(where)
        assert last.found.endswith(f"--spot-seed {seed}")
    caught = [seed for seed in seeds if not found(1, seed).holds]
    drew = {
        seed: [(leaf["generation"], leaf["index"]) for leaf in verify_spots.drawn(made.evidence, 1, seed)]
        for seed in seeds
    }
    assert caught == [seed for seed in seeds if drew[seed] == [(forged["generation"], forged["index"])]]
    assert 0 < len(caught) < len(seeds)
    assert len({tuple(one) for one in drew.values()}) == len(others), "anybody may be drawn"
    assert found(0, "").found == "none was drawn"
    with pytest.raises(ConfigError, match="--spot-seed"):
        found(1, "")


def test_the_gates_own_spots_are_not_drawn_again_nor_what_has_no_cells(made: Made) -> None:
    places = [(leaf["generation"], leaf["index"]) for leaf in verify_spots.drawn(made.evidence, 99, "a")]
    mine = (made.evidence.generation, made.evidence.index)
    assert mine not in places
    again = Again(generation=places[0][0], index=places[0][1], cells=())
    more = made.evidence.model_copy(update={"again": (*made.evidence.again, again)})
    assert [(leaf["generation"], leaf["index"]) for leaf in verify_spots.drawn(more, 99, "a")] == places[1:]
    stopped = [
        record.model_copy(update={"trials": tuple([leaf | {"cells": []} for leaf in record.trials])})
        for record in made.evidence.ledger
    ]
    assert verify_spots.drawn(made.evidence.model_copy(update={"ledger": tuple(stopped)}), 99, "a") == []


def test_a_drawn_trial_is_replayed_in_its_cells(made: Made, tmp_path: Path, gate: pytest.MonkeyPatch) -> None:
    """The real way but for the replay itself: the policy of its genotype, in the grid's own cells; no other cell."""
    gate.undo()
    case = Case(made.data, asked(made), tmp_path)
    (leaf,) = verify_spots.drawn(made.evidence, 1, "a")
    measured = [row_from(cell).measured for cell in leaf["cells"]]
    cells: list[Any] = []

    def replays(settings: Any, *_: Any) -> Any:
        assert settings.policy.policy_hash == leaf["policy_hash"]

        def measure(policy: Any, cell: Any) -> Any:
            assert (policy.policy_hash, cell.holdout) == (leaf["policy_hash"], False)
            cells.append(cell)
            return measured[len(cells) - 1]

        return measure

    gate.setattr(verify_spots, "replays", replays)
    assert verify_spots.differs(case.own, case.tapes, leaf) is None
    assert [str(cell.start) for cell in cells] == [cell["start"] for cell in leaf["cells"]]
    cells.clear()
    later = leaf["cells"][0] | {"start": "1"}
    told = verify_spots.differs(case.own, case.tapes, leaf | {"cells": [*leaf["cells"][1:], later]})
    assert told == (
        f"trial {leaf['generation']}.{leaf['index']}: {len(leaf['cells'])} cells",
        f"{len(leaf['cells']) - 1} of them in the grid",
    )
    cells.clear()
    measured[0] = measured[0]._replace(net_return=0.5)  # type: ignore[union-attr]
    told = verify_spots.differs(case.own, case.tapes, leaf)
    assert told is not None
    assert (f"net_return {leaf['cells'][0]['net_return']}" in told[0], told[1]) == (True, "0.5")


def relabelled(made: Made, place: tuple[int, int], status: str) -> Evidence:
    """Return evidence in which a trial is said not to have been scored."""

    def told(leaf: dict[str, Any]) -> dict[str, Any]:
        own = (leaf["generation"], leaf["index"]) == place
        return leaf | {"status": status, "why": "it broke", "fitness": None, "cells": []} if own else leaf

    parts = [record.model_copy(update={"trials": tuple(map(told, record.trials))}) for record in made.evidence.ledger]
    return made.evidence.model_copy(update={"ledger": tuple(parts)})


def test_a_trial_that_is_called_a_failure_is_replayed(made: Made, tmp_path: Path, gate: pytest.MonkeyPatch) -> None:
    """If it scores it was relabelled, to leave the statistics; if it breaks here as well, it is as it was told."""
    gate.undo()
    scored = verify_spots.drawn(made.evidence, 1, "a")[0]
    place, case = (scored["generation"], scored["index"]), Case(made.data, asked(made, spot=1000), tmp_path)
    case.evidence = relabelled(made, place, "failed")
    (leaf,) = [one for one in verify_spots.drawn(case.evidence, 1000, "a") if one["status"] == "failed"]
    assert ((leaf["generation"], leaf["index"]), leaf["cells"]) == (place, [])
    by_cell = {cell["start"]: row_from(cell).measured for cell in scored["cells"]}
    broken: dict[str, Exception] = {}

    def measure(policy: Any, cell: Any) -> Any:
        assert (policy.policy_hash, cell.holdout) == (leaf["policy_hash"], False)
        if str(cell.start) in broken:
            raise broken[str(cell.start)]
        return by_cell.pop(str(cell.start))

    def found() -> verify_steps.Found:
        by_cell.update({cell["start"]: row_from(cell).measured for cell in scored["cells"]})
        return verify_steps.spot_checks(case)

    gate.setattr(verify_spots, "replays", lambda *_: measure)
    gate.setattr(verify_steps, "drawn", lambda *_: [leaf])
    told = found()
    assert not by_cell, "in every cell of its search"
    assert not told.holds
    assert told.recorded == f"trial {place[0]}.{place[1]}: recorded as failed"
    assert told.found == f"it scores {scored['fitness']:g} here; --spot-seed a"
    last = scored["cells"][-1]["start"]
    for error in (ValueError("it broke"), ConfigError("a", "b", "c")):
        broken[last] = error
        assert found().holds, "it fails here, too"
    broken[last] = LedgerError("a", "b", "c")
    with pytest.raises(LedgerError):
        found()


def test_trials_that_nobody_can_repeat_are_counted(made: Made, tmp_path: Path) -> None:
    case = Case(made.data, asked(made, spot=1000), tmp_path)
    assert "repeatable" not in verify_steps.spot_checks(case).found
    leaves = verify_spots.drawn(made.evidence, 1000, "a")
    n = len(trials_of(made.evidence, made.evidence.search))
    for status in ("timeout", "killed"):
        case.evidence = relabelled(made, (leaves[0]["generation"], leaves[0]["index"]), status)
        told = verify_steps.spot_checks(case)
        assert told.holds
        assert told.recorded.startswith(f"{len(leaves) - 1} other trials")
        assert told.found.endswith(f"; 1 of {n} trials were timed out or killed: not repeatable")


# -- bytes


def mutated(data: bytes, at: int, to: int) -> bytes:
    return data[:at] + bytes([to]) + data[at + 1 :]


def mutations(data: bytes, n: int, seed: int) -> Iterator[bytes]:
    """Yield copies in which one byte is another one."""
    rng = random.Random(seed)
    for _ in range(n):
        at = rng.randrange(len(data))
        yield mutated(data, at, (data[at] + rng.randrange(1, 256)) % 256)


def found(data: bytes, own: Asked, folder: Path) -> bool:
    """Return whether a verification notices something, in the steps that need no replay."""
    try:
        return not checked(data, own, folder, FAST)[-1].holds
    except AlphaTradeError:
        return True


def test_any_byte_of_the_dossier_counts(made: Made, tmp_path: Path) -> None:
    assert not found(made.data, asked(made), tmp_path / "honest")
    missed = [
        at for at, data in enumerate(mutations(made.data, 200, 1)) if not found(data, asked(made), tmp_path / str(at))
    ]
    assert missed == []


def test_any_byte_of_a_member_counts_though_it_is_packed_anew(made: Made, tmp_path: Path) -> None:
    members = opened(made.data).members
    missed, rng = [], random.Random(2)
    for at in range(200):
        name = rng.choice(sorted(members))
        (other,) = mutations(members[name], 1, at)
        if not found(pack(members | {name: other}), asked(made), tmp_path / str(at)):
            missed.append((name, at))
    assert missed == []


def test_any_byte_of_ledger_and_policy_counts(made: Made, tmp_path: Path) -> None:
    """Of files beside the dossier, as they lie on a machine: a longer ledger is the same ledger."""
    file, folder = tmp_path / "policy.json", tmp_path / "ledger"
    made.cast.ledger.copy_to(_empty(folder))
    case = Case(made.data, asked(made, policy=file, ledger=folder), tmp_path / "case")
    paths = [file, *(path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix == ".jsonl")]
    file.write_bytes(opened(made.data).members[dossier.POLICY])
    assert len(paths) == 4
    for path in paths:
        honest = path.read_bytes()
        assert verify_steps.copies(case).holds
        for data in mutations(honest, 50, 3):
            path.write_bytes(data)
            assert not verify_steps.copies(case).holds
        path.write_bytes(honest)
    with (folder / FILE).open("ab") as longer:
        longer.write(b"{}\n")
    assert verify_steps.copies(case).holds
    file.unlink()
    assert "FileNotFoundError" in checked(made.data, case.asked, tmp_path / "gone")[-1].found


def _empty(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_any_byte_of_a_tape_file_counts(tmp_path: Path, gate: pytest.MonkeyPatch) -> None:
    """Also one that changes no row of it: a digit that nobody reads, a space, the time in a packed file's header."""
    file = tmp_path / "eur_usd.csv"
    file.write_text(_quotes(tmp_path))
    made = make(tmp_path / "made", ("tape=file", f"tape.path={file}"))
    elsewhere = tmp_path / "elsewhere.csv"
    own, honest = asked(made, tapes=(str(elsewhere),)), file.read_bytes()
    elsewhere.write_bytes(honest)
    gate.setattr(promote, "gather", made.gate)
    assert all(row.holds for row in checked(made.data, own, tmp_path / "honest"))
    case = Case(made.data, own, tmp_path / "case")
    for data in mutations(honest, 200, 4):
        elsewhere.write_bytes(data)
        assert not verify_steps.tapes(case).holds
    for given in ((), (str(elsewhere), str(elsewhere))):
        last = checked(made.data, own._replace(tapes=given), tmp_path / f"given-{len(given)}", FAST)[-1]
        assert last.step == "tapes"
        assert "--tape" in last.found


def test_any_byte_of_the_embedded_tape_counts(tmp_path: Path, gate: pytest.MonkeyPatch) -> None:
    """It is part of the code, in whose hash it is: also the time in its header, which changes no row."""
    (tmp_path / "nodes" / "data").mkdir(parents=True)
    for name in ("__init__.py", "__main__.py", "requirements.lock"):
        (tmp_path / name).touch()
    tape = tmp_path / "nodes" / "data" / "btcusd_1m.csv.gz"
    honest = (ROOT / "nodes" / "data" / tape.name).read_bytes()
    tape.write_bytes(honest)
    gate.setattr(identity, "files", lambda _: tmp_path)
    seen = {identity.code_hash.__wrapped__()}
    for data in mutations(honest, 200, 5):
        tape.write_bytes(data)
        seen.add(identity.code_hash.__wrapped__())
    assert len(seen) == 201


def _quotes(folder: Path) -> str:
    from alphatrade.nodes.tape_spec import WorldTape
    from alphatrade.nodes.tapes import load_tape

    columns = load_tape(WorldTape(hours=4.0, halts=0), folder).columns
    rows = zip(*(columns[name].tolist() for name in ("ts", "bid", "ask")), strict=True)
    return "ts,bid,ask\n" + "".join(f"{ts},{bid / 1e9:.2f},{ask / 1e9:.2f}\n" for ts, bid, ask in rows)


# -- who signs


def test_a_forged_signature(made: Made, tmp_path: Path) -> None:
    own = opened(made.data)
    (told,) = [canonical(one) for one in own.signatures]
    for other in (told | {"sig": told["sig"][::-1]}, told | {"name": "person"}, told | {"name": "nobody"}):
        data = pack(own.members | {SIGNATURES: dumped([other])})
        last = checked(data, asked(made), tmp_path / other["name"] / other["sig"][:8])[-1]
        assert (last.step, last.holds) == ("signatures", False)
    assert checked(pack(own.members | {SIGNATURES: b"[]"}), asked(made), tmp_path / "none")[-1].step == "signatures"


def test_a_key_that_is_not_trusted(made: Made, tmp_path: Path) -> None:
    last = checked(made.data, asked(made, trust=frozenset(["a" * 64])), tmp_path)[-1]
    assert (last.step, last.holds) == ("signatures", False)
    assert "trusted" in last.found


def test_a_revoked_key(tmp_path: Path, made: Made) -> None:
    folder = tmp_path / "ledger"
    made.cast.ledger.copy_to(_empty(folder))
    from alphatrade.reflection.ledger import Ledger

    Ledger(folder).append("roster", {"revoke": "service"}, made.cast.root, NOW)
    last = checked(resealed(made, {LEDGER: (folder / FILE).read_bytes()}), asked(made), tmp_path / "case")[-1]
    assert (last.step, last.holds) == ("signatures", False)
    assert "revoked" in last.found
    evidence = made.evidence.model_copy(update={"ledger": records(folder)})
    with pytest.raises(LedgerError, match="revoked"):
        dossier.write_dossier(evidence, made.spec, made.settings, made.own, folder, [made.cast.service])


def test_another_code_is_named_with_its_commit(made: Made, tmp_path: Path) -> None:
    data = resealed(made, {}, {"code_hash": "2" * 64, "commit": "c" * 40})
    assert f"git checkout {'c' * 40}" in checked(data, asked(made), tmp_path / "known")[-1].found
    data = resealed(made, {}, {"code_hash": "2" * 64, "commit": ""})
    assert "unknown" in checked(data, asked(made), tmp_path / "unknown")[-1].found


def test_a_commit_is_told_of_a_clean_checkout_only() -> None:
    done = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode or done.stdout:
        pytest.skip("no clean git checkout")
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert identity.commit() == head.strip()


# -- what cannot be made


def test_no_dossier_of_what_was_not_checked(made: Made) -> None:
    for parts, field in (
        ({"genotype": None}, "genotype"),
        ({"ledger_problems": None}, "not checked"),
        ({"ledger_problems": ("x",)}, "'x'"),
    ):
        evidence = made.evidence.model_copy(update=parts)
        with pytest.raises(InputError, match=field):
            dossier.write_dossier(evidence, made.spec, made.settings, made.own, made.cast.folder, [made.cast.service])
    evidence = made.evidence.model_copy(update={"ledger": made.evidence.ledger[::-1]})
    with pytest.raises(LedgerError, match="of the evidence"):
        dossier.segment(made.cast.folder, evidence)


def test_a_drill_that_failed_promotes_nobody(made: Made, gate: pytest.MonkeyPatch) -> None:
    gate.setattr(promotion, "CHECKS", {"ledger": promotion.CHECKS["ledger"]})
    proof = dossier.Proof(made.evidence, made.spec, made.settings, made.own, [], Drill())
    assert promotion.judge(made.evidence, made.spec).promoted
    assert not dossier.facts_of(proof)["promoted"]


@pytest.fixture
def search(made: Made, tmp_path: Path, gate: pytest.MonkeyPatch) -> Path:
    """The folder of a finished search, on a machine that has its ledger and the keys to it."""
    state, folder = tmp_path / "state", tmp_path / "search"
    made.cast.ledger.copy_to(_empty(tmp_path / "ledger"))
    gate.setenv("ALPHATRADE_STATE", str(state))
    gate.setenv("ALPHATRADE_LEDGER", str(tmp_path / "ledger"))
    (state / "keys").mkdir(parents=True)
    for name in ("person", "service"):
        shutil.copy(made.cast.folder.parent / f"{name}.pem", state / "keys")
    _empty(folder)
    leaves = [one for record in made.evidence.ledger for one in record.trials]
    (folder / "search.json").write_bytes(dumped({"search": made.evidence.search}))
    (folder / "settings.json").write_bytes(dumped(made.settings))
    (folder / "trials.jsonl").write_bytes(b"\n".join(map(dumped, leaves)))
    gate.setattr(judge, "gather", made.gate)
    gate.setattr(promotion, "CHECKS", {"ledger": promotion.CHECKS["ledger"]})
    return folder


def test_nobody_goes_to_paper_whose_drill_failed(
    made: Made, search: Path, tmp_path: Path, gate: pytest.MonkeyPatch
) -> None:
    """Even signed by a person, with a verdict that holds; with the drill passed the same policy goes."""
    passed = Case(made.data, asked(made), tmp_path / "case").drill
    for drill, moved in ((Drill(), False), (passed, True)):
        gate.setattr(dossier, "drilled", lambda *_, drill=drill: drill)
        found = judge.judge_search(search, "", "default", sign=True)
        assert found.verdict.promoted
        assert (found.promoted, found.moved) == (moved, moved)


def test_a_ledger_that_nobody_has_kept_anything_of_is_checked_in_itself_and_no_more(made: Made, tmp_path: Path) -> None:
    """A ledger that was made up at once passes such a check: the verdict has to say what it was."""
    bare = made.evidence.model_copy(update={"fingerprint": "", "head": ""})
    told = {
        kept: promotion.judge(one, made.spec).checks[0].target for kept, one in ((True, made.evidence), (False, bare))
    }
    assert told == {True: "nothing wrong, by the fingerprint and the head that judge was given", False: IN_ITSELF}
    path = dossier.write_dossier(bare, made.spec, made.settings, made.own, made.cast.folder, [made.cast.service])
    data = path.read_bytes()
    path.write_bytes(made.data)
    manifest = opened(data).manifest
    assert (manifest.fingerprint, manifest.head) == (made.evidence.fingerprint, made.evidence.head), "of the segment"
    case = Case(data, asked(made), tmp_path)
    case.fresh = bare
    assert all(row.holds for row in verified(case))


def test_a_ledger_that_is_not_the_one_that_was_known_is_not_judged_by(
    made: Made, search: Path, tmp_path: Path, gate: pytest.MonkeyPatch
) -> None:
    known, told = made.cast.ledger.chain, list[tuple[str, ...]]()
    head = f"{known.head.seq}:{known.head.hash}"
    file = tmp_path / "ledger" / FILE
    whole = file.read_bytes()
    for words, message in (
        (("1" * 64, ""), "genesis: got"),
        (("", f"{known.head.seq}:{'1' * 64}"), "it was rewritten"),
        (("", f"99:{'1' * 64}"), "the end was cut off"),
        (("", "soon"), "NUMBER:HASH"),
    ):
        with pytest.raises(LedgerError, match=message):
            judge.judge_search(search, "", "default", False, *words)
        assert file.read_bytes() == whole, "not even a look is entered"

    def gathered(*words: Any) -> Evidence:
        told.append(words[4:])
        return made.evidence

    gate.setattr(judge, "gather", gathered)
    gate.setattr(dossier, "drilled", lambda *_: Drill())
    judge.judge_search(search, "", "default", False, known.fingerprint, head)
    judge.judge_search(search, "", "default", False)
    assert told == [(known.fingerprint, head), ("", "")], "the ledger's own word is none that was kept elsewhere"


# -- the command


def run(made: Made, *words: str, file: Path | None = None, trust: str = "") -> Any:
    trust = trust or made.cast.service.public
    return CliRunner().invoke(
        app, ["verify-policy", made.policy_hash, "--dossier", str(file or made.path), "--trust", trust, *words]
    )


def test_the_command_tells_in_a_table(made: Made) -> None:
    made.path.write_bytes(made.data)
    done = run(made)
    assert done.exit_code == 0, done.output
    assert all(name in done.output for name in verify_steps.STEPS)
    assert "verified: NOT promoted" in done.output
    (seed,) = re.findall(r"--spot-seed ([0-9a-f]{16})\b", done.output)
    again = run(made)
    assert f"--spot-seed {seed}" not in again.output, "each verifier, and each time, another draw"
    assert "3 other trials" in run(made, "--spot", "3", "--spot-seed", "mine").output
    assert "none was drawn" in run(made, "--spot", "0").output
    done = run(made, trust="a" * 64)
    assert done.exit_code == 1
    assert "DIFFERS at signatures" in done.output
    assert "kill drill" not in done.output


def test_a_name_is_shown_as_it_is_written(made: Made, tmp_path: Path) -> None:
    own = opened(made.data)
    (told,) = [canonical(one) for one in own.signatures]
    file = tmp_path / "dossier.zip"
    file.write_bytes(pack(own.members | {SIGNATURES: dumped([told | {"name": "[/x]"}])}))
    done = run(made, file=file)
    assert done.exit_code == 1, done.output
    assert "[/x]" in done.output


def test_what_is_no_dossier_is_one_line(made: Made, tmp_path: Path) -> None:
    files = {
        "truncated": made.data[:-100], "empty": b"", "text": b"dossier", "zip": pack({"a.json": b"{}"}),
        "manifest": pack({MANIFEST: b"{}", SIGNATURES: b"[]"}),
        "folder": pack(opened(made.data).members | {f"{LEDGER}/x": b""}),
    }  # fmt: skip
    for name, data in files.items():
        file = tmp_path / name
        file.write_bytes(data)
        done = run(made, file=file)
        assert isinstance(done.exception, InputError), name
        assert "\n" not in str(done.exception)
    assert isinstance(run(made, file=tmp_path / "nowhere").exception, InputError)


def test_keys_to_trust_are_listed_or_in_a_file(tmp_path: Path) -> None:
    one, other = "a" * 64, "b" * 64
    assert trusted(f"{one}, {other}") == {one, other}
    file = tmp_path / "keys"
    file.write_text(f"# mine\n\n{one}\nowner person {other}\n")
    assert trusted(str(file)) == {one, other}
    file.write_text("# nobody\n")
    for text in ("", "abc", one.upper(), str(tmp_path / "nowhere"), str(file), f"{one},x"):
        with pytest.raises(ConfigError, match="--trust"):
            trusted(text)


def test_the_first_difference_is_named() -> None:
    assert difference({"a": [1, {"b": 2.0}]}, {"a": (1, {"b": 2})}) is None
    assert difference({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}) == ("a.1.b 2", "3")
    assert difference({"a": 1}, {"b": 1}) == ("1 fields", "1 fields")
    assert difference([True], [1]) == ("0 True", "1")
    assert rfc8785.dumps(1.0) == b"1"
