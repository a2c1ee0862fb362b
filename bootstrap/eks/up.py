"""The steps from an AWS account to a cluster that git owns."""

import base64
import json
import os
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import yaml

from bootstrap.eks import credentials, handover
from bootstrap.eks.aws import Aws, Network
from bootstrap.eks.stack import Stack
from bootstrap.eks.step import Say, Step, StepError
from bootstrap.eks.target import Target
from generator import addons, eksctl, names
from generator.identities import identities

Manifest = dict[str, Any]

STACK = "{stack}-roles"


@dataclass(frozen=True)
class Bootstrap:
    """What the steps are about."""

    target: Target
    aws: Aws
    say: Say

    def steps(self) -> list[Step]:
        """Return the steps, in order."""
        target, config = self.target, self.target.config
        cluster = config.cluster_name
        found: list[Step] = []
        if not config.cluster.existing:
            found += [
                Step(f"make the EKS cluster {cluster} with its VPC (20 minutes)", self.aws.active, self._make_cluster),
                Step("make the nodes of the add-ons", self._has_nodes, self._make_nodes),
                Step("install the EKS add-ons", self._has_eks_add_ons, lambda: self._eksctl("create", "addon")),
            ]
        found.append(Step(f"write {handover.relative(target)}", self.reaches, self.connect))
        if self.template:
            found.append(
                Step(f"make the stack {self.stack.name}: roles, S3 endpoint", self._has_roles, self._make_roles)
            )
        wanted = list(identities(config))
        if wanted:
            found.append(Step(f"give {len(wanted)} add-ons their roles", self._identified, self._identify))
        if config.add_ons["karpenter"]:
            found += [
                Step("let the runtimes' nodes join", lambda: self.aws.lets_in(self.node_role), self._let_in),
                Step(
                    f"tag subnets and security group {names.DISCOVERY_TAG}={cluster}",
                    lambda: self.network.tagged,
                    lambda: self.aws.tag(self.network),
                ),
                Step(
                    "let the account buy spot instances",
                    self.aws.has_spot_role,
                    self.aws.make_spot_role,
                ),
            ]
        if config.add_ons["argocd"]:
            found.append(Step("install Argo CD", self.has_argocd, self._install_argocd))
        if secret := credentials.repository_secret(config.cluster.repository.url, os.environ):
            found.append(
                Step(
                    "give Argo CD the credentials of the repository",
                    lambda: self._has_secret(secret),
                    lambda: self._apply(secret),
                )
            )
        found += [
            Step("hand the cluster over to git: projects, root Application", self._has_root, self._apply_root),
            Step("wait for everything in git", self._is_synced, self._wait_synced),
        ]
        return found

    @property
    def network(self) -> Network:
        """Where nodes are launched, as it is now."""
        return self.aws.network()

    @property
    def stack(self) -> Stack:
        """The stack of roles."""
        name = STACK.format(stack=self.target.config.stack_name)
        return Stack(self.aws.client("cloudformation"), name, self.target.poll_seconds)

    @cached_property
    def template(self) -> str:
        """The template of roles as it is in git, less its white space; empty if the cluster has none."""
        file = self.target.rendered / eksctl.FOLDER / f"{eksctl.ROLES_FILE}.yaml"
        return json.dumps(yaml.safe_load(file.read_text()), separators=(",", ":")) if file.exists() else ""

    @property
    def node_role(self) -> str:
        """ARN of the role of the runtimes' nodes."""
        return self.role_arn.format(names.NODE_ROLE.name(self.target.config.stack_name))

    @property
    def role_arn(self) -> str:
        """ARN of a role of the account, with `{}` in the place of its name."""
        cluster = self.target.config.cluster
        return f"arn:{cluster.partition}:iam::{cluster.account_id}:role/{{}}"

    def connect(self) -> None:
        """Write the kubeconfig."""
        path = self.target.kubeconfig
        path.parent.mkdir(parents=True, exist_ok=True)
        where = ["--cluster", self.aws.cluster_name, "--region", self.aws.region]
        self.target.eksctl("utils", "write-kubeconfig", *where, "--kubeconfig", str(path))

    def reaches(self) -> bool:
        """Return whether the cluster's API server answers."""
        if not self.target.kubeconfig.exists():
            return False
        try:
            self.target.kubectl("get", "--raw", "/readyz")
        except StepError:
            return False
        return True

    def _eksctl(self, *command: str) -> None:
        file = self.target.rendered / eksctl.FOLDER / f"{eksctl.CLUSTER_FILE}.yaml"
        self.target.eksctl(*command, "--config-file", str(file))

    def _make_cluster(self) -> None:
        mine = Stack(self.aws.client("cloudformation"), f"eksctl-{self.aws.cluster_name}-cluster", 10)
        found = mine.settled()
        if found and found["StackStatus"] not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            raise StepError(
                f"what an earlier attempt left of the cluster is {found['StackStatus']}: clear it away with "
                f"`make teardown {self.target.command_end}`, and try again"
            )
        if (self.aws.cluster() or {}).get("status") == "CREATING":
            self.aws.wait_active()
        if not self.aws.active():
            self._eksctl("create", "cluster")

    def _has_nodes(self) -> bool:
        return self.aws.node_group(eksctl.NODE_GROUP) in ("ACTIVE", "UPDATING", "DEGRADED")

    def _make_nodes(self) -> None:
        status = self.aws.node_group(eksctl.NODE_GROUP)
        if status == "CREATING":
            self.aws.wait_node_group(eksctl.NODE_GROUP)
        elif status:
            where = f"--cluster {self.aws.cluster_name} --region {self.aws.region}"
            command = f"eksctl delete nodegroup {where} --name {eksctl.NODE_GROUP} --wait"
            raise StepError(
                f"the node group {eksctl.NODE_GROUP} is {status}: delete it with `{command}`, and try again"
            )
        else:
            self._eksctl("create", "nodegroup")

    def _has_eks_add_ons(self) -> bool:
        return self.aws.eks_add_ons() >= set(eksctl.EKS_ADD_ONS)

    def _parameters(self) -> dict[str, str]:
        network = self.network
        tables = self.aws.route_tables_without_endpoint(network, self.stack.name)
        return {"VpcId": network.vpc, "RouteTableIds": ",".join(tables)}

    def _has_roles(self) -> bool:
        return self.stack.is_made_of(self.template, self._parameters())

    def _make_roles(self) -> None:
        self.stack.make(self.template, self._parameters(), self.target.config.cluster.tags)

    def _identified(self) -> bool:
        present = {key: item["roleArn"] for key, item in self.aws.identities().items()}
        wanted = {
            (item.namespace, item.service_account): self.role_arn.format(item.role)
            for item in identities(self.target.config)
        }
        left_over = [key for key, role in present.items() if role.startswith(self.ours) and key not in wanted]
        return wanted.items() <= present.items() and not left_over

    def _identify(self) -> None:
        self.aws.make_identities(identities(self.target.config), self.role_arn, self.ours)

    @property
    def ours(self) -> str:
        """What the ARNs of add-ons' roles start with."""
        return self.role_arn.format(names.ADD_ON_ROLE.name(self.target.config.stack_name))

    def _let_in(self) -> None:
        self.aws.let_in(self.node_role)

    def has_argocd(self) -> bool:
        """Return whether Argo CD is installed."""
        # Once git owns it, git says which version it is.
        return bool(self._application(names.ARGOCD)) or self._release() == "deployed"

    def _release(self) -> str:
        command = ("list", "--namespace", names.ARGOCD_NAMESPACE, "--all", "--output", "json")
        found = {item["name"]: item["status"] for item in json.loads(self.target.helm(*command))}
        return str(found.get(names.ARGOCD, ""))

    def _install_argocd(self) -> None:
        add_on, chart = next((item, item.chart) for item in addons.ADD_ONS if item.name == names.ARGOCD and item.chart)
        if self._release().startswith("pending"):
            # An installation that was interrupted; nothing is in it yet, and Helm would wait for it for ever.
            self.target.helm("uninstall", names.ARGOCD, "--namespace", names.ARGOCD_NAMESPACE, "--wait")
        self.target.helm(
            *("upgrade", "--install", names.ARGOCD, chart.name),
            *("--repo", chart.repository, "--version", chart.version),
            *("--namespace", names.ARGOCD_NAMESPACE, "--create-namespace"),
            *("--values", str(self.target.repository / addons.values_file(add_on))),
            *("--wait", "--timeout", "15m"),
        )

    def _has_secret(self, wanted: Manifest) -> bool:
        found = self.target.object("secrets", credentials.SECRET, names.ARGOCD_NAMESPACE) or {}
        data = {key: base64.b64decode(value).decode() for key, value in found.get("data", {}).items()}
        return bool(data == wanted["stringData"])

    def _apply(self, manifest: Manifest) -> None:
        # By the server, so that no annotation repeats what is in it.
        self.target.kubectl("apply", "--server-side", "--force-conflicts", "--filename", "-", manifest=manifest)

    def _application(self, name: str) -> Manifest | None:
        return self.target.object("applications.argoproj.io", name, names.ARGOCD_NAMESPACE)

    def _has_root(self) -> bool:
        return self._application(names.ROOT) is not None

    def _apply_root(self) -> None:
        folder = self.target.rendered / "applications"
        for file in (*sorted((folder / "projects").glob("*.yaml")), folder / f"{names.ROOT}.yaml"):
            self._apply(yaml.safe_load(file.read_text()))

    def _unready(self) -> dict[str, str]:
        """Return the Applications that are to be waited for, with what each is."""
        files = (self.target.rendered / "applications").rglob("*.yaml")
        wanted = [
            item for item in (yaml.safe_load(file.read_text()) for file in files) if item["kind"] == "Application"
        ]
        found = {
            item["metadata"]["name"]: item.get("status", {})
            for item in self.target.objects("applications.argoproj.io", names.ARGOCD_NAMESPACE)
        }
        states = {}
        for item in wanted:
            if "argocd.argoproj.io/ignore-healthcheck" in item["metadata"].get("annotations", {}):
                continue
            status = found.get(item["metadata"]["name"], {})
            health = status.get("health", {}).get("status", "not there yet")
            sync = status.get("sync", {}).get("status", "not there yet")
            if (health, sync) != ("Healthy", "Synced"):
                problem = next((condition["message"] for condition in status.get("conditions", [])), "")
                states[item["metadata"]["name"]] = f"{sync}, {health}{': ' if problem else ''}{problem}"
        return states

    def _is_synced(self) -> bool:
        return not self._unready()

    def _wait_synced(self) -> None:
        told: dict[str, str] = {}

        def ready() -> bool:
            unready = self._unready()
            for name in sorted(told.keys() - unready.keys()):
                self.say(f"       {name}: Synced, Healthy")
            for name, state in sorted(unready.items()):
                if told.get(name) != state:
                    self.say(f"       {name}: {state}")
            told.clear()
            told.update(unready)
            return not unready

        self.target.wait(
            ready, "what is in git", f"Argo CD goes on by itself; look with `{handover.look(self.target)}`."
        )
