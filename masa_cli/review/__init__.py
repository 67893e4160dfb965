"""Looking at tracks in a browser and mending them: edits, their log, the page and its server."""
