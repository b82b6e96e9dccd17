"""Train, export and quantize the shipped models again, and write their table in README.md.

PyTorch is imported only inside the functions that train and export, scikit-learn where it splits:
the tests take the images, the split and the scoring from here, and most of them need neither.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

if TYPE_CHECKING:
    import torch

FOLDER = Path(__file__).resolve().parent
SIDE = 32
HELD_OUT = 450
SAMPLES = 180
OPSET = 17
BATCH = 64
TABLE_BEGIN, TABLE_END = "<!-- table: written by build.py -->", "<!-- end of table -->"


# ---- the images


class Digits(NamedTuple):
    """Images ``(n, 1, 32, 32)`` float32 from 0 to 1, labels ``(n,)`` int64."""

    train_images: np.ndarray
    train_labels: np.ndarray
    held_out_images: np.ndarray
    held_out_labels: np.ndarray


def upscale(images: np.ndarray, side: int) -> np.ndarray:
    """Return square images ``(n, s, s)`` enlarged to ``(n, side, side)``, bilinear."""
    small = images.shape[-1]
    centres = (np.arange(side) + 0.5) * small / side - 0.5
    rows = np.stack([np.interp(centres, np.arange(small), one) for one in np.eye(small)], axis=1)
    return rows @ images @ rows.T


def load_split() -> Digits:
    """Return scikit-learn's 1 797 digits: 1 347 to train on, 450 held out, always the same."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = upscale(digits.images / 16, SIDE).astype(np.float32)[:, None]
    train_images, held_out_images, train_labels, held_out_labels = train_test_split(
        images, digits.target, test_size=HELD_OUT, random_state=0, stratify=digits.target
    )
    return Digits(train_images, train_labels, held_out_images, held_out_labels)


