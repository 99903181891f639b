"""A body with an organ and a lesion, in Hounsfield units, drawn slice by slice to fit any size into memory.

Intensities overlap on purpose: the lesion is as dark as fat, of which there is more under the skin and in
muscle; vessels are as bright as the organ; noise and shading move all of them. No threshold finds the lesion,
its place in the organ does. Both are large enough for a small network to find them in some 200 steps of
nnU-Net's optimiser with batch 2; a lesion of half the volume takes it twice as many.

Legend: ``*_zyx`` and ``*_yx`` are voxel arrays; lengths are millimetres from the volume's centre, x, y, z.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Vec = NDArray[np.float64]
Image = NDArray[np.float32]

AIR_HU, FAT_HU, MUSCLE_HU, ORGAN_HU, LESION_HU, BONE_HU = -1000.0, -95.0, 50.0, 160.0, -92.0, 400.0
ORGAN, LESION = 1, 2
_NOISE_HU = 13.0
_SHADING_HU = 8.0
_TEXTURE_HU = 9.0
_TEXTURE_MM = 6.0
_MUSCLE_SHARE = 0.80


@dataclass(frozen=True, kw_only=True)
class Lattice:
    """Where voxels lie: their number and spacing along x, y, z."""

    shape_xyz: tuple[int, int, int]
    spacing_xyz: tuple[float, float, float]

    def coordinates(self, axis: int) -> Image:
        n, step = self.shape_xyz[axis], self.spacing_xyz[axis]
        return ((np.arange(n) - (n - 1) / 2) * step).astype(np.float32)

    def half_mm(self) -> Vec:
        return np.array(self.shape_xyz) * np.array(self.spacing_xyz) / 2


@dataclass(frozen=True, kw_only=True)
class Blob:
    """An ellipsoid; places and sizes are shares of the volume's half extent. dent: share of its radius."""

    centre: Vec
    radii: Vec
    hu: float
    dent: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """One patient's structures; a second visit sees the same ones."""

    body: Blob
    organ: Blob
    lesion: Blob | None
    others: list[Blob]
    dents: Vec = field(repr=False)
    muscle: float = _MUSCLE_SHARE  # radii of what is below the fat, as a share of the body's

    @staticmethod
    def draw(rng: np.random.Generator) -> Anatomy:
        organ_radii = rng.uniform(0.56, 0.66, 3)
        organ = Blob(centre=rng.uniform(-0.09, 0.09, 3), radii=organ_radii, hu=ORGAN_HU, dent=0.16)
        radius = rng.uniform(0.28, 0.325)
        direction = rng.normal(size=3)
        direction *= rng.uniform(0.25, 0.75) / np.linalg.norm(direction)
        lesion = Blob(
            centre=organ.centre + direction * (organ_radii - radius),
            radii=radius * rng.uniform(0.92, 1.08, 3),
            hu=LESION_HU,
            dent=0.10,
        )
        spine = Blob(centre=np.array([0.0, 0.64, 0.0]), radii=np.array([0.15, 0.13, 3.0]), hu=BONE_HU)
        others = [spine, *_vessels(organ, rng), *_lobules(organ, float(lesion.radii.prod()), rng)]
        body = Blob(centre=np.zeros(3), radii=np.array([0.98, 0.92, 1.5]), hu=FAT_HU)
        return Anatomy(
            body=body, organ=organ, lesion=lesion, others=others, dents=rng.normal(size=(2, 6, 6, 6))
        )

    def fatter(self, rng: np.random.Generator) -> Anatomy:
        """With more or less fat under the skin: its volume then varies by more than a lesion's."""
        return dataclasses.replace(self, muscle=float(rng.uniform(0.77, 0.83)))

    def without_lesion(self, rng: np.random.Generator) -> Anatomy:
        """The same without it, whom no count of dark or bright voxels tells apart.

        The organ has the volume that the lesion had left of it. Lobules in the muscle have the lesion's
        volume as far as there is room, and the fat under the skin has the rest of it.
        """
        assert self.lesion
        organ_volume, lesion_volume = (float(blob.radii.prod()) for blob in (self.organ, self.lesion))
        share = (1 - lesion_volume / organ_volume) ** (1 / 3)
        organ = dataclasses.replace(self.organ, radii=self.organ.radii * share)
        before = [blob for blob in self.others if blob.hu == LESION_HU]
        others = [blob for blob in self.others if blob.hu != LESION_HU]
        wanted = lesion_volume + sum(float(blob.radii.prod()) for blob in before)
        lobules = _lobules(organ, wanted, rng)
        rest = wanted - sum(float(blob.radii.prod()) for blob in lobules)
        # An ellipsoid of radii s (x, y, 1.5) has the volume pi x y (2 s^2 - 8 / 27) between -1 and 1 along z.
        x, y, _ = self.body.radii
        muscle = float(np.sqrt(self.muscle**2 - rest * 2 / 3 / (x * y)))
        return dataclasses.replace(
            self, organ=organ, lesion=None, others=others + lobules, muscle=min(muscle, self.muscle)
        )

    def at_visit(self, rng: np.random.Generator) -> Anatomy:
        """The same patient later: the lesion has grown or shrunk, the organ has moved with the breath."""
        shift = rng.normal(0, 0.02, 3)
        growth = float(rng.uniform(0.92, 1.12))
        lesion = self.lesion and Blob(
            centre=self.lesion.centre + shift,
            radii=self.lesion.radii * growth,
            hu=self.lesion.hu,
            dent=self.lesion.dent,
        )
        organ = Blob(
            centre=self.organ.centre + shift, radii=self.organ.radii, hu=self.organ.hu, dent=self.organ.dent
        )
        return dataclasses.replace(self, organ=organ, lesion=lesion)


