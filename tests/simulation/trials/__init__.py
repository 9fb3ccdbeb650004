"""The simulation that proves the error rates: worlds, cells, what comes of them. Runs the code of stats."""
