"""What a person looks at: summaries, tables and pictures."""
