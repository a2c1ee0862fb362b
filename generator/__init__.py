"""From clusters/<cluster>/config.yaml to the manifests that Argo CD and Crossplane apply."""
