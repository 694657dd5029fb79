"""The checks of `vmbroker doctor`: their words, and what each of them looks at."""
