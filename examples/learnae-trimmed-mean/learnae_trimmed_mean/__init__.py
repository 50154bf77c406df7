from learnae import hookimpl


@hookimpl
def learnae_register_merge():
    return {"trimmed-mean": "learnae_trimmed_mean.merge:TrimmedMean"}
