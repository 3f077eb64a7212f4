"""Rules, routes and dashboards: they parse, each alert fires on its cause and not below it, and no metric is made up."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from alphatrade.nodes import dashboards
from alphatrade.nodes.metrics import NAMES
from alphatrade.nodes.rules import metrics_of
from benchmarks.drills import watching
from tests.conftest import ROOT

PROMETHEUS, ALERTMANAGER = ROOT / "deploy" / "prometheus", ROOT / "deploy" / "alertmanager" / "alertmanager.yml"
RULES = watching.rules()
GROUPS = ("node", "hours", "trading", "live", "slo")
FOREIGN = {"alertmanager_notifications_failed_total"}
ANCHORS = {"kill-switch", "feed-loss", "drift-alarm", "runaway", "disk-full", "rollback", "restore-from-journal", "key-rotation", "dead-node", "stuck-loop", "memory", "latency", "silent-channel", "live-books", "live-permit"}
installed = pytest.mark.skipif(bool(watching.missing()), reason="needs the Debian packages prometheus and prometheus-alertmanager")


def ran(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)


def cases(group: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((PROMETHEUS / "tests" / f"{group}.yml").read_text())["tests"]
    return found


def expressions() -> dict[str, str]:
    """Return every expression of rules and dashboards."""
    files = sorted((PROMETHEUS / "rules").glob("*.yml"))
    found = [rule for file in files for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]
    own = {f"{rule.get('alert') or rule['record']} {number}": rule["expr"] for number, rule in enumerate(found)}
    return own | {f"panel {number}": text for number, text in enumerate(dashboards.expressions())}


# -- rules


@installed
def test_rules_and_configuration_are_sound() -> None:
    done = ran("promtool", "check", "config", str(PROMETHEUS / "prometheus.yml"))
    assert done.returncode == 0, done.stdout + done.stderr


@installed
@pytest.mark.parametrize("group", ["node", "hours", "trading", "live", pytest.param("slo", marks=pytest.mark.long)])  # days of samples
def test_each_alert_does_what_its_unit_tests_say(group: str) -> None:
    done = ran("promtool", "test", "rules", str(PROMETHEUS / "tests" / f"{group}.yml"))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", RULES)
def test_each_alert_has_a_unit_test_in_which_it_fires_and_one_in_which_it_does_not(name: str) -> None:
    checks = [one for group in GROUPS for case in cases(group) for one in case["alert_rule_test"] if one["alertname"] == name]
    assert any(one["exp_alerts"] for one in checks)
    assert name == "Watchdog" or any(not one["exp_alerts"] for one in checks)


@pytest.mark.parametrize("name", RULES)
def test_each_alert_says_how_urgent_it_is_what_has_happened_and_what_to_do(name: str) -> None:
    rule = RULES[name]
    assert rule["labels"]["severity"] in ("page", "ticket", "watchdog")
    assert set(rule["annotations"]) == {"summary", "description", "runbook"}
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert (page, anchor in ANCHORS) == ("docs/playbook.md", True)


def test_the_page_has_a_row_for_each_alert() -> None:
    """With how long it has to last, how urgent it is, and the section of the playbook."""
    rows = re.findall(r"^\| ([A-Z]\w+) \| .+? \| (\d+)(?: (s|m))? \| (\w+) \| ([\w-]+) \|$", (ROOT / "docs" / "alerts.md").read_text(), re.M)
    told = {name: (f"{number}{unit or 's'}", severity, section) for name, number, unit, severity, section in rows}
    wanted = {
        name: (rule.get("for", "0s"), rule["labels"]["severity"], rule["annotations"]["runbook"].partition("#")[2])
        for name, rule in RULES.items()
    }
    assert told == wanted


@pytest.mark.long
@installed
@pytest.mark.parametrize("expr", ["vector(0) > 1", "vector(1)"], ids=["never", "always"])
@pytest.mark.parametrize("name", [name for name in RULES if name != "Watchdog"])
def test_the_unit_tests_see_an_alert_that_never_fires_and_one_that_always_does(name: str, expr: str, tmp_path: Path) -> None:
    shutil.copytree(PROMETHEUS, tmp_path / "p")
    (file,) = [path for path in (tmp_path / "p" / "rules").glob("*.yml") if f"alert: {name}\n" in path.read_text()]
    told = yaml.safe_load(file.read_text())
    for group in told["groups"]:
        for rule in group["rules"]:
            rule |= {"expr": expr} if rule.get("alert") == name else {}
    file.write_text(yaml.safe_dump(told))
    (tests,) = [path for path in (tmp_path / "p" / "tests").glob("*.yml") if f"alertname: {name}\n" in path.read_text()]
    wanted = yaml.safe_load(tests.read_text())
    wanted["tests"] = [one for one in wanted["tests"] if one["alert_rule_test"][0]["alertname"] == name]
    tests.write_text(yaml.safe_dump(wanted))
    assert ran("promtool", "test", "rules", str(tests)).returncode != 0


# -- names


def test_every_metric_of_a_rule_or_a_panel_is_one_that_a_node_has_or_that_a_rule_makes() -> None:
    made = {word for key in expressions() for word in key.split() if ":" in word}
    strange = {key: odd for key, text in expressions().items() if (odd := metrics_of(text) - set(NAMES) - made)}
    assert strange == {}
    assert {name for text in expressions().values() for name in re.findall(r"\balertmanager_\w+", text)} == FOREIGN
    assert metrics_of('rate(alphatrade_made_up_total{a="b"}[5m])') == {"alphatrade_made_up_total"}


@installed
def test_every_expression_parses(tmp_path: Path) -> None:
    rules = [{"record": f"r{number}", "expr": text} for number, text in enumerate(expressions().values())]
    (file := tmp_path / "all.yml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))
    assert len(rules) > 80
    assert ran("promtool", "check", "rules", str(file)).returncode == 0
    file.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": [*rules, {"record": "x", "expr": "rate(a"}]}]}))
    assert ran("promtool", "check", "rules", str(file)).returncode != 0


def test_the_dashboard_is_what_the_code_makes() -> None:
    assert (ROOT / "deploy" / "grafana" / "dashboards" / "alphatrade.json").read_text() == dashboards.text()
    board = dashboards.dashboard()
    assert [panel["title"] for panel in board["panels"] if panel["type"] == "row"] == list(dashboards.ROWS)
    places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in board["panels"]]
    assert len(set(places)) == len(places)
    source = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"][0]
    assert {p["datasource"]["uid"] for p in board["panels"] if "datasource" in p} == {source["uid"]}


# -- routes


@pytest.fixture
def readable(tmp_path: Path) -> str:
    """Return the file of the routes as Alertmanager 0.25 reads it."""
    known = {"webhook_url": "http://127.0.0.1/a", "webhook_watchdog_url": "http://127.0.0.1/b", "telegram_token": "1:a"}
    (file := tmp_path / "alertmanager.yml").write_text(watching.secrets_within(ALERTMANAGER.read_text(), known, tmp_path))
    return str(file)


@installed
def test_routes_are_sound(readable: str) -> None:
    done = ran("amtool", "check-config", readable)
    assert done.returncode == 0, done.stdout + done.stderr


@installed
@pytest.mark.parametrize(("severity", "receiver"), [("page", "page"), ("ticket", "ticket"), ("watchdog", "watchdog"), ("new", "ticket")])
def test_each_severity_has_its_receiver(readable: str, severity: str, receiver: str) -> None:
    done = ran("amtool", "config", "routes", "test", f"--config.file={readable}", f"severity={severity}", "alertname=Some")
    assert done.stdout.split() == [receiver], done.stderr


def test_no_secret_is_in_the_file_of_the_routes() -> None:
    text = ALERTMANAGER.read_text()
    keys = set(re.findall(r"^\s*-? ?(\w+):", text, re.M))
    assert {"url_file", "bot_token_file", "smtp_auth_password_file"} <= keys
    assert not keys & {"url", "bot_token", "smtp_auth_password", "auth_password", "credentials", "password"}


def test_names_of_an_inhibition_are_those_of_alerts() -> None:
    for rule in yaml.safe_load(ALERTMANAGER.read_text())["inhibit_rules"]:
        for matcher in (*rule["source_matchers"], *rule["target_matchers"]):
            if (found := re.fullmatch(r'alertname(=~|=|!=)"(.*)"', matcher)) is not None:
                for name in found[2].split("|"):
                    assert any(re.fullmatch(name, known) for known in RULES), name
