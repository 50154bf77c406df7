"""Callbacks for libraries that have a training loop of their own: `learnae.integrations.lightning` and `learnae.integrations.transformers`.

Neither library is a requirement of Learnae. Each module needs its own.
"""
