"""What the tests of streams share."""
