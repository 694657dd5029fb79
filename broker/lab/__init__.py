"""A pretend cluster in one process: the Kubernetes API, KubeVirt's subresources, guests that are real SSH servers."""
