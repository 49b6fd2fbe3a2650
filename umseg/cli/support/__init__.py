"""What verbs share: how functions become commands, what is said, options, and what comes next."""
