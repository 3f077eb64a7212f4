"""The ledger of a machine: made once however many come first, completed after a crash, never over what is there."""

import subprocess
import sys
from pathlib import Path

import pytest

from alphatrade.nodes import ledger_home
from alphatrade.nodes.ledger_home import existing, home, key_file
from alphatrade.reflection.keys import SigningKey
from alphatrade.reflection.ledger import Ledger
from alphatrade.reflection.ledger_check import verify
from alphatrade.reflection.ledger_files import FILE
from alphatrade.risk.errors import LedgerError
from tests.conftest import ROOT
from tests.reflection.make_ledger import NOW, leaf, make_cast, search


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ALPHATRADE_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("ALPHATRADE_LEDGER", raising=False)
    return tmp_path / "state"


def test_first_use_makes_keys_and_a_ledger_and_tells_the_fingerprint(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(LedgerError, match="no ledger"):
        existing()
    assert not state.exists()
    own = home()
    told = capsys.readouterr().err
    assert own.ledger.chain.fingerprint in told
    assert "keep elsewhere" in told
    roster = own.ledger.chain.roster
    assert [(m.name, m.role, m.of) for m in roster.members] == [
        ("root", "root", ""), ("owner", "person", ""), ("service", "service", "owner"),
    ]  # fmt: skip
    assert {path.name: path.stat().st_mode & 0o777 for path in (state / "keys").glob("*.pem")} == {
        "root.pem": 0o600, "person.pem": 0o600, "service.pem": 0o600,
    }  # fmt: skip
    before = (state / "ledger" / FILE).read_bytes()
    again = home()
    assert (state / "ledger" / FILE).read_bytes() == before
    assert capsys.readouterr().err == ""
    again.append("search", search())
    again.append_batch([leaf(n) for n in range(2)])
    assert verify(state / "ledger", own.ledger.chain.fingerprint).trials == 2
    other = home(state / "own")
    assert other.ledger.chain.fingerprint != own.ledger.chain.fingerprint
    assert verify(state / "own").entries == 3


def test_whoever_comes_first_there_is_one_ledger(state: Path, door_env: dict[str, str], tmp_path: Path) -> None:
    script = "from alphatrade.nodes.ledger_home import home; print(home().ledger.chain.fingerprint)"
    env = door_env | {"ALPHATRADE_STATE": str(state)}
    many = [
        subprocess.Popen(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, cwd=ROOT
        )
        for _ in range(6)
    ]
    said = [one.communicate() for one in many]
    assert [one.returncode for one in many] == [0] * 6, said
    assert len({out for out, _ in said}) == 1
    assert sum("fingerprint" in err for _, err in said) == 1, "it is made, and told, once"
    assert verify(state / "ledger").entries == 3


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_making_that_was_cut_short_is_finished(state: Path, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    left = iter([True] * after)
    append = Ledger.append

    def failing(self: Ledger, *arguments: object) -> object:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return append(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Ledger, "append", failing)
    if after < 2:
        with pytest.raises(KeyboardInterrupt):
            home()
    monkeypatch.undo()
    monkeypatch.setenv("ALPHATRADE_STATE", str(state))
    (state / "keys").mkdir(exist_ok=True, parents=True)
    (state / "keys" / "service.new").write_text("half a key")
    assert home().append("search", search()).key == "service"
    assert verify(state / "ledger").problems == ()
    assert verify(state / "ledger").entries == 4


def test_a_revoked_service_stays_revoked(state: Path) -> None:
    own = home()
    own.ledger.append("roster", {"revoke": "service"}, SigningKey.load(key_file("root")), NOW)
    for call in (home, existing):
        with pytest.raises(LedgerError, match="a key that was not revoked"):
            call()


def test_a_ledger_of_somebody_else_is_not_touched(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cast = make_cast(tmp_path)
    home()
    monkeypatch.setenv("ALPHATRADE_LEDGER", str(cast.folder))
    before = (cast.folder / FILE).read_bytes()
    with pytest.raises(LedgerError, match="alphatrade ledger add"):
        home()
    assert (cast.folder / FILE).read_bytes() == before
    public = SigningKey.load(key_file("service")).public
    member = {"name": "laptop", "role": "service", "public": public, "of": "person"}
    cast.ledger.append("roster", {"add": member}, cast.root, NOW)
    assert home().append("search", search()).key == "laptop"


def test_what_cannot_be_made_is_refused(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPHATRADE_STATE", str(tmp_path / "file"))
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match="a folder that can be written"):
        home()
    monkeypatch.setenv("ALPHATRADE_STATE", str(state))
    home()
    key_file("service").chmod(0o644)
    with pytest.raises(LedgerError, match="only its owner can read"):
        existing()
    key_file("service").write_text("no key")
    key_file("service").chmod(0o600)
    with pytest.raises(LedgerError, match="an Ed25519 private key"):
        home()
    key_file("service").unlink()
    with pytest.raises(LedgerError, match="a private key file"):
        existing()
    (state / "ledger" / FILE).write_bytes(b"{}\n")
    with pytest.raises(LedgerError, match="one canonical JSON object"):
        home()


def test_without_the_lock_two_would_make_it(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation: the lock is what keeps a second maker out."""
    from contextlib import nullcontext

    made: list[Path] = []
    create = Ledger.create.__func__  # type: ignore[attr-defined]

    def slow(cls: type[Ledger], folder: Path, *arguments: object) -> Ledger:
        made.append(folder)
        if len(made) == 1:  # while the first makes it, a second comes
            home()
        return create(cls, folder, *arguments)  # type: ignore[no-any-return]

    monkeypatch.setattr(ledger_home, "_alone", lambda folder: nullcontext(folder.mkdir(parents=True, exist_ok=True)))
    monkeypatch.setattr(Ledger, "create", classmethod(slow))
    with pytest.raises(LedgerError, match="without a ledger"):
        home()
    assert len(made) == 2
