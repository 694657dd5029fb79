"""Arguments, words on the terminal, exit statuses."""
