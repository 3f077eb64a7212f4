"""The units for systemd: known to it, hardened, restarted where that helps and not where a person has to look."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from alphatrade.nodes.app import EXIT_BAD_INPUT
from alphatrade.nodes.beats import BeatLimits
from alphatrade.nodes.hydra_app import run_config
from alphatrade.nodes.paper.link import KEYS as VENUE
from alphatrade.nodes.paper.settings import PaperSettings, paper_settings
from alphatrade.nodes.redact import refuse_plain
from alphatrade.nodes.secrets import FIELDS
from tests.conftest import ROOT

UNITS = ROOT / "deploy" / "systemd"
SERVICE, KEYS = UNITS / "alphatrade-paper.service", UNITS / "alphatrade-paper-keys.conf"
PROGRAM = "/opt/alphatrade/.venv/bin/alphatrade"
NEWER = {"RestartSteps", "RestartMaxDelaySec"}  # of systemd 254; an older one ignores them


def settings(path: Path, section: str = "Service") -> dict[str, list[str]]:
    """Return the keys of a section, each with all its values; an empty one begins anew, as systemd has it."""
    found: dict[str, list[str]] = {}
    at = ""
    for line in path.read_text().splitlines():
        if line.startswith("["):
            at = line.strip("[]")
        elif at == section and line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found[key] = [*found.get(key, ()), value] if value or key.endswith("BoundingSet") else []
    return found


def one(key: str, path: Path = SERVICE, section: str = "Service") -> str:
    (value,) = settings(path, section)[key]
    return value


def verified(tmp_path: Path, change: tuple[str, str] = ("", "")) -> list[str]:
    """Return what systemd has to say of the service with its drop-in; the program is one that exists here."""
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("no systemd-analyze here")
    drop_in = tmp_path / f"{SERVICE.name}.d"
    drop_in.mkdir()
    for source, target in ((SERVICE, tmp_path / SERVICE.name), (KEYS, drop_in / "keys.conf")):
        target.write_text(source.read_text().replace(PROGRAM, "/bin/true").replace(*change))
    done = subprocess.run(
        [tool, "verify", "--man=no", str(tmp_path / SERVICE.name)], capture_output=True, text=True, check=False
    )
    told = [line for line in done.stderr.splitlines() if SERVICE.name in line or "keys.conf" in line]
    return [
        line for line in told if not ((key := re.search(r"Unknown key (?:name )?'(\w+)'", line)) and key[1] in NEWER)
    ]


def test_systemd_knows_every_line(tmp_path: Path) -> None:
    assert verified(tmp_path) == []


@pytest.mark.parametrize(
    "change",
    [("WatchdogSec=30", "WatchdogSec=often"), ("NoNewPrivileges", "NoNewPrivilege"), ("Type=notify", "Type=notice")],
)
def test_mutation_systemd_finds_what_is_wrong(change: tuple[str, str], tmp_path: Path) -> None:
    assert verified(tmp_path, change)


def test_a_crash_is_restarted_with_a_growing_delay_and_bad_input_is_not() -> None:
    assert one("Restart") == "on-failure"
    assert one("RestartPreventExitStatus") == str(EXIT_BAD_INPUT)
    assert 0 < int(one("RestartSec")) < int(one("RestartMaxDelaySec"))
    assert int(one("RestartSteps")) > 1
    assert 0 < int(one("StartLimitBurst", section="Unit")) <= 20
    # Also where each start fails at once, and with an older systemd that never waits longer: it gives up.
    assert int(one("StartLimitIntervalSec", section="Unit")) > int(one("RestartSec")) * int(
        one("StartLimitBurst", section="Unit")
    )


def test_a_node_that_hangs_is_restarted() -> None:
    assert one("Type") == "notify"
    assert one("NotifyAccess") == "main"
    limits = BeatLimits()
    assert int(one("WatchdogSec")) >= 2 * max(limits.beat_s, limits.lag_s)
    assert (
        0 < int(one("TimeoutAbortSec")) < int(one("TimeoutStopSec"))
    )  # it does not answer: there is nothing to wait for


def test_it_has_time_to_flatten_and_may_write_its_state_only() -> None:
    assert one("KillMode") == "mixed"
    assert int(one("TimeoutStopSec")) >= 60
    assert one("ProtectSystem") == "strict"
    (state,) = re.findall(r"ALPHATRADE_STATE=(\S+)", one("Environment"))
    assert state.startswith(one("ReadWritePaths") + "/")
    assert one("WorkingDirectory") == one("ReadWritePaths")  # artifacts/ of runs
    assert one("ReadWritePaths") == "/var/lib/" + one("StateDirectory")


@pytest.mark.parametrize(
    "key",
    ["NoNewPrivileges", "ProtectHome", "ProtectClock", "ProtectHostname", "ProtectControlGroups", "ProtectKernelLogs", "ProtectKernelModules", "ProtectKernelTunables", "PrivateTmp", "PrivateDevices", "RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID", "LockPersonality"],
)  # fmt: skip
def test_it_is_hardened(key: str) -> None:
    assert one(key) == "yes"


def test_it_has_no_rights_and_leaves_no_dump() -> None:
    assert one("CapabilityBoundingSet") == ""
    assert one("UMask") == "0077"
    assert one("LimitCORE") == "0"
    assert one("User") not in ("", "root")
    assert "MemoryDenyWriteExecute" not in settings(SERVICE)  # compiled arithmetic needs it off


def test_keys_are_handed_in_by_file_and_never_on_the_command_line() -> None:
    loaded = [value.partition(":")[0] for value in settings(KEYS)["LoadCredential"]]
    assert loaded == [f"{VENUE}_{name}" for name in FIELDS]
    for path in (SERVICE, KEYS):
        (command,) = settings(path)["ExecStart"]
        refuse_plain(command.split())
        assert command.startswith(f"{PROGRAM} paper")
    assert "%d" in settings(KEYS)["ExecStart"][0]


@pytest.mark.parametrize("path", [SERVICE, KEYS], ids=lambda path: path.name)
def test_what_a_unit_starts_is_a_command_whose_settings_are_valid(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = settings(path)["ExecStart"]
    assert commands
    for command in commands:
        program, verb, *words = shlex.split(command.replace("%d", "/run/credentials/one"))
        assert (program, verb) == (PROGRAM, "paper")
        monkeypatch.setattr("sys.argv", ["alphatrade"])
        own = run_config(verb, words, "paper", paper_settings)
        assert reads(own) == [value.partition(":")[0] for value in settings(path).get("LoadCredential", ())]


def reads(own: PaperSettings) -> list[str]:
    """Return the secrets that a node reads, by its settings, from the folder of credentials."""
    if own.broker.kind == "simulated":
        return []
    assert own.broker.secrets_dir == Path("/run/credentials/one")
    return [f"{VENUE}_{name}" for name in FIELDS]


# -- jobs of the night

JOBS = {"nightly": "nightly", "rim-shadow": "rim"}


@pytest.mark.parametrize("name", JOBS)
def test_a_job_of_the_night_is_known_to_systemd_and_hardened_like_the_node(name: str, tmp_path: Path) -> None:
    tool = shutil.which("systemd-analyze")
    service, timer = (UNITS / f"alphatrade-{name}.{kind}" for kind in ("service", "timer"))
    own, node = settings(service), settings(SERVICE)
    verb = own["ExecStart"][0].split()
    assert verb == [PROGRAM, JOBS[name]]
    assert own["Type"] == ["oneshot"]
    kept = (
        "StateDirectory",
        "ReadWritePaths",
        "NoNewPrivileges",
        "CapabilityBoundingSet",
        "ProtectSystem",
        "SystemCallFilter",
        "User",
    )
    assert {key: own[key] for key in kept} == {key: node[key] for key in kept}
    assert settings(timer, "Timer")["Persistent"] == ["yes"]
    assert settings(timer, "Install")["WantedBy"] == ["timers.target"]
    if tool is None:
        pytest.skip("no systemd-analyze here")
    calendar = settings(timer, "Timer")["OnCalendar"][0]
    assert subprocess.run([tool, "calendar", calendar], capture_output=True, check=False).returncode == 0
    for path in (service, timer):
        (tmp_path / path.name).write_text(path.read_text().replace(PROGRAM, "/bin/true"))
    done = subprocess.run(
        [tool, "verify", "--man=no", str(tmp_path / timer.name)], capture_output=True, text=True, check=False
    )
    assert [line for line in done.stderr.splitlines() if "alphatrade" in line] == []


def test_room_is_made_before_the_night_and_that_fails_alone() -> None:
    (before,) = settings(UNITS / "alphatrade-nightly.service")["ExecStartPre"]
    assert before == f"-{PROGRAM} retain --apply"


LIVE = UNITS / "alphatrade-live.service"
OWN = {"User", "Group", "WorkingDirectory", "Environment", "StateDirectory", "ReadWritePaths", "ExecStart", "LoadCredential"}


def test_the_unit_of_real_orders_is_as_hard_as_that_of_paper_and_shares_nothing_with_it():
    paper, live = settings(SERVICE), settings(LIVE)
    assert {key for key in paper.keys() | live.keys() if paper.get(key) != live.get(key)} == OWN
    assert live["RestartPreventExitStatus"] == [str(EXIT_BAD_INPUT)]
    assert live["LimitCORE"] == ["0"]
    assert live["ReadWritePaths"] == ["/var/lib/alphatrade-live"]
    assert not {*live["User"], *live["Group"], *live["StateDirectory"]} & {*paper["User"], *paper["StateDirectory"]}
    (command,) = live["ExecStart"]
    assert command.split() == [PROGRAM, "live", "broker.secrets_dir=%d"]
    names = {one.partition(":")[0] for one in live["LoadCredential"]}
    assert names == {f"{VENUE}_{field}" for field in FIELDS}
    assert not any("live.json" in path for path in live["ReadWritePaths"])