def _vessels(organ: Blob, rng: np.random.Generator) -> list[Blob]:
    """Small structures around the organ, as bright as it."""
    vessels = []
    for _ in range(3):
        direction = rng.normal(size=3)
        direction /= np.linalg.norm(direction)
        centre = organ.centre + direction * (organ.radii + 0.22)
        vessels.append(
            Blob(centre=centre, radii=rng.uniform(0.07, 0.13, 3), hu=ORGAN_HU + float(rng.normal(0, 6)))
        )
    return vessels


def _lobules(organ: Blob, volume: float, rng: np.random.Generator) -> list[Blob]:
    """Lobules of fat in the muscle, as dark as the lesion and together as large where there is room.

    volume: the product of radii that they are to have together.
    """
    lobules: list[Blob] = []
    for _ in range(200):
        if sum(float(lobule.radii.prod()) for lobule in lobules) >= volume:
            break
        radii = rng.uniform(0.10, 0.18, 3)
        centre = rng.uniform(-0.9, 0.9, 3)
        reach = organ.radii * (1 + 2 * organ.dent) + radii
        outside = np.linalg.norm((centre - organ.centre) / reach) > 1
        apart = all(np.linalg.norm((centre - other.centre) / (radii + other.radii)) > 1 for other in lobules)
        if outside and apart:
            lobules.append(Blob(centre=centre, radii=radii, hu=LESION_HU))
    return lobules


class _Field:
    """A smooth random field on a lattice, interpolated linearly from coarse nodes one slice at a time."""

    def __init__(self, nodes_zyx: Vec, lattice: Lattice) -> None:
        self._nodes = nodes_zyx.astype(np.float32)
        x, y, z = lattice.shape_xyz
        self._weights = [
            _interpolation(n, len_) for n, len_ in zip((z, y, x), self._nodes.shape, strict=True)
        ]

    def slice_yx(self, z: int) -> Image:
        along_z, along_y, along_x = self._weights
        plane = np.tensordot(along_z[z], self._nodes, axes=1)
        return along_y @ plane @ along_x.T


def _interpolation(voxels: int, nodes: int) -> Image:
    """(voxels, nodes) weights of linear interpolation."""
    where = np.linspace(0, nodes - 1, voxels)
    left = np.minimum(where.astype(int), nodes - 2)
    weights = np.zeros((voxels, nodes), np.float32)
    weights[np.arange(voxels), left] = 1 - (where - left)
    weights[np.arange(voxels), left + 1] = where - left
    return weights


