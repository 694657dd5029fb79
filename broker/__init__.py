"""vmbroker's broker: everything that works without a screen.

The storeys, from the roof down; imports only go down, and `make lint` says so::

    broker.main        composition root and console script
    tui | broker.cli   screens | arguments, stdout, stderr, exit statuses
    broker.lab         a pretend cluster, a process of its own; shares no line with the client
    broker.actions     one verb a file: the only place that combines rooms
    broker.paths       ways into a VM: preflight, diagnosis, OpenSSH's argv and configuration, dialling, relaying
    broker.facts       pure predicates over the model: run state, what is dialled, roles, policies
    broker.kube        the only code that talks to the Kubernetes API
    broker.model       typed read models of cluster objects
    broker.config | broker.tasks
    broker.refs
    broker.clean
    broker.errors

A way into a VM starts in `broker.cli` (argv), is decided by `broker.actions.connect` from what `broker.kube` reads,
and ends in `broker.paths.relay`, which copies bytes until one side is done.
"""
