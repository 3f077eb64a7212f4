"""A dossier under verification: its parts as they are recorded, and what is derived from them on this machine."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from alphatrade.evolution.dossier import LEDGER, Opened, opened, plain
from alphatrade.evolution.evidence import Evidence, PromotionSpec
from alphatrade.evolution.genotype import Genotype
from alphatrade.evolution.promotion import Verdict
from alphatrade.evolution.rebuild import GENOTYPE
from alphatrade.nodes import dossier, promote
from alphatrade.nodes.evolve import SearchSettings, settings_again
from alphatrade.nodes.kill_drill import Drill
from alphatrade.nodes.sim import load_tapes
from alphatrade.nodes.tape import Tape
from alphatrade.risk.errors import ConfigError, InputError
from alphatrade.strategies.policy import canonical


class Asked(NamedTuple):
    """
    What a stranger brings along.

    Attributes
    ----------
    policy_hash : str
    trust : frozenset of str
        Public keys.
    tapes : tuple of str
        Where the files of tapes are here, in the order of the run; for embedded and generated tapes nothing.
    fingerprint, head : str
        Of the ledger, as he was told them; empty: those of the dossier, which its signers vouch for.
    policy, ledger : Path or None
        A policy file and the folder of a ledger that have to be those of the dossier.
    spot : int
        Trials that are drawn and replayed again, beside those of the gate.
    spot_seed : str
        By which they are drawn; one that the maker of the dossier did not know.
    """

    policy_hash: str
    trust: frozenset[str]
    tapes: tuple[str, ...] = ()
    fingerprint: str = ""
    head: str = ""
    policy: Path | None = None
    ledger: Path | None = None
    spot: int = 0
    spot_seed: str = ""


class Case:
    """
    A dossier under verification.

    Parameters
    ----------
    data : bytes
        Of the file.
    asked : Asked
    place : Path
        An empty folder.

    Raises
    ------
    InputError
        If it is no dossier.
    """

    def __init__(self, data: bytes, asked: Asked, place: Path) -> None:
        self.file: Opened = opened(data)
        self.asked, self.place = asked, place
        self.ledger = place / LEDGER
        for name, content in self.file.members.items():
            if name.startswith(f"{LEDGER}/"):
                path = place / name
                try:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content)
                except OSError as error:  # a name that is a file and a folder, or no space
                    raise InputError(f"dossier {name}", error.strerror or str(error), "a file to unpack") from None

    def plain(self, name: str) -> Any:
        """Return the values of a member."""
        return plain(self.file.members, name)

    @cached_property
    def genotype(self) -> Genotype:
        """As recorded."""
        return Genotype.model_validate(self.plain(GENOTYPE))

    @cached_property
    def spec(self) -> PromotionSpec:
        """As recorded."""
        return PromotionSpec.model_validate(self.plain(dossier.PROMOTION))

    @cached_property
    def verdict(self) -> Verdict:
        """As recorded."""
        return Verdict.model_validate(self.plain(dossier.VERDICT))

    @cached_property
    def drill(self) -> Drill:
        """As recorded."""
        return Drill.model_validate(self.plain(dossier.DRILL))

    @cached_property
    def evidence(self) -> Evidence:
        """As recorded, with the segment of the ledger in its place."""
        told = self.plain(dossier.EVIDENCE)
        return Evidence.model_validate(told | {dossier.APART: [canonical(one) for one in promote.records(self.ledger)]})

    @cached_property
    def own(self) -> SearchSettings:
        """The settings of the search with paths of this machine."""
        return own_settings(self.plain(dossier.SETTINGS), self.genotype, self.place, self.asked.tapes)

    @cached_property
    def tapes(self) -> list[Tape]:
        """Loaded here."""
        return load_tapes(self.own.settings.run)

    @cached_property
    def fresh(self) -> Evidence:
        """Gathered here, by replays."""
        told = self.evidence
        claim = promote.Claim(told.search, told.generation, told.index)
        return promote.gather(self.own, self.ledger, claim, self.spec, told.fingerprint, told.head)


def own_settings(plain: Mapping[str, Any], genotype: Genotype, place: Path, tapes: tuple[str, ...]) -> SearchSettings:
    """
    Return the settings of a search with a candidate, the paths of this machine, and the tapes that are given.

    Raises
    ------
    ConfigError
        If they are not valid, or not as many tapes are given as are read from files.
    """
    paths = {"artifacts": str(place / "artifacts"), "state": str(place / "state")}
    specs = _placed(plain["run"]["tapes"], tapes)
    run = dict(plain["run"]) | {"tape": specs[0], "tapes": specs, "output": {}, "paths": paths}
    return settings_again(dict(plain) | {"run": run}, genotype)


def _placed(specs: list[dict[str, Any]], given: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return tape specs with the places that are given for those that are read from files, in their order."""
    wanted = [spec for spec in specs if "path" in spec]
    if len(given) != len(wanted):
        names = ", ".join(str(spec.get("instrument") or spec["path"]) for spec in wanted) or "none: no tape is a file"
        raise ConfigError("--tape", ", ".join(given), f"the files of {len(wanted)} tapes, in this order: {names}")
    places = iter(given)
    return [spec | {"path": next(places)} if "path" in spec else spec for spec in specs]
