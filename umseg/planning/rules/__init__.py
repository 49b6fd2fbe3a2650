"""The rules of planning: pure functions of spacings, sizes and memory."""
