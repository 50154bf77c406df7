"""What `learnae init` and `learnae new-plugin` write, and how. The texts lie in `templates/`, one file for each that is written."""
