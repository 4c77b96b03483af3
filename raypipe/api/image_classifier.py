"""A trained model as a classifier of images, which scikit-learn takes for one of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin

from raypipe.api.arguments import Origin
from raypipe.display.html import table
from raypipe.errors import UsageError
from raypipe.heads import Head, as_rows
from raypipe.heads.model import TrainedModel
from raypipe.predictions.given_images import GivenImage, as_list, is_features, probabilities
from raypipe.rows.features import finite
from raypipe.spec import Spec

_NAMED = 6


class ImageClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc] # has no types
    """A trained model: what `train` and `load_model` return.

    A classifier of scikit-learn, fitted, for its displays and metrics. It predicts in this process,
    without Ray; for many images, and for those of buckets, there is `raypipe.predict`.

    Args:
        trained: the head, with what is needed to make its features.
        origin: where it was written.
        backbone: where its backbone is now, if it has moved.
        weights: where its weights file is now, if it has moved.

    Examples:
        >>> model.predict("photos/daisy/0001.jpg").tolist()
        ['daisy']
        >>> model.predict_proba(store.to_numpy().features).shape
        (61, 3)
    """

    def __init__(
        self,
        trained: TrainedModel,
        origin: Origin,
        *,
        backbone: str | None = None,
        weights: str | None = None,
    ) -> None:
        self.trained = trained
        self.origin = origin
        self.backbone = backbone
        self.weights = weights

    @property
    def head(self) -> Head:
        """The classifier of features."""
        return self.trained.head

    @property
    def spec(self) -> Spec:
        """What the features are."""
        return self.trained.spec

    @property
    def column(self) -> str:
        """The feature column that the head reads."""
        return self.trained.column

    @property
    def provenance(self) -> dict[str, Any]:
        """Where backbone and weights came from."""
        return self.trained.provenance

    @property
    def metrics(self) -> dict[str, Any]:
        """How it was evaluated."""
        return self.trained.metrics

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the probabilities."""
        return self.trained.classes

    @property
    def classes_(self) -> npt.NDArray[np.str_]:
        """The same, (K,), as scikit-learn has them."""
        return np.array(self.classes)

    def fit(self, *_: object) -> ImageClassifier:
        """Refuse to fit: `raypipe.train` does, from a store.

        Raises:
            UsageError: always. scikit-learn knows its estimators by this method.
        """
        raise UsageError("this model is fitted; raypipe.train(store, out=...) fits another one")

    def predict(
        self, images: GivenImage | Sequence[GivenImage] | npt.NDArray[np.floating[Any]]
    ) -> npt.NDArray[np.str_]:
        """Return the (N,) most probable classes.

        Args:
            images: as in `predict_proba`.

        Raises:
            UsageError: as in `predict_proba`.
        """
        best = self.predict_proba(images).astype(np.float32, copy=False).argmax(axis=1)
        labels: npt.NDArray[np.str_] = self.classes_[best]
        return labels

    def predict_proba(
        self, images: GivenImage | Sequence[GivenImage] | npt.NDArray[np.floating[Any]]
    ) -> npt.NDArray[np.floating[Any]]:
        """Return (N, K) probabilities.

        Args:
            images: a path or URI, bytes of a file, a PIL image, or an array (H, W) or (H, W, 3) of
                uint8, or a list of these; or features made with `spec`, (N, …) floats.

        Raises:
            UsageError: it is neither, an image cannot be read, the features are of another width or
                not finite, or the backbone is not the model's any more.
        """
        if is_features(images):
            return self._of_features(np.asarray(images))
        return probabilities(self.trained, as_list(images), self.backbone, self.weights)

    def _of_features(self, features: npt.NDArray[Any]) -> npt.NDArray[np.floating[Any]]:
        rows = (
            as_rows(features, self.head.spatial, self.head.channels) if features.ndim > 1 else None
        )
        width = _width(self.head)
        if rows is None or width not in (None, rows.shape[1]):
            raise UsageError(
                f"features: the model's column {self.column!r} has rows of {width} values; got "
                f"an array {features.shape} of {features.dtype} (of an image, give uint8)"
            )
        if not finite(rows).all():
            raise UsageError("features: some are NaN or infinite")
        return self.trained.predict_proba(features)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __repr__(self, N_CHAR_MAX: int = 0) -> str:  # noqa: N803 - as its base has it
        names = ", ".join(self.classes[:_NAMED]) + ", …" * (len(self.classes) > _NAMED)
        return (
            f"<ImageClassifier {self.origin.place!r}: {self.head.kind}, "
            f"{len(self.classes)} classes: {names}>"
        )

    def _repr_html_(self) -> str:
        names = ("head", "best_params", "accuracy", "test_rows", "train_rows", "store", "snapshot")
        facts = [(name, self.metrics[name]) for name in names if name in self.metrics]
        facts = [("column", self.column), *facts]
        return table(f"Model of {len(self.classes)} classes", facts)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self._repr_html_()}


def _width(head: Head) -> int | None:
    """Return how many values the rows have that a head was fitted on; None if it does not say."""
    if len(head.scaling.mean):
        return len(head.scaling.mean)
    scorer: Any = head.scorer
    if hasattr(scorer, "coef"):
        return int(scorer.coef.shape[1])
    if hasattr(scorer, "weights") and head.kind == "mlp":
        return int(scorer.weights[0].shape[1])
    return int(scorer.rows.shape[1]) if hasattr(scorer, "rows") else None
