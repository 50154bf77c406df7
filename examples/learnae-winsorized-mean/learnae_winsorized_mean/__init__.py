from learnae import hookimpl


@hookimpl
def learnae_register_merge():
    return {"winsorized-mean": "learnae_winsorized_mean.merge:WinsorizedMean"}
