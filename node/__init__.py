"""The life of one node: tasks, network, API, command line, time."""
