// PyPI's torch ships c10d's headers but not Gloo's, which they include: what they need of them to be read, nothing to be run.
#pragma once
