"""What a page is made from: scores, trainings and the ratings of reviewers."""
