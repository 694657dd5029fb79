"""The Textual front end: it will browse VMs and their ways in; `vmbroker` alone prints the help until then."""
