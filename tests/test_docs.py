"""The documents name what exists: verbs, targets, flags, keys, files, links; and every row of the roadmap is there."""

import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import typer
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from typer.testing import CliRunner

from alphatrade.nodes.app import app
from alphatrade.nodes.evolve import search_settings
from alphatrade.nodes.overrides import CONFIG_MODULE, CONFIG_NAME, completed, composed, known_paths, lengthen
from alphatrade.nodes.paper.settings import paper_settings
from alphatrade.nodes.rim_settings import rim_settings
from alphatrade.nodes.settings import compose_settings
from alphatrade.reflection.query import VIEWS
from alphatrade.strategies.topologies import BUILT_IN

ROOT = Path(__file__).parents[1]
PAGES = (
    *("README.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/plugins.md", "docs/learning.md"),
    *("docs/evolution.md", "docs/promotion.md", "docs/dossier.md", "docs/scale.md", "docs/governance.md"),
    *("docs/paper.md", "docs/paper-operations.md", "docs/alerts.md", "docs/console.md", "docs/live.md"),
    *("docs/operations.md", "docs/playbook.md"),
    "docs/ROADMAP.md",
)
PRESENT = tuple(name for name in PAGES if name != "docs/ROADMAP.md")  # the roadmap names the future, too
FOLDERS = "actors|benchmarks|conf|docs|evolution|nodes|reflection|risk|scripts|strategies|tests"
ENVIRONMENTS = ("sim", "paper", "live-shadow", "live")
ROADMAP_ROWS = (
    *(f"M0.{row}" for row in "1234ABC"),
    *(f"M1.{row}" for row in "12345678ABCDE"),
    *(f"M2.{row}" for row in (*range(1, 13), *"ABCD")),
    *(f"M3.{row}" for row in "1234ABC"),
    *(f"M4.{row}" for row in "12345ABC"),
    *(f"M5.{row}" for row in "123AB"),
    *("Q1", "Q2", "Q3", "Q4", "B1", "B2", "B3", "B4", "B5", "B6", "B7"),
    *("K1", "K2", "K3", "K4", "K5", "C1", "C2", "C3", "C4", "C5"),
)


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    """Return the fenced blocks of a page in one language; "" for those that name none."""
    found = re.findall(r"^( *)```(\w*)\n(.*?)^\1```$", text(page), re.S | re.M)
    return [textwrap.dedent(code) for _, name, code in found if name == language]


def spans(page: str) -> list[str]:
    """Return the inline code of a page; a span may go over a line's end."""
    prose = re.sub(r"^( *)```.*?^\1```$", "", text(page), flags=re.S | re.M)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]


def commands(page: str) -> list[str]:
    """Return every command line that a page shows, in blocks and in spans, one for each part of ``a && b``."""
    shown = [line for block in blocks(page, "sh") for line in block.splitlines()] + spans(page)
    parts = [part.strip() for line in shown for part in without_comment(line).split("&&")]
    return [part for part in parts if re.match(r"(alphatrade|make|python) ", part) and "…" not in part]


def without_comment(line: str) -> str:
    return re.sub(r"\s+# .*$", "", line)


