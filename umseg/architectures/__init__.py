"""What networks are made of and what memory they take: data, without torch."""
