"""Collections of images: what can be read, how it becomes pixels of one shape, where these are kept, in which order
they are trained on. No torch anywhere in here.
"""

from limner.data.cache import Collection, Ragged, prepare
from limner.data.sampler import Sampler
from limner.data.sources import SOURCES, Entry, Skipped, Source, open_source

__all__ = ["SOURCES", "Collection", "Entry", "Ragged", "Sampler", "Skipped", "Source", "open_source", "prepare"]