def on(pages: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    return ((page, command) for page in pages for command in commands(page))


def starting(program: str, pages: tuple[str, ...] = PAGES) -> list[str]:
    return sorted({command for _, command in on(pages) if command.startswith(program)})


@cache
def targets() -> frozenset[str]:
    return frozenset(re.findall(r"^([a-z-]+):.*## ", text("Makefile"), re.M))


@cache
def keys() -> frozenset[str]:
    """Return every configuration path, of the default composition and of each tape group."""
    found = set(known_paths())
    for path in (ROOT / "conf" / "tape").glob("*.yaml"):
        with initialize_config_module(CONFIG_MODULE, version_base="1.3"):
            tape = compose(CONFIG_NAME, overrides=[f"tape={path.stem}"])["tape"]
        for key in OmegaConf.to_container(tape, resolve=False):
            found.add(f"tape.{key}")
    return frozenset(found)


# -- commands


def test_each_page_shows_commands() -> None:
    assert len(starting("alphatrade")) > 20
    assert len(starting("make")) > 5


@pytest.mark.parametrize("command", starting("alphatrade"))
def test_a_command_has_a_verb_and_options_that_exist(command: str) -> None:
    command = command.partition(" -- ")[0]  # what follows is another command
    verb, *rest = [word for word in shlex.split(command)[1:] if word not in ("<verb>", "[overrides]")] or ["sim"]
    cli = typer.main.get_command(app)
    assert verb in cli.commands, f"no verb {verb}"
    if verb in ("sim", "evolve"):  # Hydra's own options
        return
    command_of = cli.commands[verb]
    if hasattr(command_of, "commands") and (rest or not command_of.invoke_without_command):  # a verb of two words
        command_of = command_of.commands[rest.pop(0)]
    known = {name for parameter in command_of.params for name in parameter.opts}
    assert {word for word in rest if word.startswith("--")} <= known | {"--help"}


COMPOSED = ("alphatrade sim", "alphatrade red-team", "alphatrade nightly", "alphatrade weekly", "alphatrade regime fit")


@pytest.mark.parametrize("command", [one for verb in (*COMPOSED, "make run-sim ARGS=") for one in starting(verb)])
def test_the_overrides_of_a_command_are_valid(command: str) -> None:
    words = shlex.split(command)[2:]
    if words[:1] == ["fit"]:
        at = words.index("--out")
        words = [word for word in [*words[1:at], *words[at + 2 :]] if word != "--states" and not word.isdigit()]
    if words and words[0].startswith("ARGS="):
        words = shlex.split(words[0].removeprefix("ARGS="))
    if "mine:" in command or "my_conf" in command:
        pytest.skip("run for real by tests/nodes/test_plugins.py")
    if "policy_file=" in command:
        pytest.skip("run for real by tests/nodes/test_policy_app.py")
    compose_settings([word for word in words if not word.startswith("--") and word != "job"])


@pytest.mark.parametrize("command", starting("alphatrade evolve"))
def test_the_overrides_of_a_search_are_valid(command: str) -> None:
    words = [word for word in shlex.split(command)[2:] if word != "--multirun"]
    plain = [re.sub(r",[^,]*$", "", word) for word in completed(words, "evolve")]  # of several founders the first
    search_settings(composed(plain, "evolve"))


@pytest.mark.parametrize("command", [*starting("alphatrade rim "), *starting("make rim-shadow ARGS=")])
def test_the_overrides_of_a_reflection_job_are_valid(command: str) -> None:
    words = [part for word in shlex.split(command)[2:] for part in shlex.split(word.removeprefix("ARGS="))]
    rim_settings(composed(words, "rim"))


@pytest.mark.parametrize("command", [*starting("alphatrade paper"), *starting("make run-paper ARGS=")])
def test_the_overrides_of_a_paper_node_are_valid(command: str) -> None:
    words = shlex.split(command)[2:]
    if words and words[0].startswith("ARGS="):
        words = shlex.split(words[0].removeprefix("ARGS="))
    words = [word for word in words if not word.startswith(("policy_file=", "policy_entry=", "--help"))]
    paper_settings(composed(words, "paper"))


@pytest.mark.parametrize("command", starting("make"))
def test_a_target_exists(command: str) -> None:
    assert command.split()[1] in targets()


def test_the_targets_of_the_makefile_are_phony() -> None:
    declared = re.search(r"^\.PHONY: (.*)$", text("Makefile"), re.M)
    assert declared is not None
    assert set(declared[1].split()) == targets()


# -- keys and files


def test_each_key_in_the_prose_exists() -> None:
    """A span such as `policy.flags.fast_weights` or `tape.path` is a path of the configuration."""
    seen = 0
    for page in PRESENT:
        for span in spans(page):
            if re.fullmatch(r"(policy|env|tape|venue|output|paths|cadence)(\.[a-z_0-9]+)+(?<!\.json)", span):
                seen += 1
                key = lengthen(f"{span}=0", sorted(keys())).partition("=")[0]
                assert key in keys(), f"{page}: {span}"
            elif re.fullmatch(r"(env|tape|venue|policy/\w+)=[\w-]+", span):
                seen += 1
                group, _, choice = span.partition("=")
                assert (ROOT / "conf" / group / f"{choice}.yaml").exists(), f"{page}: {span}"
    assert seen > 5


def paths_in(page: str) -> list[str]:
    """Return what looks like a file or a folder of the repository, in spans and commands."""
    words = [word for span in spans(page) for word in span.split()]
    words += [word for command in commands(page) for word in shlex.split(command)]
    found = [word.rstrip(".,;:").partition("::")[0] for word in words]
    return [word for word in found if re.match(rf"(?:{FOLDERS})/", word) and not re.search(r"[<>*{}…]", word)]


@pytest.mark.parametrize("page", PAGES)
def test_each_file_that_is_named_exists(page: str) -> None:
    assert [path for path in paths_in(page) if not (ROOT / path).exists()] == []


def test_the_files_of_a_run_are_those_of_the_readme() -> None:
    """What the README's table calls a file of a run is a name that the code writes."""
    table = text("README.md").split("## What is in a run folder")[1].split("\n## ")[0]
    names = re.findall(r"`([\w/]+\.(?:parquet|json|yaml|html))`", table)
    source = "\n".join(
        path.read_text() for room in ("nodes", "reflection", "risk") for path in (ROOT / room).glob("*.py")
    )
    assert len(names) > 12
    for name in names:
        stem = Path(name).name
        assert stem in source or f'"{stem.removesuffix(".parquet")}"' in source or name.startswith("diary"), name


@pytest.mark.parametrize("page", PAGES)
def test_each_relative_link_resolves(page: str) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text(page))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not ((ROOT / page).parent / link).exists()] == []


