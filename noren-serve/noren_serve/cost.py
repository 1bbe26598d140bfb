"""What a batch costs: seconds as a straight line of its rows, learned while serving."""


class CostCurve:
    """seconds = fixed + slope * rows, fitted by least squares that forgets old batches.

    Exponentially weighted sums make one update and one prediction a few multiplications (recursive least
    squares with a forgetting factor; Haykin, Adaptive Filter Theory, chapter 10).
    """

    def __init__(self, forgetting: float = 0.95) -> None:
        self._keep = forgetting
        self._weight = self._rows = self._rows2 = self._seconds = self._product = 0.0

    def learn(self, rows: int, seconds: float) -> None:
        """Take one finished batch into account; one without rows says nothing about rows."""
        if not rows:
            return
        keep = self._keep
        self._weight = self._weight * keep + 1
        self._rows = self._rows * keep + rows
        self._rows2 = self._rows2 * keep + rows * rows
        self._seconds = self._seconds * keep + seconds
        self._product = self._product * keep + rows * seconds

    def predict(self, rows: int) -> float:
        """Seconds that a batch of `rows` will take; 0 while nothing is known."""
        if not self._weight:
            return 0.0
        mean_rows, mean_seconds = self._rows / self._weight, self._seconds / self._weight
        spread = self._rows2 / self._weight - mean_rows**2
        if spread < 1e-9 * (1 + mean_rows**2):  # batches of one size only: no slope can be told
            return mean_seconds * max(1.0, rows / mean_rows)
        slope = (self._product / self._weight - mean_rows * mean_seconds) / spread
        # Neither part of a cost is negative; noise must not make a big batch look free.
        slope = min(max(slope, 0.0), mean_seconds / mean_rows)
        return mean_seconds + slope * (rows - mean_rows)
