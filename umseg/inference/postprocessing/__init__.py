"""What is done to label maps after prediction, as validation chose it."""
