"""The command line: reads options, calls the pipeline, shows what happened."""
