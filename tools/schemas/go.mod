module darkroom.dev/tools/schemas

go 1.27.0

require (
	github.com/argoproj/argo-cd/v3 v3.6.1
	github.com/aws/karpenter-provider-aws v1.15.0
	github.com/crossplane/crossplane/v2 v2.2.1
	github.com/kedacore/keda/v2 v2.21.0
	github.com/prometheus-operator/prometheus-operator v0.92.0
	github.com/upbound/provider-aws/v2 v2.5.0
	k8s.io/kubernetes v1.36.2
	sigs.k8s.io/kwok v0.8.0
)
