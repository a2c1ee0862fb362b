"""The embedded cluster: what Argo CD, Crossplane and Kubernetes do with this repository, done on one machine."""
