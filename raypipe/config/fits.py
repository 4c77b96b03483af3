"""Jobs that fit models on features."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from raypipe.config.shared import EngineConfig, PerceptronConfig
from raypipe.config.tables import CsvConfig, ExcludeConfig
from raypipe.config.types import Grid, Seed, option
from raypipe.config.values import KRange


class TrainConfig(PerceptronConfig, EngineConfig, ExcludeConfig, CsvConfig):
    """Fit a classifier on the features of a store.

    Holds out a stratified part, finds the best parameters by grid search with cross-validation on
    the rest, and writes the model, its scores and a confusion matrix.
    """

    out: Annotated[str, option("Output")]
    """Folder, or bucket and prefix, for the model and its scores."""
    report: Annotated[bool, option("Output", usual=True)] = False
    """Also write report.html there, a page with pictures; see `raypipe report`."""
    replace: Annotated[bool, option("Output", usual=True)] = False
    """Put the result in the place of a model or clusters of other options or of another store. The
    same ones, made again, are replaced without it."""
    head: Annotated[
        Literal["logistic", "svm", "forest", "knn", "mlp"], option("Model", usual=True)
    ] = "logistic"
    """Kind of model: logistic regression, linear support vector machine, random
    forest, k nearest neighbours, or multi-layer perceptron."""
    grid: Annotated[Grid, option("Model", usual=True)] = ()
    """Values to try of one of the head's parameters, as `C=0.1,1,10`; repeat it for several. The
    parameters are C (logistic, svm); n_estimators, max_depth, min_samples_leaf, max_features
    (forest); n_neighbors, weights (knn); hidden, dropout, learning_rate, weight_decay, optimizer
    (mlp). Default: a grid that suits the head."""
    spatial: Annotated[Literal["flatten", "average"], option("Model")] = "flatten"
    """How features of several axes (a layer kept as it is) become a row: all of their values, or
    the average over positions."""
    scale: Annotated[Literal["none", "standard", "l2"], option("Model")] = "standard"
    """Scaling of the features: zero mean and unit variance, unit length, or none."""
    max_iter: Annotated[int, Field(ge=1), option("Model")] = 1000
    """Most iterations of one fit."""
    tol: Annotated[float | None, Field(gt=0), option("Model")] = None
    """Tolerance at which a fit stops (logistic, svm). Default: 0.0001."""
    class_weight: Annotated[Literal["none", "balanced"], option("Model", usual=True)] = "none"
    """`balanced` gives rows of rare classes more weight, so that all classes have the same."""
    calibrate: Annotated[
        Literal["auto", "none", "temperature", "sigmoid", "isotonic"], option("Model")
    ] = "auto"
    """How scores become probabilities, fitted on the folds of the cross-validation. `auto`: sigmoid
    for svm, none for the others."""
    split: Annotated[
        Literal["auto", "store", "stratified", "hash", "shuffle", "random"],
        option("Evaluation", usual=True),
    ] = "auto"
    """What is held out, to say how good the model is. The `store`'s own split, a `stratified`
    random part, a part by `hash` of the id, what is left of a seeded `shuffle` behind the part to
    train on, in the order that `export --order shuffle` gives images without views, or at `random`
    as scikit-learn's `train_test_split` does from images in natural order (2 before 10). `auto`:
    the store's if it has one, else stratified."""
    cv: Annotated[int, Field(ge=2), option("Evaluation")] = 3
    """Folds of the cross-validation."""
    test_size: Annotated[float, Field(gt=0, lt=1), option("Evaluation", usual=True)] = 0.25
    """Share of each class that is held out; with --split shuffle and random, of all images."""
    min_per_class: Annotated[int, Field(ge=1), option("Evaluation")] = 1
    """Leave out classes with fewer images than this; their names and counts are told. 1: none."""
    seed: Annotated[Seed, option("Evaluation")] = 42
    """Seed of the splits, and of what is random in a fit."""
    digits: Annotated[int, Field(ge=1, le=6), option("Output")] = 3
    """Digits behind the point in the report on the classes."""


class ClusterConfig(EngineConfig, ExcludeConfig, CsvConfig):
    """Group the features of a store with k-means."""

    out: Annotated[str, option("Output")]
    """Folder, or bucket and prefix, for the assignments and figures."""
    report: Annotated[bool, option("Output", usual=True)] = False
    """Also write report.html there, a page with pictures; see `raypipe report`."""
    replace: Annotated[bool, option("Output", usual=True)] = False
    """Put the result in the place of a model or clusters of other options or of another store. The
    same ones, made again, are replaced without it."""
    k: Annotated[KRange, option("Model")]
    """Number of clusters, or a range as 5:50 (5:50:5 in steps of 5), of which the one with the
    largest mean silhouette on a sample is taken."""
    distance: Annotated[Literal["euclidean", "cosine"], option("Model")] = "euclidean"
    """`cosine`: spherical k-means, on features of unit length."""
    seed: Annotated[Seed, option("Model")] = 42
    """Seed of the starting centres."""
    scale: Annotated[
        Literal["auto", "none", "standard", "l2", "standard-l2"], option("Model", usual=True)
    ] = "auto"
    """Scaling of the features: none, zero mean and unit variance (standard), unit length (l2), or
    one after the other (standard-l2, which is `auto`; with --distance cosine, that is l2)."""
    spatial: Annotated[Literal["flatten", "average"], option("Model")] = "flatten"
    """How features of several axes (a layer kept as it is) become a row: all of their values, or
    the average over positions."""
    init: Annotated[str, option("Model")] = "auto"
    """Where the centres start: `k-means++` (with --engine ray on a sample), `k-means||`, or an .npy
    file of k centres. `auto`: k-means++, or k-means|| for more than 256 clusters on shards."""
    n_init: Annotated[int, Field(ge=1), option("Model")] = 1
    """Starts to try; the end with the smallest inertia is kept."""
    max_iter: Annotated[int, Field(ge=1), option("Model")] = 300
    """Most iterations."""
    tol: Annotated[float, Field(ge=0), option("Model")] = 0.0001
    """Stop once the centres' squared shift is at most this share of the features' variance."""
    join: Annotated[str | None, option("Output")] = None
    """CSV of images, to be written anew with their cluster as a further column. Its ids are in the
    column `id`, else in the first; they may lack the extension."""
    join_id: Annotated[str | None, option("Output")] = None
    """Column of that CSV with the ids. Default: `id`, else the first."""
    join_column: Annotated[str | None, option("Output")] = None
    """Column of that CSV to write the cluster into, whose values are replaced where there is such a
    column. Default: a further one, `cluster`."""
    order: Annotated[Literal["id", "csv"], option("Input")] = "id"
    """Order of the rows in the fit, which decides where k-means starts: by id, or that of the `csv`
    of --join, which then has to name every image of the store once."""
