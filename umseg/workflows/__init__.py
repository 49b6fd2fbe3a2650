"""What joins several rooms: planning a workspace, validating a trained fold, the demo."""
