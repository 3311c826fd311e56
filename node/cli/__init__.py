"""The command line `truc`: one file per group of verbs."""
