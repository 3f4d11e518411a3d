"""Steps that say whether everything works on this machine: build, doctor, tests, sanitizer."""
