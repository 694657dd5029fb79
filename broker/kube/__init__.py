"""The only code that talks to the Kubernetes API: who we are, where it is, what it says, and bytes through it."""
