"""What users ask for: each command as a function, shared by the command line and Python."""
