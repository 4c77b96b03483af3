"""Commands to start from, by job: the help and the reference show them."""

from __future__ import annotations

#: Those of the help of all.
FIRST_STEPS = (
    "raypipe extract photos --out features  # a subfolder for each label",
    "raypipe train features --out model",
    "raypipe predict model new.jpg",
)

EXAMPLES: dict[str, tuple[str, ...]] = {
    "extract": (
        "raypipe extract photos --out features --backbone pypi/efficientnet_lite0",
        "raypipe extract photos --out features --backbone resnet50 --dry-run",
        "raypipe extract s3://bucket/photos --out s3://bucket/features --split hash",
        "raypipe extract photos --out maps --layer layer3:hwc --layer features=avgpool",
    ),
    "train": (
        "raypipe train features --out model --grid C=0.01,0.1,1 --report",
        "raypipe train features --out model --head mlp --hidden 256 --epochs 30",
    ),
    "cluster": (
        "raypipe cluster features --out groups --k 17 --report",
        "raypipe cluster features --out groups --k 5:50:5",
    ),
    "predict": (
        "raypipe predict model new-photos --out predictions.csv --top-k 3",
        "raypipe predict model new-photos --out predictions --threshold 0.8",
        "raypipe predict model labelled-photos --out checked --evaluate --report",
    ),
    "export": (
        "raypipe export features --to hdf5 --out features.h5",
        "raypipe export features --to npy --out part.npy --split stratified",
    ),
    "run": (
        "raypipe run recipes/flowers17-vgg16.yaml --source flowers17 --dry-run",
        "raypipe run recipes/cluster-vgg16.yaml --source images --set cluster.k=10",
    ),
    "submit": (
        "raypipe submit -- extract s3://bucket/photos --out s3://bucket/features",
        "raypipe submit --attach raypipe-extract-1a2b3c",
    ),
    "report": (
        "raypipe report model --out model.html",
        "raypipe report demo-output --title 'All of the demo'",
    ),
    "inspect": ("raypipe inspect features", "raypipe inspect features --snapshot 3 --json"),
    "similar": (
        "raypipe similar features daisy/0001.jpg",
        "raypipe similar features new.jpg --k 20 --out like-new.png",
    ),
    "dedupe": ("raypipe dedupe features --out duplicates.csv",),
    "layers": ("raypipe layers resnet50", "raypipe layers my_net.py:build --size 96"),
    "pack": ("raypipe pack photos --out shards --shards 8",),
    "compact": ("raypipe compact features --target-mb 512",),
    "expire": ("raypipe expire features --keep 30 --older-than 7 --dry-run",),
    "pin": ("raypipe pin features model-7 --snapshot 12", "raypipe pin features model-7 --remove"),
    "verify": ("raypipe verify features", "raypipe verify features --every --json"),
    "repair": ("raypipe repair features",),
    "demo": ("raypipe demo --out demo-output",),
    "doctor": (
        "raypipe doctor photos --backbone resnet50",
        "raypipe doctor --backbone vit_b_16 --images 1000000000 --price 3.5",
    ),
}