def count_correct(path: Path, images: np.ndarray, labels: np.ndarray) -> int:
    """Return how many images the model file classifies rightly, run by ONNX Runtime."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"image": images})
    return int(np.sum(np.argmax(logits, axis=1) == labels))


# ---- the networks


def chain(**layers: torch.nn.Module) -> torch.nn.Sequential:
    """Return the layers in sequence, under the names the exported nodes will carry."""
    from torch.nn import Sequential

    return Sequential(OrderedDict(layers))


def create_resnet8() -> torch.nn.Module:
    """Return the ResNet-8 of MLPerf Tiny, for one grey channel instead of three colours."""
    from torch import Tensor, nn

    class Stack(nn.Module):
        def __init__(self, inputs: int, outputs: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(outputs)
            self.relu1 = nn.ReLU()
            self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(outputs)
            self.skip: nn.Module = nn.Identity()
            if stride != 1:
                conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
                self.skip = chain(conv=conv, bn=nn.BatchNorm2d(outputs))
            self.relu2 = nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            y = self.relu1(self.bn1(self.conv1(x)))
            return self.relu2(self.bn2(self.conv2(y)) + self.skip(x))

    return chain(
        conv=nn.Conv2d(1, 16, 3, 1, 1, bias=False),
        bn=nn.BatchNorm2d(16),
        relu=nn.ReLU(),
        stack1=Stack(16, 16, 1),
        stack2=Stack(16, 32, 2),
        stack3=Stack(32, 64, 2),
        pool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        dense=nn.Linear(64, 10),
    )


def create_dscnn() -> torch.nn.Module:
    """Return a small MobileNet: a stem and six blocks of depthwise and pointwise convolution."""
    from torch import nn

    def block(inputs: int, outputs: int, stride: int) -> nn.Module:
        return chain(
            conv_dw=nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False),
            bn_dw=nn.BatchNorm2d(inputs),
            relu_dw=nn.ReLU6(),
            conv_pw=nn.Conv2d(inputs, outputs, 1, bias=False),
            bn_pw=nn.BatchNorm2d(outputs),
            relu_pw=nn.ReLU6(),
        )

    return chain(
        conv=nn.Conv2d(1, 32, 3, 2, 1, bias=False),
        bn=nn.BatchNorm2d(32),
        relu=nn.ReLU6(),
        block1=block(32, 32, 1),
        block2=block(32, 64, 2),
        block3=block(64, 64, 1),
        block4=block(64, 128, 2),
        block5=block(128, 128, 1),
        block6=block(128, 128, 1),
        pool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        dense=nn.Linear(128, 10),
    )


class Recipe(NamedTuple):
    """How one network is made: everything that differs between the two."""

    name: str
    create: Callable[[], torch.nn.Module]
    epochs: int
    learning_rate: float
    weight_decay: float
    seed: int


RECIPES = (
    Recipe("resnet8", create_resnet8, epochs=15, learning_rate=0.1, weight_decay=5e-4, seed=0),
    # At this rate a filter of the stem dies, as they do in real MobileNets: the next batch-norm
    # sees a variance near zero, and folding divides by its root (arXiv:1803.08607).
    Recipe("dscnn", create_dscnn, epochs=30, learning_rate=0.5, weight_decay=0, seed=1),
)


# ---- training


def batches(
    images: torch.Tensor, labels: torch.Tensor, random: torch.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield one epoch, shuffled; each batch is moved by up to two pixels."""
    import torch

    order = torch.randperm(len(images), generator=random)
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2))
    for chosen in order[: len(order) // BATCH * BATCH].split(BATCH):
        top, left = torch.randint(0, 5, (2,), generator=random).tolist()
        yield padded[chosen, :, top : top + SIDE, left : left + SIDE], labels[chosen]


def train(recipe: Recipe, digits: Digits) -> torch.nn.Module:
    """Return the trained network, in evaluation mode; the same bits on the same machine."""
    import torch

    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    torch.manual_seed(recipe.seed)
    network = recipe.create()
    images, labels = map(torch.from_numpy, (digits.train_images, digits.train_labels))
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=recipe.learning_rate,
        momentum=0.9,
        nesterov=True,
        weight_decay=recipe.weight_decay,
    )
    steps = recipe.epochs * (len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    random = torch.Generator().manual_seed(recipe.seed)
    for _ in range(recipe.epochs):
        for some_images, some_labels in batches(images, labels, random):
            loss = torch.nn.functional.cross_entropy(network(some_images), some_labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def fold_batch_norms(network: torch.nn.Module) -> None:
    """Fold each ``bn*`` into the ``conv*`` of the same module whose name ends alike."""
    from torch.nn import Identity
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if name.startswith("bn"):
                conv = "conv" + name.removeprefix("bn")
                setattr(module, conv, fuse_conv_bn_eval(getattr(module, conv), child))
                setattr(module, name, Identity())


# ---- the files


def export(network: torch.nn.Module, path: Path) -> None:
    """Write the network as ONNX, its nodes named after its modules, any batch size."""
    import torch

    fold_batch_norms(network)
    with warnings.catch_warnings():
        # The older exporter is chosen: it names a node "/stack1/conv1/Conv", not "node_conv2d_1".
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network,
            (torch.zeros(1, 1, SIDE, SIDE),),
            path,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
            opset_version=OPSET,
            dynamo=False,
        )


class Batches(CalibrationDataReader):
    """Hands the training images to the calibration, batch by batch."""

    def __init__(self, images: np.ndarray) -> None:
        starts = range(0, len(images), BATCH)
        self._feeds = iter([{"image": images[start : start + BATCH]} for start in starts])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


def quantize(
    source: Path,
    target: Path,
    images: np.ndarray,
    *,
    codes: QuantType,
    per_channel: bool,
    float_layers: Sequence[str] = (),
) -> None:
    """Write a static QDQ build; weights and activations share the data type."""
    quantize_static(
        source,
        target,
        Batches(images),
        quant_format=QuantFormat.QDQ,
        per_channel=per_channel,
        weight_type=codes,
        activation_type=codes,
        calibrate_method=CalibrationMethod.MinMax,
        nodes_to_exclude=list(float_layers),
    )


def tidy(path: Path) -> None:
    """Drop what only the building machine knew, and constants that nothing reads.

    ONNX Runtime removes the Clip that a quantized layer makes needless, and leaves its limits.
    """
    model = onnx.load(path)
    used = {name for node in model.graph.node for name in node.input}
    for node in list(model.graph.node):
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
        if node.op_type == "Constant" and used.isdisjoint(node.output):
            model.graph.node.remove(node)
    model.ClearField("doc_string")
    model.ClearField("metadata_props")
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def build(recipe: Recipe, digits: Digits, folder: Path) -> None:
    """Write ``fp32.onnx``, ``int8.onnx``, ``uint8.onnx`` and ``samples.npz`` of one network."""
    folder.mkdir(parents=True, exist_ok=True)
    fp32, int8, uint8 = (folder / f"{kind}.onnx" for kind in ("fp32", "int8", "uint8"))
    images = digits.train_images
    export(train(recipe, digits), fp32)
    tidy(fp32)
    quantize(fp32, int8, images, codes=QuantType.QInt8, per_channel=True)
    quantize(fp32, uint8, images, codes=QuantType.QUInt8, per_channel=False)
    tidy(int8)
    tidy(uint8)
    write_samples(folder / "samples.npz", digits)


def write_samples(path: Path, digits: Digits) -> None:
    """Write the first held-out digits, the model's input by its name, and their labels.

    Every brightness is a multiple of 1/1024, so that float16 holds it exactly.
    """
    np.savez_compressed(
        path,
        image=digits.held_out_images[:SAMPLES].astype(np.float16),
        labels=digits.held_out_labels[:SAMPLES].astype(np.uint8),
    )


# ---- the table in README.md


class Row(NamedTuple):
    """One model file in the table; the columns of README.md in their order."""

    file: str
    weights: int
    correct: int
    size: int
    sha256: str


COLUMNS = (
    f"| file | weights | correct of {HELD_OUT} | accuracy | bytes | SHA-256 |\n"
    "|---|--:|--:|--:|--:|---|"
)


def count_weights(path: Path) -> int:
    """Return how many weights the layers hold; biases, scales and zero-points are not weights."""
    tensors = onnx.load(path).graph.initializer
    return sum(math.prod(tensor.dims) for tensor in tensors if len(tensor.dims) > 1)


def measure(path: Path, digits: Digits) -> Row:
    """Return what the table says of one file; ``file`` is relative to this folder."""
    content = path.read_bytes()
    return Row(
        file=path.relative_to(path.parents[1]).as_posix(),
        weights=count_weights(path),
        correct=count_correct(path, digits.held_out_images, digits.held_out_labels),
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )


def format_row(row: Row) -> str:
    """Return the row as a line of the table."""
    share = f"{row.correct / HELD_OUT:.1%}"
    cells = (f"`{row.file}`", row.weights, row.correct, share, row.size, f"`{row.sha256}`")
    return "| " + " | ".join(map(str, cells)) + " |"


def read_table(text: str) -> tuple[Row, ...]:
    """Return the rows of the table in a README."""
    table = text.split(TABLE_BEGIN)[1].split(TABLE_END)[0].strip()
    rows = []
    for line in table.splitlines()[2:]:
        file, weights, correct, _, size, sha256 = (
            cell.strip(" `") for cell in line.split("|")[1:-1]
        )
        rows.append(Row(file, int(weights), int(correct), int(size), sha256))
    return tuple(rows)


def write_table(readme: Path, rows: Sequence[Row]) -> None:
    """Replace what stands between the markers of the README."""
    before, rest = readme.read_text(encoding="utf-8").split(TABLE_BEGIN)
    after = rest.split(TABLE_END)[1]
    table = "\n".join([COLUMNS, *map(format_row, rows)])
    readme.write_text(f"{before}{TABLE_BEGIN}\n{table}\n{TABLE_END}{after}", encoding="utf-8")


def main() -> None:
    """Build all files beside this script and bring the table up to date."""
    onnxruntime.set_default_logger_severity(3)
    digits = load_split()
    for recipe in RECIPES:
        build(recipe, digits, FOLDER / recipe.name)
    rows = tuple(measure(path, digits) for path in sorted(FOLDER.glob("*/*.onnx")))
    write_table(FOLDER / "README.md", rows)
    for row in rows:
        print(f"{row.file:20} {row.correct} of {HELD_OUT}, {row.size} bytes")


if __name__ == "__main__":
    main()
