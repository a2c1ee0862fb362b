module darkroom.dev/tools/kube-linter

go 1.27.0

replace golang.stackrox.io/kube-linter => github.com/stackrox/kube-linter v0.8.3
