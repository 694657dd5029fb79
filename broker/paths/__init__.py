"""Ways into a VM: what forbids them, how OpenSSH is called for them, how they are dialled and relayed."""
