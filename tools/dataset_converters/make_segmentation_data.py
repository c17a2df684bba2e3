"""Write a small, seeded segmentation set in the layout of ADE20K.

The scenes are drawn: a sky over a ground, and on it textured shapes of six kinds. Each scene has a
hardness h, 0 to 1, most of them low: with it grow the number of shapes, their overlap, the noise
and the drift of their colours, and the contrast falls. So a part of the set is learned in a few
passes while another part stays hard, which is what pruning by loss needs to be of any use.

Layout, with labels as in ADE20K (0 is unlabelled, for ``reduce_zero_label=True``):

    OUT/images/training/ADE_train_00000001.jpg        OUT/annotations/training/....png
    OUT/images/validation/ADE_val_00000001.jpg        OUT/annotations/validation/....png
    OUT/objectInfo.txt    label, share of pixels, images with it, and name of each class
    OUT/scenes.txt        hardness of each scene

A seed gives the same bytes whenever the versions of NumPy and Pillow are the same, and a scene
depends on the seed, its split and its number only: a larger set begins with the smaller one.
"""

import argparse
import sys
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Tuple

import numpy as np
from PIL import Image

CLASSES = ('ground', 'sky', 'disc', 'square', 'triangle', 'ring', 'cross', 'star')
STUFF = 2
COLORS = np.array(
    [
        (104, 132, 78),
        (128, 170, 214),
        (206, 74, 62),
        (70, 88, 186),
        (226, 178, 60),
        (150, 78, 170),
        (60, 160, 150),
        (214, 122, 48),
    ],
    dtype=np.float64,
)
GREY = np.array((128.0, 126.0, 122.0))
SPLITS = {'training': 'ADE_train', 'validation': 'ADE_val'}


class Scene(NamedTuple):
    """An image uint8 [H, W, 3], its labels uint8 [H, W] (0 unlabelled), and its hardness."""

    image: np.ndarray
    labels: np.ndarray
    hardness: float


