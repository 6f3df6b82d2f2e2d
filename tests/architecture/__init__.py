"""The house rules as tests: each rule is a pure function, and each is shown to be able to fail."""
