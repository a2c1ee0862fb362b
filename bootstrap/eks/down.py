"""The steps by which a cluster is taken away: what is in it first, so that nothing is left that costs money."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import groupby

from bootstrap.eks.aws import Aws
from bootstrap.eks.stack import Stack
from bootstrap.eks.step import Step
from bootstrap.eks.target import Manifest, Target
from bootstrap.eks.up import Bootstrap
from generator import addons, names

APPLICATIONS = "applications.argoproj.io"
# Argo CD asks before it deletes what data goes with; whoever runs this command has said yes to that.
# https://argo-cd.readthedocs.io/en/stable/user-guide/sync-options/#resource-deletion-with-confirmation
APPROVED = "argocd.argoproj.io/deletion-approved"
LOOK = "Look at what holds it up, with kubectl, and run the same command again: it goes on from here."


@dataclass(frozen=True)
class Teardown:
    """What the steps are about.

    Attributes:
        deletes_pictures: Whether the output bucket goes, too.
    """

    made: Bootstrap
    deletes_pictures: bool = False

    @property
    def target(self) -> Target:
        """The cluster."""
        return self.made.target

    @property
    def aws(self) -> Aws:
        """AWS, about the cluster."""
        return self.made.aws

    def steps(self) -> list[Step]:
        """Return the steps, in order."""
        config = self.target.config
        found = [
            Step("write the kubeconfig", lambda: self._gone() or self.made.reaches(), self.made.connect),
            self._applications("stop following git", lambda: self._named(names.ROOT)),
            self._applications("delete the runtimes: pods, autoscaling, node pools", self._runtimes),
            Step("delete the nodes of the runtimes", self._has_no_nodes, self._delete_nodes),
            self._applications("delete the claims: API, queues, topics", lambda: self._named(names.CLAIMS)),
        ]
        for members in _add_ons(self.target):
            if names.CROSSPLANE_APIS in members and config.add_ons["crossplane"]:
                found.append(
                    Step("let Crossplane take away what it made", self._nothing_managed, self._wait_nothing_managed)
                )
            found.append(self._applications(f"delete {', '.join(members)}", partial(self._named, *members)))
        if config.cluster.existing and config.add_ons["argocd"]:
            found.append(
                Step("delete Argo CD", lambda: self._gone() or not self.made.has_argocd(), self._delete_argocd)
            )
        found.append(Step("take the roles away", self._has_no_roles, self._delete_roles))
        if not config.cluster.existing:
            cluster = f"delete the EKS cluster {config.cluster_name} with its VPC"
            found.append(Step(cluster, self._cluster_is_gone, self._delete_cluster))
        if self.deletes_pictures:
            bucket = output_bucket(self.target)
            found.append(
                Step(
                    f"delete the bucket {bucket} with every picture and job in it",
                    lambda: not self.aws.has_bucket(bucket),
                    lambda: self.aws.delete_bucket(bucket),
                )
            )
        return found

    def _gone(self) -> bool:
        return self.aws.cluster() is None

    def _all(self) -> list[Manifest]:
        return self.target.objects(APPLICATIONS, names.ARGOCD_NAMESPACE)

    def _named(self, *wanted: str) -> list[str]:
        return [name for item in self._all() if (name := item["metadata"]["name"]) in wanted]

    def _runtimes(self) -> list[str]:
        return [
            item["metadata"]["name"]
            for item in self._all()
            if item["spec"]["project"] == names.PROJECT and item["metadata"]["name"] != names.CLAIMS
        ]

    def _applications(self, what: str, members: Callable[[], list[str]]) -> Step:
        """Return the step that deletes Applications with all that they made, and waits until that is gone."""

        def delete() -> None:
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            where = ("--namespace", names.ARGOCD_NAMESPACE)
            for name in members():
                self.target.kubectl("annotate", APPLICATIONS, name, *where, "--overwrite", f"{APPROVED}={now}")
                self.target.kubectl("delete", APPLICATIONS, name, *where, "--wait=false", "--ignore-not-found")
            self.target.wait(lambda: not members(), f"`{what}`", LOOK)

        return Step(what, lambda: self._gone() or not members(), delete)

    def _nothing_managed(self) -> bool:
        # `managed` is the category of all kinds of Crossplane's providers. What others made by this Crossplane counts:
        # nobody would take it away any more.
        return self._gone() or not self.target.objects("managed")

    def _wait_nothing_managed(self) -> None:
        self.target.wait(self._nothing_managed, "taking away what Crossplane made", LOOK)

    def _has_no_nodes(self) -> bool:
        return self._gone() or not (self._node_pools() or self._nodes())

    def _node_pools(self) -> list[str]:
        """Return the runtimes' node pools; in a cluster that was there, others' are none of our business."""
        found = [_name(item) for item in self.target.objects("nodepools.karpenter.sh")]
        ours = {runtime.name for runtime in self.target.config.runtimes.values()}
        return [name for name in found if not self.target.config.cluster.existing or name in ours]

    def _nodes(self) -> list[str]:
        """Return the runtimes' nodes as Karpenter knows them."""
        found = self.target.objects("nodeclaims.karpenter.sh")
        ours = {runtime.name for runtime in self.target.config.runtimes.values()}
        return [
            _name(item)
            for item in found
            if not self.target.config.cluster.existing
            or item["metadata"].get("labels", {}).get("karpenter.sh/nodepool") in ours
        ]

    def _delete_nodes(self) -> None:
        for name in self._node_pools():
            self.target.kubectl("delete", "nodepools.karpenter.sh", name, "--wait=false", "--ignore-not-found")
        for name in self._nodes():
            self.target.kubectl("delete", "nodeclaims.karpenter.sh", name, "--wait=false", "--ignore-not-found")
        self.target.wait(lambda: not (self._node_pools() or self._nodes()), "deleting the nodes", LOOK)

    def _delete_argocd(self) -> None:
        where = ("--namespace", names.ARGOCD_NAMESPACE)
        self.target.kubectl("delete", APPLICATIONS, names.ARGOCD, *where, "--ignore-not-found")
        self.target.helm("uninstall", names.ARGOCD, *where, "--ignore-not-found", "--wait")

    def _has_no_roles(self) -> bool:
        if self.made.stack.look():
            return False
        return self._gone() or not (self._associations() or self.aws.lets_in(self.made.node_role))

    def _associations(self) -> list[Manifest]:
        return [item for item in self.aws.identities().values() if item["roleArn"].startswith(self.made.ours)]

    def _delete_roles(self) -> None:
        if not self._gone():
            self.aws.make_identities([], self.made.role_arn, self.made.ours)
            if self.aws.lets_in(self.made.node_role):
                self.aws.keep_out(self.made.node_role)
            if self.target.config.cluster.existing:
                self.aws.untag(self.aws.network())
        self.made.stack.delete()

    def _stacks(self) -> list[Stack]:
        """Return eksctl's stacks of the cluster that there are: an attempt that failed leaves some without it."""
        cloudformation, start = self.aws.client("cloudformation"), f"eksctl-{self.aws.cluster_name}-"
        pages = cloudformation.get_paginator("describe_stacks").paginate()
        found = [
            item["StackName"] for page in pages for item in page["Stacks"] if item["StackStatus"] != "DELETE_COMPLETE"
        ]
        return [
            Stack(cloudformation, name, self.target.poll_seconds)
            for name in found
            if name.startswith((f"{start}nodegroup-", f"{start}addon-", f"{start}podidentity"))
            or name == f"{start}cluster"
        ]

    def _cluster_is_gone(self) -> bool:
        return self._gone() and not self._stacks()

    def _delete_cluster(self) -> None:
        if not self._gone():
            where = ("--name", self.aws.cluster_name, "--region", self.aws.region)
            self.target.eksctl("delete", "cluster", *where, "--wait", "--disable-nodegroup-eviction")
        # The cluster's own stack has the VPC that the others are in.
        for stack in sorted(self._stacks(), key=lambda item: item.name.endswith("-cluster")):
            stack.delete()


def _name(item: Manifest) -> str:
    return str(item["metadata"]["name"])


def _add_ons(target: Target) -> list[list[str]]:
    """Return the names of the add-ons in the order in which they go: the last to come is the first.

    Our own APIs are among them, and Argo CD is not: it takes the others away.
    """
    waves = [(item.wave, item.name) for item in addons.enabled(target.config) if item.name != names.ARGOCD]
    waves.append((addons.PACKAGES_WAVE + 1, names.CROSSPLANE_APIS))
    ordered = sorted(waves, reverse=True)
    return [sorted(name for _, name in members) for _, members in groupby(ordered, key=lambda item: item[0])]


def output_bucket(target: Target) -> str:
    """Return the name of the bucket of pictures and jobs."""
    cluster = target.config.cluster
    return f"{target.config.stack_name}-outputs-{cluster.account_id}-{cluster.region}"
