"""Settings of every process: sections, command lines, files, and their precedence."""