def test_the_diary_queries_use_views_that_exist() -> None:
    for command in starting("alphatrade diary"):
        words = shlex.split(command)
        if len(words) > 3 and not words[3].startswith("--"):
            assert set(re.findall(r"\b(?:from|join) (\w+)", words[3])) <= set(VIEWS), command


# -- tables


def test_the_flag_table_names_every_flag_with_its_default() -> None:
    flags = OmegaConf.load(ROOT / "conf" / "policy" / "flags" / "default.yaml")
    defaults = {f"policy.flags.{name}": [bool(value)] * 4 for name, value in flags.items()}
    for name in ("exploration", "governed_feedback"):
        defaults[name] = [bool(OmegaConf.load(ROOT / "conf" / "env" / f"{env}.yaml")[name]) for env in ENVIRONMENTS]
    table = text("CONTRIBUTING.md").split("## Feature flags")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| `([\w.]+)` \| \w+ \|((?: \w+ \|){4})", table, re.M))
    assert {name: [cell.strip() == "on" for cell in row.split("|")[:4]] for name, row in rows.items()} == defaults


def test_each_environment_has_a_row_in_the_profiles() -> None:
    table = text("CONTRIBUTING.md").split("## Run profiles")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `([\w-]+)` \|", table, re.M)) == set(ENVIRONMENTS)
    assert {path.stem for path in (ROOT / "conf" / "env").glob("*.yaml")} == set(ENVIRONMENTS)


def test_every_flag_refuses_until_it_has_a_mechanism() -> None:
    """What the README's table and the flag table call refused is refused, and what they call there is taken."""
    from alphatrade.risk.errors import ConfigError

    attention, sigma = "policy.flags.linear_attention=true", "policy.flags.fast_weights=true"
    without = ((sigma,), (attention, "policy.router.kind=ewma"), (sigma, "policy.router.kind=ewma"))
    for words in (("exploration=true", "policy.drift.enabled=false"), *without):
        with pytest.raises(ConfigError):
            compose_settings(list(words))
    for name in ("paper", "live-shadow", "live"):
        with pytest.raises(ConfigError):
            compose_settings([f"env={name}"])
    for words in (("governed_feedback=true",), ("exploration=true",), (attention,), (attention, sigma), ("policy.router.kind=linucb", sigma), ("policy.router.kind=ewma",)):
        compose_settings(list(words))


# -- governance


def governance_rows(head: str) -> dict[str, str]:
    """Return the second cell of each row of a table in the page on governance, by the name in its first."""
    table = text("docs/governance.md").split(f"\n| {head} |")[1].split("\n\n")[0]
    return dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", table, re.M))


def test_the_thresholds_of_governance_are_told_with_their_values() -> None:
    plain = OmegaConf.to_container(OmegaConf.load(ROOT / "conf" / "governance" / "default.yaml"))
    assert isinstance(plain, dict)
    told = {name: f"{value:g}" if isinstance(value, int | float) else str(value) for name, value in plain.items()}
    assert governance_rows("threshold") == told


def test_each_condition_of_governance_is_told_with_its_kind() -> None:
    from alphatrade.reflection.governance import AUTHORITY, EVIDENCE

    kinds = dict.fromkeys(EVIDENCE, "evidence") | dict.fromkeys(AUTHORITY, "authority")
    assert governance_rows("condition") == kinds


