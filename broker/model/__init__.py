"""Typed read models of cluster objects: what the cluster defines and nothing else."""
