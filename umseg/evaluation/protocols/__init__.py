"""The scores of the paper's tables, as its published scripts compute them, and the same without their peculiarities."""