def shape_mask(kind: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Mask of a shape of radius 1 about the origin, bool [H, W], at coordinates u, v [H, W]."""
    distance = np.hypot(u, v)
    largest = np.maximum(np.abs(u), np.abs(v))
    if kind == 'disc':
        return distance < 0.95
    if kind == 'square':
        return largest < 0.82
    if kind == 'triangle':
        return (v < 0.6) & (v > 1.9 * np.abs(u) - 1.1)
    if kind == 'ring':
        return (distance < 1.0) & (distance > 0.52)
    if kind == 'cross':
        return (largest < 0.95) & (np.minimum(np.abs(u), np.abs(v)) < 0.3)
    return distance < 0.66 + 0.34 * np.cos(5 * np.arctan2(v, u))


def texture(kind: int, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Pattern of a class, float64 [H, W] in -1 to 1: stripes, checks or rings of some pitch."""
    pitch = 5.0 + 1.5 * (kind % 3)
    if kind % 4 == 0:
        return np.sin(pitch * u)
    if kind % 4 == 1:
        return 0.3 * np.sin(2.0 * v)
    if kind % 4 == 2:
        return np.sign(np.sin(pitch * u) * np.sin(pitch * v))
    return np.cos(2 * pitch * np.hypot(u, v))


def make_scene(size: Tuple[int, int], rng: np.random.Generator) -> Scene:
    """Draw one scene.

    Args:
        size (tuple[int, int]): Height and width in pixels.
        rng (np.random.Generator): The only source of randomness.
    """
    height, width = size
    unit = min(size)
    yy, xx = np.mgrid[0:height, 0:width].astype(np.float64)
    hardness = float(rng.beta(0.6, 1.3))
    contrast = 1.0 - 0.8 * hardness

    def paint(mask: np.ndarray, kind: int, u: np.ndarray, v: np.ndarray) -> None:
        drift = rng.normal(0.0, 6.0 + 34.0 * hardness, 3)
        color = GREY + contrast * (COLORS[kind] - GREY) + drift
        pattern = 22.0 * contrast * texture(kind, u, v)
        canvas[mask] = (color + pattern[..., None])[mask]
        labels[mask] = kind + 1

    canvas = np.zeros((height, width, 3))
    labels = np.zeros((height, width), dtype=np.uint8)
    everywhere = np.ones((height, width), dtype=bool)
    paint(everywhere, 0, 8 * xx / unit, 8 * yy / unit)
    horizon = height * rng.uniform(-0.1, 0.5)
    wave = rng.uniform(0.0, 0.08) * unit * np.sin(xx / unit * rng.uniform(3, 9) + rng.uniform(0, 6))
    paint(yy < horizon + wave, 1, xx / unit, 4 * yy / unit)

    edges = np.zeros((height, width), dtype=bool)
    count = 1 + int(rng.integers(0, 2)) + int(round(6 * hardness * rng.uniform(0.5, 1.0)))
    for _ in range(count):
        kind = int(rng.integers(STUFF, len(CLASSES)))
        radius = unit * rng.uniform(0.14, 0.32 - 0.12 * hardness)
        cy = rng.uniform(radius / 2, height - radius / 2)
        cx = rng.uniform(radius / 2, width - radius / 2)
        angle = rng.uniform(-1.0, 1.0) * (0.2 + 3.0 * hardness)
        u = (np.cos(angle) * (xx - cx) + np.sin(angle) * (yy - cy)) / radius
        v = (np.cos(angle) * (yy - cy) - np.sin(angle) * (xx - cx)) / radius
        mask = shape_mask(CLASSES[kind], u, v)
        paint(mask, kind, u, v)
        edges &= ~mask
        edges |= mask & ~_eroded(mask)

    # Unlabelled pixels: the outlines of the shapes, and in hard scenes grey things nobody named.
    labels[edges] = 0
    for _ in range(int(rng.binomial(3, 0.15 + 0.6 * hardness))):
        ry, rx = unit * rng.uniform(0.04, 0.12, 2)
        cy, cx = rng.uniform(0, height), rng.uniform(0, width)
        blob = np.hypot((yy - cy) / ry, (xx - cx) / rx) < 1.0
        canvas[blob] = GREY + rng.normal(0.0, 40.0)
        labels[blob] = 0

    light = 1.0 + hardness * rng.uniform(-0.5, 0.5) * (xx / width - 0.5)
    noise = rng.normal(0.0, 3.0 + 30.0 * hardness, canvas.shape)
    image = np.clip(np.rint(canvas * light[..., None] + noise), 0, 255).astype(np.uint8)
    return Scene(image, labels, hardness)


def _eroded(mask: np.ndarray) -> np.ndarray:
    """``mask`` without its outermost pixels (of the four neighbours, all must be inside)."""
    inside = mask.copy()
    inside[1:] &= mask[:-1]
    inside[:-1] &= mask[1:]
    inside[:, 1:] &= mask[:, :-1]
    inside[:, :-1] &= mask[:, 1:]
    return inside


def write_set(out: Path, counts: Dict[str, int], size: Tuple[int, int], seed: int) -> None:
    """Write the images, label maps and lists below ``out``.

    Args:
        out (Path): Directory of the set; made if missing.
        counts (dict[str, int]): Number of scenes of each split.
        size (tuple[int, int]): Height and width in pixels.
        seed (int): Seed of the whole set.

    Raises:
        ValueError: If ``out`` already has a set, or a count, the size or the seed is too small.
    """
    if (out / 'images').exists():
        raise ValueError(f'{str(out)!r} already has images: remove it, or give another directory')
    for name, value, least in [
        ('--train', counts['training'], 1),
        ('--val', counts['validation'], 1),
        ('--size', min(size), 16),
        ('--seed', seed, 0),
    ]:
        if value < least:
            raise ValueError(f'{name} is {value}, but must be at least {least}')

    pixels = np.zeros(len(CLASSES) + 1, dtype=np.int64)
    images = {split: np.zeros(len(CLASSES) + 1, dtype=np.int64) for split in SPLITS}
    scenes: List[str] = []
    for number, (split, prefix) in enumerate(SPLITS.items()):
        for kind in ('images', 'annotations'):
            (out / kind / split).mkdir(parents=True)
        for index in range(counts[split]):
            scene = make_scene(size, np.random.default_rng([seed, number, index]))
            stem = f'{prefix}_{index + 1:08d}'
            Image.fromarray(scene.image).save(out / 'images' / split / f'{stem}.jpg', quality=92)
            Image.fromarray(scene.labels).save(out / 'annotations' / split / f'{stem}.png')
            scenes.append(f'{stem} {scene.hardness:.4f}')
            here = np.bincount(scene.labels.ravel(), minlength=len(pixels))
            pixels += here
            images[split] += here > 0

    lines = ['Idx\tRatio\tTrain\tVal\tStuff\tName']
    for label, name in enumerate(CLASSES, start=1):
        ratio = pixels[label] / pixels.sum()
        train, val = images['training'][label], images['validation'][label]
        lines.append(f'{label}\t{ratio:.4f}\t{train}\t{val}\t{int(label <= STUFF)}\t{name}')
    (out / 'objectInfo.txt').write_text('\n'.join(lines) + '\n')
    (out / 'scenes.txt').write_text('\n'.join(scenes) + '\n')


def parse_args(argv: Optional[List[str]] = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description='Write a small set in the layout of ADE20K')
    parser.add_argument('out', type=Path, help='directory to write to, for example data/shapes')
    parser.add_argument('--train', type=int, default=480, help='training scenes (default: 480)')
    parser.add_argument('--val', type=int, default=120, help='validation scenes (default: 120)')
    parser.add_argument(
        '--size', type=int, nargs=2, default=(64, 64), metavar=('H', 'W'), help='default: 64 64'
    )
    parser.add_argument('--seed', type=int, default=0, help='default: 0')
    return parser.parse_args(argv)


def main(argv: Optional[List[str]] = None) -> None:
    """Write the set that the command line asks for."""
    args = parse_args(argv)
    counts = {'training': args.train, 'validation': args.val}
    try:
        write_set(args.out, counts, (args.size[0], args.size[1]), args.seed)
    except (ValueError, OSError) as error:
        sys.exit(f'make_segmentation_data.py: error: {error}')
    print(f'{args.out}: {args.train} training and {args.val} validation scenes')


if __name__ == '__main__':
    main()
