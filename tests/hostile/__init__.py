"""Input of somebody who means harm: names, answers and texts that must reach no shell, option, path or terminal."""
