"""Everything whose name is derived from a runtime's or a stack's, in one place, with the length its target allows.

runtimes/chart and the compositions use these forms; tests hold them against each other.
"""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Form:
    """How one name is made.

    Attributes:
        target: What bears the name.
        template: The name, with `{stack}` and `{runtime}` where those names go.
        limit: The most characters that the target allows.
    """

    target: str
    template: str
    limit: int

    def name(self, stack: str, runtime: str = "") -> str:
        """Return the name."""
        return self.template.format(stack=stack, runtime=runtime)

    def room(self, stack: str = "") -> int:
        """Return how many characters the limit leaves for the runtime, or for the stack where there is no runtime."""
        return self.limit - len(self.name(stack))


# Helm: 53, so that what charts append stays within the 63 of Kubernetes.
RELEASE = Form("Helm release", "{runtime}", 53)
APPLICATION = Form("Argo CD Application", "{runtime}", 63)
NODE_POOL = Form("Karpenter NodePool and EC2NodeClass", "{runtime}", 63)
# KEDA: 54, since the HorizontalPodAutoscaler that it makes is called keda-hpa-<name>.
SCALED_OBJECT = Form("KEDA ScaledObject", "{runtime}", 54)
DEPLOYMENT = Form("Deployment", "{runtime}-inference-api", 63)
CONFIG_MAP = Form("ConfigMap", "{runtime}-inference", 63)
# Whose pods get the runtime's role in AWS.
SERVICE_ACCOUNT = Form("ServiceAccount", "{runtime}-inference", 63)
# A hash of what the volume is of follows.
MODELS = Form("PersistentVolume and its claim", "{runtime}-models", 253 - len("-01234567"))
# Runtimes' names have neither dot nor underscore, so these are no other runtime's whatever that is called.
MANAGED_RESOURCE = Form("managed resource of the dead-letter queue", "{runtime}.dead-letter-queue", 253)
# SQS: 80.
QUEUE = Form("SQS queue", "{stack}_{runtime}", 80)
DEAD_LETTER_QUEUE = Form("SQS dead-letter queue", "{stack}_{runtime}_dead-letter", 80)

OF_A_RUNTIME = (
    RELEASE,
    APPLICATION,
    NODE_POOL,
    SCALED_OBJECT,
    DEPLOYMENT,
    CONFIG_MAP,
    SERVICE_ACCOUNT,
    MODELS,
    MANAGED_RESOURCE,
    QUEUE,
    DEAD_LETTER_QUEUE,
)

# The InferenceAPI's definition says 24: the S3 bucket <name>-outputs-<account>-<region> then fits 63 in every region.
INFERENCE_API = Form("InferenceAPI", "{stack}", 24)

# SQS: 80. Karpenter hears from it that nodes are about to be taken away.
INTERRUPTION_QUEUE = Form("SQS queue of Karpenter", "{stack}-karpenter-interruption", 80)

# IAM: 64. bootstrap/eks makes the role, for the nodes of every runtime.
NODE_ROLE = Form("IAM role of the runtimes' nodes", "{stack}-karpenter-node", 64)
# IAM: 64. bootstrap/eks makes the roles, which are no runtime's whatever that is called.
ADD_ON_ROLE = Form("IAM role of an add-on", "{stack}-add-on-{runtime}", 64)

# The tag of the subnets and security groups that Karpenter launches nodes with; its value is the name of the cluster.
DISCOVERY_TAG = "karpenter.sh/discovery"

# Applications of the platform live in the namespace where the runtimes' do, so a runtime cannot have their names.
ARGOCD = "argocd"
CLAIMS = "claims"
CROSSPLANE_APIS = "crossplane-apis"
CROSSPLANE_PACKAGES = "crossplane-packages"
ROOT = "root"
TAKEN = frozenset(
    {
        CLAIMS,
        CROSSPLANE_APIS,
        CROSSPLANE_PACKAGES,
        ROOT,
        ARGOCD,
        "crossplane",
        "karpenter",
        "keda",
        "observability",
        "prometheus-rules",
        "storage-efs",
        "storage-s3",
    }
)

# Projects of Argo CD: of claims and runtimes, and of what runs the cluster.
PROJECT = "darkroom"
PLATFORM_PROJECT = "platform"

# The namespace of the InferenceAPI, and those of Argo CD and Crossplane.
PLATFORM_NAMESPACE = "darkroom"
ARGOCD_NAMESPACE = "argocd"
CROSSPLANE_NAMESPACE = "crossplane-system"

# Where no runtime may be: its pods and claims would be next to what runs the cluster, and to its credentials.
PLATFORM_NAMESPACES = frozenset(
    {
        PLATFORM_NAMESPACE,
        ARGOCD_NAMESPACE,
        CROSSPLANE_NAMESPACE,
        "amazon-cloudwatch",
        "karpenter",
        "keda",
        "kube-node-lease",
        "kube-public",
        "kube-system",
        "mount-s3",
    }
)

# The path of the project's own images in a registry.
IMAGES = "darkroom"

# The name of the guidance's chart, which is asked for where a repository may have several and people name none.
GUIDANCE_CHART = "sd-on-eks"

# The label by which an InferenceAPI finds the InferenceRuntimes that belong to it.
API_LABEL = "darkroom.dev/api"

# The name that the guidance's code gives the runtime of `dynamicModelRuntime`, lower-cased as it does.
DYNAMIC_RUNTIME = "dynamicsdruntime"


def problems_of_runtime(stack: str, runtime: str) -> Iterator[str]:
    """Yield what is wrong with the name of a runtime in a stack."""
    if runtime in TAKEN:
        yield f"{runtime!r} is the name of an Application of the platform: choose another"
    tightest = min(OF_A_RUNTIME, key=lambda form: form.room(stack))
    if len(runtime) > tightest.room(stack):
        yield (
            f"has {len(runtime)} characters, which makes the name of its {tightest.target}, "
            f"{tightest.name(stack, runtime)!r}, longer than the {tightest.limit} that are allowed: "
            f"{tightest.room(stack)} at most"
        )


def problems_of_stack(stack: str) -> Iterator[str]:
    """Yield what is wrong with the name of a stack."""
    if len(stack) > INFERENCE_API.limit:
        yield (
            f"has {len(stack)} characters, and the name of the InferenceAPI may have {INFERENCE_API.limit}: "
            "it starts the names of buckets, which also hold the account and the region"
        )