def test_each_edit_phase_and_cause_of_governance_is_told() -> None:
    from typing import get_args

    from alphatrade.reflection.rim.edits import _PARTS, Experiment
    from alphatrade.reflection.rim.entries import PHASES, Rollback

    kinds = {each.model_fields["kind"].default for each in (*_PARTS, Experiment)}
    assert set(governance_rows("kind | what it does")) == kinds
    assert tuple(re.findall(r"^\| (\w+) \|", text("docs/governance.md").split("| phase |")[1].split("\n\n")[0], re.M)) == PHASES
    assert set(governance_rows("cause")) == set(get_args(Rollback.model_fields["cause"].annotation))


def test_who_signs_what_of_governance_is_what_the_chain_takes() -> None:
    from alphatrade.reflection.ledger_chain import _FEEDBACK, MAY

    table = text("docs/governance.md").split("| kind | what it tells | signed by |")[1].split("\n\n")[0]
    rows = {name: set(who.split(", ")) for name, who in re.findall(r"^\| `(\w+)` \|.*\| ([\w, ]+) \|$", table, re.M)}
    assert rows == {kind.__name__.lower(): set(MAY[kind.__name__.lower()]) for kind in _FEEDBACK}


# -- learning


def test_the_queries_of_the_flips_are_those_of_the_benchmark() -> None:
    """The page's SQL is what the figures come from, but for where the truth is."""
    from benchmarks.learn_flips import FLIPS, POLICY, SWITCHES

    shown = [" ".join(block.split()) for block in blocks("docs/learning.md", "sql")]
    truth = "'artifacts/latest/truth.parquet'"
    assert shown == [" ".join(FLIPS.replace("FROM truth", f"FROM {truth}").split()), " ".join(SWITCHES.split())]
    (command,) = (one for one in starting("alphatrade sim", ("docs/learning.md",)) if "tape.schedule" in one)
    assert set(POLICY) <= set(shlex.split(command))


def test_the_tables_of_learning_have_the_defaults_of_the_policy() -> None:
    policy = compose_settings([]).policy
    for name, spec in (("learning.fast_weights", policy.learning.fast_weights), ("drift", policy.drift)):
        table = text("docs/learning.md").split(f"| `policy.{name}` | default |")[1].split("\n\n")[0]
        rows = {key: float(value) for key, value in re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", table, re.M)}
        fields = {key: value for key, value in spec.model_dump().items() if not isinstance(value, bool)}
        assert rows == fields, name


def test_the_tables_of_probes_have_every_probe_with_its_threshold() -> None:
    from alphatrade.reflection.probes import BUILT_IN

    first, second = text("docs/learning.md").split("| probe |")[1:]
    rows = re.findall(r"^\| `(\w+)` \| .* \| (.*) \| ([\d.]+) \| .* \|$", first.split("\n\n")[0], re.M)
    assert {name: (unit, float(value)) for name, unit, value in rows} == {
        name: (probe.unit, probe.threshold) for name, probe in BUILT_IN.items()
    }
    assert set(re.findall(r"^\| `(\w+)`", second.split("\n\n")[0], re.M)) == set(BUILT_IN)


def test_the_sections_of_the_report_are_those_that_it_makes() -> None:
    table = text("docs/learning.md").split("## In the report")[1]
    names = re.findall(r"^\| ([A-Z][\w ]+) \|", table, re.M)
    titles = re.findall(r'title(?:, learning)? = "([^":]+)', text("reflection/report_learning.py"))
    assert names == titles


def test_a_packet_links_to_its_runbook() -> None:
    from alphatrade.reflection.packets import RUNBOOK

    page, _, anchor = RUNBOOK.partition("#")
    heads = [
        re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in re.findall(r"^#+ (.*)$", text(page), re.M)
    ]
    assert anchor in heads


def test_the_excerpt_in_the_readme_is_what_the_terminal_shows() -> None:
    """Every label of a run's screen is in the excerpt, in order, and its topologies are built-in tactics' names."""
    excerpt = next(block for block in blocks("README.md", "") if block.startswith("run "))
    labels = re.findall(r'yield "([\w, ]+)"', text("nodes/show.py"))
    shown = [label for label in labels if label != "same run before"]
    at = [excerpt.find(f"\n{label}") for label in shown]
    assert -1 not in at, shown[at.index(-1)]
    assert at == sorted(at)
    tactics = compose_settings([]).policy.topologies
    for name in re.findall(r"^(\w+) +[\d,]+ +\d+$", excerpt, re.M):
        assert tactics[name].kind in BUILT_IN


# -- roadmap


def test_the_roadmap_has_every_row_once_with_its_state() -> None:
    rows = re.findall(r"^- \[([x~ ])\] \*\*([A-Z]\d(?:\.\w+)?)\*\*(.*(?:\n  .*)*)", text("docs/ROADMAP.md"), re.M)
    assert tuple(name for _, name, _ in rows) == ROADMAP_ROWS
    for state, name, words in rows:
        shown = re.search(r"`(python|make|alphatrade) [^`]+`", words)
        assert state != "x" or shown, f"{name} is done, but no command shows it"
        assert state != "~" or len(words) > 60, f"{name} is begun: what is missing?"


def test_a_test_that_the_roadmap_names_is_there() -> None:
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for name in re.findall(r"`(test_\w+)`", text("docs/ROADMAP.md")):
        assert f"def {name}(" in tests, name


# -- style, and the checks themselves


@pytest.mark.parametrize("page", PAGES)
def test_no_page_names_a_machine(page: str) -> None:
    pattern = "|".join(["/ho" + "me/", "/ro" + "ot/", "/wo" + "rk/", "/tm" + "p/", r"localhost:\d", r"pypi\."])
    assert re.findall(pattern, text(page)) == []


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory, door_env: dict[str, str]) -> Path:
    """Run the Python of the README in an empty folder, and return the folder."""
    folder = tmp_path_factory.mktemp("reader")
    (code,) = blocks("README.md", "python")
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=folder, env=door_env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "artifacts" in done.stdout
    return folder


