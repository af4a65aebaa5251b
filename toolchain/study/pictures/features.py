"""How networks see images and their attacked forms: t-SNE of the input and of the last layers' results.

"Adversarial Fine-tuning of Compressed Neural Networks", figure 2 and appendix A.2: images of one class, clean and after
PGD on each network of a pair; features flattened; scikit-learn's t-SNE, perplexity 30, learning rate "auto". One panel
embeds the images of both networks together. Of an integer graph the features are the twin's, which are the engine's.

An embedding can show gaps that are not there, so a figure of the features themselves stands in each panel, for each
network:

    alike = share of images, clean and attacked, whose nearest neighbour is of the same kind

1: attacked images lie apart; 1/2: kinds are mixed; 0: each image lies beside its own attacked form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from pydantic import Field

from ....bench.attacks.presets import choose_attacks
from ....export.twin.twin import Twin
from ....runtime.errors import DataError, MissingExtraError
from .hidden_layers import last_layers
from .study_picture import Finished, FinishedNetwork, Picture

__all__ = ["FeaturePicture"]

_BATCH = 256
_KINDS = ("clean", "attacked")
_COLOURS = (("tab:blue", "tab:cyan"), ("tab:red", "tab:orange"))


class FeaturePicture(Picture):
    """Rows: pairs of networks; columns: the input and the last layers.

    Attributes:
        label: the class, by its name in the data set.
        attack: what attacks each network.
        pairs: keys of cells, two a row.
        layers: how many of the last ones, the logits among them.
        perplexity: of t-SNE; less where there are too few images.
    """

    kind: Literal["features"]
    label: str
    attack: str
    pairs: tuple[tuple[str, str], ...]
    layers: Annotated[int, Field(ge=1)] = 3
    perplexity: Annotated[float, Field(ge=2)] = 30.0
    inches: tuple[float, float] = (12.0, 9.0)

    @property
    def cells(self) -> tuple[str, ...]:
        return tuple(key for pair in self.pairs for key in pair)

    def find(self, finished: Finished) -> dict[str, Any]:
        panels = []
        images = self._images(finished)
        for pair in self.pairs:
            labels = [finished.network(key).label for key in pair]
            seen = [self._seen(finished.network(key), *images) for key in pair]
            panels += [self._panel(labels, column, [one[column] for one in seen]) for column in seen[0]]
        settings = {"class": self.label, "images": len(images[0]), "attack": self.attack}
        return settings | {"perplexity": self.perplexity, "panels": panels}

    def _images(self, finished: Finished) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Of the class, and their labels."""
        data = finished.data(finished.networks[0].seed)
        if self.label not in data.classes:
            raise DataError(f"no class {self.label!r} in these data", expected=f"one of {', '.join(data.classes)}")
        rows = np.flatnonzero(data.test.labels == data.classes.index(self.label))[: finished.images]
        return data.test.images[rows], data.test.labels[rows]

    def _seen(
        self, network: FinishedNetwork, images: NDArray[np.uint8], labels: NDArray[np.int64]
    ) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Features float32 [N, D] by column: of the clean images and of the attacked ones."""
        model = onnx.load(str(network.compared))
        twin = Twin(model)
        (plan,) = choose_attacks(self.attack, network.threat).plans
        found = [
            plan.search(twin, images[at], labels[at], threat=network.threat, seed=network.seed, **plan.settings)
            for at in (slice(start, start + _BATCH) for start in range(0, len(images), _BATCH))
        ]
        attacked = np.concatenate([result.adversarial for result in found])
        names = {f"layer {number}": name for number, name in last_layers(model.graph, self.layers).items()}
        clean, other = _columns(twin, names, images), _columns(twin, names, attacked)
        return {column: (clean[column], other[column]) for column in clean}

    def _panel(
        self, labels: list[str], name: str, features: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]]
    ) -> dict[str, Any]:
        groups = [{"model": label, "images": kind} for label in labels for kind in _KINDS]
        arrays = [array for both in features for array in both]
        if name == "input":  # the clean images are the same for both
            groups[0]["model"] = ""
            del groups[2], arrays[2]
        places = _embedded(np.concatenate(arrays), self.perplexity)
        ends = np.cumsum([len(array) for array in arrays])
        for group, part in zip(groups, np.split(places, ends[:-1]), strict=True):
            group["places"] = np.round(part, 3).tolist()
        alike = {label: round(_alike(*both), 4) for label, both in zip(labels, features, strict=True)}
        return {"layer": name, "models": labels, "alike": alike, "groups": groups}

    def draw(self, figure: Any, values: Mapping[str, Any]) -> None:
        panels = values["panels"]
        axes = figure.subplots(len(self.pairs), self.layers + 1, squeeze=False)
        for place, (axis, panel) in enumerate(zip(axes.flat, panels, strict=True)):
            for group in panel["groups"]:
                model = panel["models"].index(group["model"]) if group["model"] else 0
                colour = _COLOURS[model][_KINDS.index(group["images"])]
                if not group["model"]:
                    colour = "tab:gray"
                label = f"{group['model']} {group['images']}".strip()
                x, y = np.array(group["places"]).T
                axis.scatter(x, y, s=4, color=colour, label=label, linewidths=0)
            shares = ", ".join(f"{share:.2f}" for share in panel["alike"].values())
            axis.set_title(f"{panel['layer']} (alike: {shares})", fontsize="small")
            axis.set_xticks([])
            axis.set_yticks([])
            if place % (self.layers + 1) < 2:
                axis.legend(fontsize="xx-small", markerscale=2)
        figure.tight_layout()

    def tell(self, values: Mapping[str, Any]) -> list[str]:
        kinds = f"shares of {values['images']} {self.label} images and their attacked forms"
        meaning = "1: apart, 1/2: mixed, 0: each beside its own attacked form"
        lines = [f"Nearest neighbours of the same kind, clean or attacked, as {kinds} ({meaning})."]
        for panel in values["panels"]:
            shares = ", ".join(f"`{model}` {share:.2f}" for model, share in panel["alike"].items())
            lines.append(f"{panel['layer']}: {shares}.")
        return lines


def _columns(twin: Twin, names: Mapping[str, str], images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """The images and the layers' results, float32 [N, D] each."""
    parts: dict[str, list[NDArray[np.float32]]] = {column: [] for column in ("input", *names)}
    with torch.no_grad():
        for batch in torch.split(torch.from_numpy(images).float() / 255, _BATCH):
            results = twin.results(batch, names.values())
            parts["input"].append(batch.flatten(1).numpy())
            for column, name in names.items():
                parts[column].append(results[name].flatten(1).float().numpy())
    return {column: np.concatenate(found) for column, found in parts.items()}


def _embedded(features: NDArray[np.float32], perplexity: float) -> NDArray[np.float32]:
    """t-SNE to two dimensions: [N, 2]."""
    try:
        from sklearn.manifold import TSNE
    except ModuleNotFoundError as error:
        raise MissingExtraError("scikit-learn", extra="study", feature="t-SNE") from error
    perplexity = min(perplexity, (len(features) - 1) / 3)
    found: NDArray[np.float32] = TSNE(perplexity=perplexity, learning_rate="auto", random_state=0).fit_transform(
        features
    )
    return found


def _alike(clean: NDArray[np.float32], attacked: NDArray[np.float32]) -> float:
    """The share of nearest neighbours of the same kind, see the module."""
    from sklearn.neighbors import NearestNeighbors

    kinds = np.repeat([0, 1], [len(clean), len(attacked)])
    nearest = NearestNeighbors(n_neighbors=1).fit(np.concatenate([clean, attacked])).kneighbors(return_distance=False)
    return float((kinds[nearest[:, 0]] == kinds).mean())
