"""Settings of every process: sections, command lines, files, and which of them holds."""
