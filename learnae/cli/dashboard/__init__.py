"""What `learnae dashboard` and `learnae status --watch` show of several homes: read in `overview`, drawn in `figures` and `terminal`."""
