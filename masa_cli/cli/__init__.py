"""The command line: reads options, calls the rest, shows what happened. Nothing else prints."""
