"""Poses of the pictures of a folder by Ray Data, on all CPUs of a machine or of a cluster.

    python examples/ray_folder.py pictures/ poses/ --model compact-lsp

FOLDER may be any that pyarrow reads (s3://bucket/pictures). OUT gets Parquet files with one row per picture: its path,
its poses as `Result.to_json` writes them, or the reason why it could not be read. Ray replaces a worker that dies and
repeats its pictures.
"""

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cpm_fast
from cpm_fast.media.image import decode_image

if TYPE_CHECKING:
    from ray.data import Dataset

# Pictures that a worker takes at a time; if it dies, this many are repeated.
BATCH = 64


class Poses:
    """The work of one Ray actor, which loads the network once and keeps it prepared between batches.

    Args:
        model: a bundled name, or a path that exists on every machine.
        threads: CPU threads per call.
        device: "cpu", or "cuda" with a GPU per actor.
    """

    def __init__(self, model: str, threads: int = 1, device: str = "cpu") -> None:
        self.model, self.threads = cpm_fast.load(model, device=device), threads

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """Return one row per encoded picture (`bytes`, `path`), also for a picture that can't be read."""
        rows: dict[str, list[str]] = {"path": [], "poses": [], "error": []}
        pictures = []
        for path, data in zip(batch["path"], batch["bytes"], strict=True):
            try:
                pictures.append(decode_image(bytes(data), str(path)))
                error = ""
            except ValueError as refused:
                error = str(refused)
            rows["path"].append(str(path))
            rows["error"].append(error)
        results = iter(cpm_fast.infer(pictures, model=self.model, threads=self.threads) if pictures else ())
        for path, error in zip(rows["path"], rows["error"], strict=True):
            rows["poses"].append("" if error else replace(next(results), name=path).to_json())
        return rows


def locate(folder: str, model: str, *, workers: int, threads: int = 1, poses: type[Poses] = Poses) -> "Dataset":
    """Prepare the work, which Ray does when the dataset is written or read.

    Args:
        folder: of pictures, including its subfolders.
        model: see `Poses`.
        workers: actors, on all machines together.
        threads: CPUs per actor.
        poses: the class of the actors.
    """
    import ray

    pictures = ray.data.read_binary_files(folder, include_paths=True)
    # By default Ray starts a dead actor again and repeats its batch.
    return pictures.map_batches(
        poses,
        fn_constructor_args=(model, threads),
        batch_size=BATCH,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=threads,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the poses of a folder of pictures as Parquet files.")
    parser.add_argument("folder")
    parser.add_argument("out", help="a folder that does not exist yet")
    parser.add_argument("--model", default="compact-lsp")
    parser.add_argument("--threads", type=int, default=1, help="CPUs per worker (1)")
    parser.add_argument("--workers", type=int, help="as many as there are CPUs for, if not given")
    asked = parser.parse_args()

    import ray
    from ray.data import SaveMode

    # This connects to the cluster that RAY_ADDRESS names, else it uses this machine.
    ray.init(include_dashboard=False)
    # One CPU is for reading and writing.
    workers = asked.workers or max(1, (int(ray.cluster_resources()["CPU"]) - 1) // asked.threads)
    poses = locate(asked.folder, asked.model, workers=workers, threads=asked.threads)
    poses.write_parquet(asked.out, mode=SaveMode.ERROR)


if __name__ == "__main__":
    main()
