"""The whole way: a search, the gate's own replays, a dossier, and a stranger on another machine who has nothing else."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from alphatrade.evolution.dossier import MANIFEST, SIGNATURES, dumped, opened, sealed
from alphatrade.nodes.dossier import EVIDENCE
from alphatrade.reflection.keys import SigningKey
from alphatrade.strategies.policy import canonical
from tests.nodes.test_evolve import Place

pytestmark = pytest.mark.long
ELSEWHERE = {
    "OPENBLAS_CORETYPE": "Nehalem", "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4", "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo",
}  # fmt: skip


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Return the machine that has searched and judged."""
    place = Place(tmp_path_factory.mktemp("maker") / "here")
    place.run("hydra/launcher=basic")
    (folder,) = place.root.glob("artifacts/*/evolve/*")
    alphatrade(place, "judge", str(folder))
    return place


def dossier(place: Place) -> Path:
    (found,) = place.root.glob("artifacts/*/dossiers/*.zip")
    return found


def service(place: Place) -> SigningKey:
    return SigningKey.load(place.root / "state" / "keys" / "service.pem")


def alphatrade(place: Place, *words: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "alphatrade", *words], cwd=place.root, env=place.env, capture_output=True, text=True,
        timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def stranger(tmp_path: Path) -> Place:
    """Return a machine with another processor and nothing of the maker's."""
    place = Place(tmp_path / "there")
    place.env |= ELSEWHERE
    return place


def test_a_stranger_derives_all_of_it(maker: Place, stranger: Place) -> None:
    file = dossier(maker)
    out = alphatrade(stranger, "verify-policy", file.stem, "--dossier", str(file), "--trust", service(maker).public)
    assert "verified: NOT promoted, refused by" in out
    assert "2 other trials" in out, "the stranger's own draw"
    assert list(stranger.root.iterdir()) == [], "nothing is left behind, and nothing was there"


def test_a_signer_who_made_up_a_result_is_found_out(maker: Place, stranger: Place) -> None:
    own = opened(dossier(maker).read_bytes())
    evidence: dict[str, Any] = json.loads(own.members[EVIDENCE])
    evidence["costly"][0]["net_return"] += 0.05
    members = {name: data for name, data in own.members.items() if name not in (MANIFEST, SIGNATURES)}
    told = {name: value for name, value in canonical(own.manifest).items() if name != "members"}
    file = stranger.root / "made_up.zip"
    file.write_bytes(sealed(members | {EVIDENCE: dumped(evidence)}, told, [("service", service(maker))]))
    words = ("verify-policy", own.manifest.policy_hash, "--dossier", str(file), "--trust", service(maker).public)
    assert "DIFFERS at replays: recorded costly.0.net_return" in alphatrade(stranger, *words, code=1)


def test_the_policy_is_rebuilt_byte_for_byte(maker: Place, stranger: Place) -> None:
    file = dossier(maker)
    alphatrade(stranger, "rebuild-policy", file.stem, "--dossier", str(file), "--out", "policy.json")
    alphatrade(maker, "rebuild-policy", file.stem, "--out", "policy.json")
    there, here = (place.root / "policy.json" for place in (stranger, maker))
    assert there.read_bytes() == here.read_bytes()
    assert hashlib.sha256(there.read_bytes()).hexdigest() == file.stem
