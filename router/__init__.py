"""Which arm decides, and the service that asks it: never statistics, training or a market's data."""
