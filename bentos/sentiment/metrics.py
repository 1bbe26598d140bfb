"""What the sentiment service counts; shown at /metrics beside BentoML's own figures."""

from collections.abc import Sequence


class SentimentMetrics:
    """Prometheus metrics of one worker process.

    Create it inside the service: BentoML sets up the multi-process mode of prometheus-client first.
    """

    def __init__(self, *, model_version: str) -> None:
        from prometheus_client import Counter, Gauge, Histogram

        predictions = Counter("sentiment_predictions", "Texts classified, by label.", ["label"])
        self._positive = predictions.labels("positive")
        self._negative = predictions.labels("negative")
        self._score = Histogram(
            "sentiment_score", "Probability of positive.", buckets=[edge / 10 for edge in range(1, 11)]
        )
        self._batch_size = Histogram(
            "sentiment_batch_size", "Texts scored together.", buckets=[2**power for power in range(9)]
        )
        self._dropped = Counter("sentiment_inference_log_dropped", "Records of the inference log that were lost.")
        # Not an Info: that type does not exist in multi-process mode.
        info = Gauge("sentiment_model_info", "Always 1; the label tells.", ["version"], multiprocess_mode="max")
        info.labels(model_version).set(1)

    def observe(self, scores: Sequence[float]) -> None:
        """Count one batch of scored texts."""
        self._batch_size.observe(len(scores))
        positive = sum(score >= 0.5 for score in scores)
        self._positive.inc(positive)
        self._negative.inc(len(scores) - positive)
        for score in scores:
            self._score.observe(score)

    def dropped(self, count: int) -> None:
        """Count lost records of the inference log."""
        self._dropped.inc(count)
