"""The memory that training a network takes."""
