"""The problems of a data set, and corrections of some of them."""
