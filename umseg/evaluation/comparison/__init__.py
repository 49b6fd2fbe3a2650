"""Methods that were scored on the same cases, beside each other: tables, tests, ranks and power."""
