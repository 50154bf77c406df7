"""HEPMASS (UCI Machine Learning Repository): particle collisions in 28 numbers each; does one show the signal? And a synthetic stand-in."""

from learnae.data.hepmass.collisions import Collisions as Collisions
from learnae.data.hepmass.generator import synthetic as synthetic
from learnae.data.hepmass.reading import chunks_of as chunks_of
from learnae.data.hepmass.scaling import Scaling as Scaling
from learnae.data.hepmass.shares import Share as Share
from learnae.data.hepmass.writing import write_like_published as write_like_published
