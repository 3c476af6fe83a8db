"""``perroquet up``: all of Perroquet on one machine, as children of one process."""
