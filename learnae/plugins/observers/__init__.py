"""Watchers that come with Learnae: they tell other programs what the node's log tells people."""