@pytest.mark.parametrize(
    "command",
    [
        command
        for verb in ("audit", "coverage", "diary", "runs", "status", "kill", "release")
        for command in starting(f"alphatrade {verb}", ("README.md",))
        if len(command.split()) > 2 or verb == "runs"
    ],
)
def test_a_command_of_the_readme_works(command: str, small_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(small_run)
    monkeypatch.setenv("ALPHATRADE_STATE", str(small_run / "state"))
    words = [re.sub(r"^artifacts/\d.*", "artifacts/latest", word) for word in shlex.split(command)[1:]]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert done.output.strip()


@pytest.mark.parametrize(
    "span", ["conf/policy/risk/loose.yaml", "tests/nodes/test_nothing.py", "strategies/nowhere.py::x"]
)
def test_the_check_of_files_sees_a_missing_one(span: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "text", lambda page: f"see `{span}`, and `make test`")
    assert [path for path in paths_in("any") if not (ROOT / path).exists()] == [span.partition("::")[0]]


def test_the_check_of_overrides_sees_an_unknown_one() -> None:
    from alphatrade.risk.errors import ConfigError

    with pytest.raises(ConfigError):
        compose_settings(["tape.pathh=x"])
    assert lengthen("policy.flags.telepathy=0", sorted(keys())).partition("=")[0] not in keys()


# -- the playbook


def sections() -> dict[str, str]:
    """Return the sections of the playbook that are about something that is wrong."""
    found = dict(re.findall(r"^## ([\w-]+)\n(.*?)(?=^## |\Z)", text("docs/playbook.md"), re.M | re.S))
    return {name: section for name, section in found.items() if name == name.lower()}


def test_each_alert_has_a_section_of_the_playbook_that_names_it_and_a_drill() -> None:
    """Its runbook link leads to a section; each section says what to do first, how to see that it worked, how to go back."""
    for name, section in sections().items():
        for word in ("**Notice**", "**First**", "**Worked**", "**Back**", "**Drill"):
            assert word in section, f"{name}: {word}"
    rules = "".join(path.read_text() for path in (ROOT / "deploy" / "prometheus" / "rules").glob("*.yml"))
    alerts = re.findall(r"- alert: (\w+).*?runbook: docs/playbook\.md#([\w-]+)", rules, re.S)
    assert len(alerts) > 20
    for alert, anchor in alerts:
        assert f"`{alert}`" in sections()[anchor], f"{alert} is not in {anchor}"


def test_each_section_names_drills_that_there_are_and_each_drill_has_a_section() -> None:
    """Or it says that something is in none; alerts that a section is about are fired by the drill of that name."""
    from benchmarks.drills.__main__ import DRILLS

    known, named = {drill.name for drill in DRILLS}, set[str]()
    for name, section in sections().items():
        told = section[section.index("**Drill") :]
        drills = {span for span in re.findall(r"`([^`]+)`", told) if re.fullmatch("[a-z]+", span)}
        assert drills, name
        assert drills <= known, f"{name}: {drills - known}"
        alerts = re.findall(r"`([A-Z]\w+)`", section[: section.index("**First**")])
        assert ("alerts" in drills) == bool(alerts), name
        named |= drills
    assert named == known


OPERATORS = ("docs/playbook.md", "docs/operations.md")
SHELL = sorted({
    *(block for page in OPERATORS for block in blocks(page, "sh")),
    *(span for page in OPERATORS for span in spans(page) if re.match(r"(sudo|docker|kubectl|curl|top|rsync|systemctl|alphatrade) .", span)),
})  # fmt: skip


@pytest.mark.parametrize("shell", SHELL)
def test_what_an_operator_types_is_shell_and_names_what_there_is(shell: str) -> None:
    import yaml

    done = subprocess.run(["sh", "-n"], input=shell, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in re.findall(r"(?<![\w/])deploy/[\w./-]+", shell):
        assert (ROOT / name).exists(), name
    services = yaml.safe_load(text("deploy/compose.yaml"))["services"]
    for name in re.findall(r"docker compose -f \S+ (?:run --rm (?:-e \S+ )?|(?:stop|kill|restart|up -d|logs -n \d+) )(\w+)", shell):
        assert name in services, name
    manifests = "".join(path.read_text() for path in (ROOT / "deploy" / "kubernetes").rglob("*.yaml"))
    for kind, name in re.findall(r"kubectl .*?\b(deployment|pod|externalsecret)/([\w-]+)", shell):
        assert re.search(rf"kind: {kind}\nmetadata: {{name: {name}\W", manifests, re.I), f"{kind}/{name}"
    for unit in re.findall(r"\balphatrade-[\w-]+(?:\.\w+)?(?=\s|$)", shell):
        if "systemctl" in shell or "journalctl" in shell:
            assert list((ROOT / "deploy" / "systemd").glob(f"{Path(unit).stem}.*")), unit


@pytest.fixture(scope="module")
def short_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run a node for a moment that denies orders, and return the folder it ran in."""
    place = tmp_path_factory.mktemp("operator")
    env = {**os.environ, "ALPHATRADE_STATE": str(place / "state"), "PYTHONPATH": str(ROOT)}
    words = ("tape=world", "tape.hours=2", "policy.risk.orders_per_minute=2", "output.report=false", "feed.speed=max", "metrics.enabled=false")
    command = [sys.executable, "-m", "alphatrade", "paper", *words]
    for each in (command, [sys.executable, "-c", "from alphatrade.nodes.ledger_home import home; home()"]):
        done = subprocess.run(each, cwd=place, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return place


@pytest.mark.parametrize("command", [one for one in starting("alphatrade ", OPERATORS) if one != "alphatrade supervise"])  # only named
def test_a_command_of_an_operator_does_what_it_says_or_is_refused_for_want_of_what_it_is_about(
    command: str, short_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Really, in a folder of a real run; what composes a configuration is asked to show it."""
    from alphatrade.nodes.live import anchor
    from alphatrade.risk.errors import AlphaTradeError

    monkeypatch.chdir(short_run)
    monkeypatch.setenv("ALPHATRADE_STATE", str(short_run / "state"))
    monkeypatch.setattr(anchor, "PLACES", (short_run / "live.json",))  # never that of this machine
    monkeypatch.setenv("ALPHATRADE_ALERTMANAGER", "http://127.0.0.1:9")
    words = shlex.split(command)[1:]
    if words[0] in ("paper", "rim", "nightly", "evolve"):
        words = [*words, "--cfg", "job"]
    if words[0] == "release":
        kill = CliRunner().invoke(app, ["kill", "--why", "to be released"])
        assert kill.exit_code == 0
    done = CliRunner().invoke(app, words)
    refused = isinstance(done.exception, AlphaTradeError)
    # A direct kill: tests/test_deploy.py; a rollback: its drill; there is no Alertmanager here, and no anchor.
    elsewhere = {"--direct", "rollback", "alarms", "live"}
    assert done.exit_code == 0 or (refused and elsewhere & set(words)), f"{done.output} {done.exception}"
    assert "select kind" not in command or re.search(r"denied +ORDER_RATE", done.output), done.output
    CliRunner().invoke(app, ["release", "--who", "test", "--why", "the next one"])
