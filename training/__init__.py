"""Training scripts: one for each bundle, and what they share."""

import os

# Before anything that computes is imported. The shop's data are small: threads that wait for each other bring little,
# and took eight times as long on busy cores. For large data set the variable yourself.
os.environ.setdefault("OMP_NUM_THREADS", "1")
