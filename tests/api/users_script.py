"""What a user writes: photographs to features, a model, predictions, clusters and pages."""

from pathlib import Path

import raypipe


def unsure(table: raypipe.PredictionTable, least: float) -> list[str]:
    return [str(row["id"]) for row in table.to_pylist() if row["probability"] < least]


def described(store: raypipe.Store, model: raypipe.ImageClassifier) -> str:
    images, width = store.to_numpy().features.shape
    return f"{images} images of {', '.join(model.classes)}, {width} values each"


folder = Path("photos")
store = raypipe.extract(
    folder, out=Path("features"), backbone="resnet18", weights="random", size=32
)
model = raypipe.train(store, out="model", grid="C=0.1")
print(described(store, model))
table = raypipe.predict(model, folder, top_k=2)
print(table.num_rows, "images, unsure:", unsure(table, 0.4))
print(model.predict([folder / "circle" / "0001.png"]).tolist())
print(raypipe.predict(model, store, out="predictions.csv"))
groups = raypipe.cluster(store, out="groups", k=3)
print(groups.sizes.tolist(), groups.predict(store.to_numpy().features).shape)
print(raypipe.report(store, out="report-0.html"), raypipe.report(model, out="report-1.html"))
print(raypipe.report(groups, out="report-2.html"))
for found in raypipe.similar(store, "circle/0001.png", k=2):
    print(found["id"], found["similarity"])
print(raypipe.export(store, out="features.csv", to="csv"))