def render(
    anatomy: Anatomy, lattice: Lattice, rng: np.random.Generator
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Draws the image (Hounsfield units, int16) and its label (0, 1 organ, 2 lesion), both zyx."""
    x_size, y_size, z_size = lattice.shape_xyz
    half = lattice.half_mm()
    z_mm = lattice.coordinates(2)
    edge_mm = float(min(lattice.spacing_xyz))
    shading = _Field(rng.normal(0, 1, (3, 3, 3)), lattice)
    fine = [max(4, round(2 * h / _TEXTURE_MM)) for h in half[::-1]]
    texture = _Field(rng.normal(0, 1, fine), lattice)
    dents = [_Field(nodes, lattice) for nodes in anatomy.dents]
    painter = _Painter(lattice, half, edge_mm)
    image_zyx = np.empty((z_size, y_size, x_size), np.int16)
    label_zyx = np.zeros((z_size, y_size, x_size), np.uint8)
    for z in range(z_size):
        at = float(z_mm[z])
        hu_yx = np.full((y_size, x_size), AIR_HU, np.float32)
        body_yx = painter.paint(hu_yx, anatomy.body, at)
        inner = Blob(centre=anatomy.body.centre, radii=anatomy.body.radii * anatomy.muscle, hu=MUSCLE_HU)
        inner_yx = painter.paint(hu_yx, inner, at)
        for blob in anatomy.others:
            painter.paint(hu_yx, blob, at, within_yx=inner_yx)
        organ_yx = painter.paint(hu_yx, anatomy.organ, at, dents[0].slice_yx(z), within_yx=inner_yx)
        label_zyx[z][organ_yx > 0.5] = ORGAN
        if anatomy.lesion:
            lesion_yx = painter.paint(hu_yx, anatomy.lesion, at, dents[1].slice_yx(z), within_yx=organ_yx)
            label_zyx[z][(lesion_yx > 0.5) & (organ_yx > 0.5)] = LESION
        hu_yx += body_yx * (_TEXTURE_HU * texture.slice_yx(z) + _SHADING_HU * shading.slice_yx(z))
        hu_yx += rng.standard_normal((y_size, x_size), np.float32) * np.float32(_NOISE_HU)
        image_zyx[z] = np.clip(np.rint(hu_yx), -1024, 3071)
    return image_zyx, label_zyx


class _Painter:
    """Lays blobs over a slice with edges one voxel soft, as partial volume makes them."""

    def __init__(self, lattice: Lattice, half_mm: Vec, edge_mm: float) -> None:
        self._x = lattice.coordinates(0)[None, :]
        self._y = lattice.coordinates(1)[:, None]
        self._half = half_mm
        self._edge = edge_mm

    def paint(
        self,
        hu_yx: Image,
        blob: Blob,
        z_mm: float,
        dent_yx: Image | None = None,
        within_yx: Image | None = None,
    ) -> Image:
        """Paints in place and returns the share of each voxel that the blob covers."""
        centre, radii = blob.centre * self._half, blob.radii * self._half
        depth = (z_mm - centre[2]) / radii[2]
        cover = np.zeros_like(hu_yx)
        if abs(depth) > 1 + 4 * blob.dent + self._edge / radii[2]:
            return cover
        # Only the rows and columns that the blob can reach.
        reach = 1 + 4 * blob.dent + self._edge / radii.min()
        rows, columns = (
            slice(*np.searchsorted(axis.ravel(), [c - reach * r, c + reach * r]))
            for axis, c, r in ((self._y, centre[1], radii[1]), (self._x, centre[0], radii[0]))
        )
        squared = ((self._x[:, columns] - centre[0]) / radii[0]) ** 2
        squared = squared + ((self._y[rows] - centre[1]) / radii[1]) ** 2 + depth**2
        distance = np.sqrt(squared, dtype=np.float32) - 1
        if dent_yx is not None:
            distance += np.float32(blob.dent) * dent_yx[rows, columns]
        part = np.clip(0.5 - distance * np.float32(radii.min() / self._edge), 0, 1)
        if within_yx is not None:
            part = np.minimum(part, within_yx[rows, columns])
        inside = hu_yx[rows, columns]
        inside += part * (np.float32(blob.hu) - inside)
        cover[rows, columns] = part
        return cover
