"""What a user may get wrong with a console: one line, exit code 2, nothing written; and what is no reason not to start."""

import os
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from typer.testing import CliRunner

from alphatrade.nodes.app import app
from alphatrade.risk.errors import InputError
from tests.conftest import ROOT

TOKEN = "t" * 40


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where the state is to be; no console is served, whatever is forgotten to be refused."""
    monkeypatch.setenv("ALPHATRADE_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("ALPHATRADE_LEDGER", raising=False)
    monkeypatch.setattr(uvicorn.Server, "run", lambda *_, **__: pytest.fail("it was served"))
    return tmp_path / "state"


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as one:
        yield int(one.getsockname()[1])


def free() -> str:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return str(one.getsockname()[1])


def refused(*words: str) -> str:
    """Return the line with which a console is refused, but for who says it."""
    if "--port" not in words:
        words = ("--port", free(), *words)
    done = CliRunner().invoke(app, ["console", *words])
    assert isinstance(done.exception, InputError), done.exception
    return str(done.exception)


@pytest.mark.parametrize(
    ("words", "field"),
    [
        *((("--host", host), "--host: ") for host in ("", "192.0.2.1", "no.such.host.invalid", "a..b", "x" * 300, "127.0.0.1:8464", "::zz", "2001:db8::1")),
        *((("--metrics", url), "--metrics: ") for url in ("file:///etc/passwd", "ftp://127.0.0.1/metrics", "127.0.0.1:9464", "nonsense", "http://", "http://127.0.0.1:x/", "http://127.0.0.1:99999/", "http://[::1/", "http://me:word@127.0.0.1/", "http://127.0.0.1/a b", "http://127.0.0.1/\n", "gopher://127.0.0.1", "javascript:1")),
        *((("--alertmanager", url), "--alertmanager: ") for url in ("file:///etc/passwd", "127.0.0.1:9093", "http://127.0.0.1:0")),
        *((("--env", env), "env: ") for env in ("", "..", "paper/SIM", "other")),
        *((("--account", account), "account: ") for account in ("", "..", "a/b", "/etc", "../SIM", "x" * 65, "a\nb")),
    ],
)  # fmt: skip
def test_each_option_that_cannot_be_is_one_line_before_anything_is_written(
    state: Path, words: tuple[str, ...], field: str
) -> None:
    assert refused(*words).startswith(field)
    assert not state.exists()


def test_a_port_that_is_taken_is_said_as_such(state: Path, taken: int) -> None:
    told = refused("--port", str(taken))
    assert told.startswith(f"--port: got {taken}, expected a port that is free (")
    assert not state.exists()


def test_a_missing_page_of_metrics_is_asked_for_and_no_reason_not_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[int] = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda *_, **__: served.append(1))
    words = ("--metrics", "https://node.example:9464/metrics", "--alertmanager", "http://[::1]:9093/")
    assert CliRunner().invoke(app, ["console", "--port", free(), *words]).exit_code == 0
    assert served == [1]


def pipe(file: Path) -> None:
    os.mkfifo(file, 0o600)


def link(file: Path) -> None:
    (real := file.with_name("real")).write_text(TOKEN)
    real.chmod(0o600)
    file.symlink_to(real)


def holds(body: bytes, mode: int = 0o600) -> Callable[[Path], object]:
    def make(file: Path) -> None:
        file.write_bytes(body)
        file.chmod(mode)

    return make


@pytest.mark.parametrize(
    "make",
    [lambda _: None, Path.mkdir, pipe, link, holds(b""), holds(b"\n\n"), holds(b"short"), holds(TOKEN.encode(), 0o640),
     holds(b"t" * 20 + b"\n" + b"t" * 20), holds(b"\xff\xfe" * 30), holds("ü".encode() * 40)],
    ids=["missing", "folder", "pipe", "link", "empty", "blank", "short", "shared", "two lines", "no text", "not ASCII"],
)  # fmt: skip
@pytest.mark.parametrize("named", [True, False])
def test_a_token_that_cannot_be_used_is_one_line(
    state: Path, tmp_path: Path, make: Callable[[Path], object], named: bool
) -> None:
    if not named:
        state.mkdir()
    make(file := tmp_path / "token" if named else state / "console.token")
    if not named and not file.exists():
        return  # it is made
    before = stat.S_IFMT(file.lstat().st_mode) if os.path.lexists(file) else 0
    told = refused(*(("--token-file", str(file)) if named else ()))
    assert told.startswith("--token-file: got ")
    assert str(file) in told
    assert before == (stat.S_IFMT(file.lstat().st_mode) if os.path.lexists(file) else 0)


@pytest.mark.parametrize("where", ["state", "state/below"])
def test_a_state_that_is_a_file_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    (tmp_path / "state").write_text("mine")
    monkeypatch.setenv("ALPHATRADE_STATE", str(tmp_path / where))
    assert refused().startswith("ALPHATRADE_STATE: got ")
    assert (tmp_path / "state").read_text() == "mine"


def test_a_state_of_nobody_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPHATRADE_STATE", "~nobody-of-that-name/state")
    assert refused().startswith("ALPHATRADE_STATE: got '~nobody-of-that-name/state'")


# -- as a user sees it


def ran(
    tmp_path: Path,
    *words: str,
    program: tuple[str, ...] = ("-m", "alphatrade"),
    before: tuple[str, ...] = (),
    **env: str,
) -> str:
    own = {**os.environ, "PYTHONPATH": str(ROOT), "ALPHATRADE_STATE": str(tmp_path / "state"), **env}
    command = [*before, sys.executable, *program, "console", "--port", free(), *words]
    done = subprocess.run(command, cwd=tmp_path, env=own, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@pytest.mark.parametrize("what", ["token", "state"])
def test_what_may_not_be_read_is_one_line(tmp_path: Path, what: str) -> None:
    """Root may read all, so it lays that right down here."""
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("needs setpriv(1)")
    before = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()
    file = tmp_path / "token"
    file.write_text(TOKEN)
    file.chmod(0o000 if what == "token" else 0o600)
    (tmp_path / "state").mkdir(mode=0o500 if what == "state" else 0o700)
    told = ran(tmp_path, "--token-file", str(file), before=before)
    assert ("--token-file" if what == "token" else "alphatrade: ALPHATRADE_STATE: got ") in told
    assert what == "token" or list((tmp_path / "state").iterdir()) == []


@pytest.mark.parametrize("absent", ["nicegui", "prometheus_client"])
def test_a_console_without_its_extra_says_how_it_is_installed(tmp_path: Path, absent: str) -> None:
    program = f"import sys; sys.modules[{absent!r}] = None; from alphatrade.nodes.app import command; command()"
    told = ran(tmp_path, program=("-c", program))
    assert told.startswith(f"alphatrade: console: got '{absent}")
    assert told.endswith("', expected the extra console: pip install 'alphatrade[console]'\n")


def test_the_extra_has_all_that_the_console_imports() -> None:
    import tomllib

    extras: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {"nicegui", "prometheus-client"} <= {one.partition(">")[0] for one in extras["console"]}
