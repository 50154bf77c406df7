"""The built-in selectors."""
