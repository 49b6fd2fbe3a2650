"""Sums of weighted logits, to which windows are added one by one."""
