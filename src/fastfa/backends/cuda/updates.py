"""The launches of updates: gradients, clipping, steps of the optimizer. Needs no CuPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import kernels
from .blocks import Parameter
from .factors import kernel_of, n_slots
from .signals import SignalBuilder

__all__ = ["UpdateBuilder"]


class UpdateBuilder(SignalBuilder):
    """Adds the launches of updates."""

    def add_update(self) -> None:
        """The step of all trained parameters, or the gradients of those that are no feedback."""
        trained, optimizer = self.model.trained, self.model.optimizer
        if self.mode == "gradients":
            self.add_updates([each for each in trained if not each.is_feedback], "gradient")
        elif optimizer["clip_norm"]:
            self.add_updates(trained, "gradient")
            self.add_clipping()
        else:
            names = [kernel_of(optimizer, each.group) for each in trained if each.group]
            for name in dict.fromkeys(names):
                chosen = zip(trained, names, strict=True)
                self.add_updates([each for each, own in chosen if own == name], name)

    def parameter_fields(self, parameter: Parameter, *, gradient: bool = False) -> dict[str, Any]:
        """The fields of `parameter`; `gradient`: what is written is the gradient."""
        p = parameter
        assert p.group is not None
        fields: dict[str, Any] = {
            "value": self.memory.address(f"{p.key}.gradient" if gradient else p.key),
            "left": self.buffer(p.left, p.rows) if p.left else 0,
            "right": self.buffer(p.right, p.cols),
            "rows": p.rows,
            "cols": p.cols,
            "group": self.model.groups.index(p.group),
            "weighs_left": int(p.weighs_left),
        }
        if gradient:
            return fields
        for i in range(n_slots(self.model.optimizer)):
            fields[f"slot{i}"] = self.memory.address(f"{p.key}.slot{i}")
        if p.coupled:
            fields["coupled"] = self.memory.address(p.coupled)
            fields["decays"] = int(p.coupled_decay != 0)
            fields["coupled_keep"] = 1 - p.coupled_decay
        return fields

    def add_updates(self, parameters: Sequence[Parameter], name: str) -> None:
        """A launch of `update`: gradients, and steps by one of `kernels.OPTIMIZERS`."""
        if not parameters:
            return
        gradient = name == "gradient"
        rows = [self.parameter_fields(each, gradient=gradient) for each in parameters]
        table = np.concatenate([kernels.record("parameter", self.dtype, **row) for row in rows])
        sizes = [(each.rows, each.cols, not each.left) for each in parameters]
        tile = self.tile_for(*[(m, n) for m, n, bias in sizes if not bias])
        tiles = kernels.tile_table(tile, sizes)
        learns = any("coupled" in row or row["weighs_left"] for row in rows)
        weighted = self.batch.weighted
        kernel = kernels.update(self.dtype, name, tile, weighted=weighted, learns=learns)
        at = {"parameters": self.memory.upload(table), "tiles": self.memory.upload(tiles)}
        if weighted:
            at["row_weight"] = self.buffer("row_weight", 1)
        counts = {"m": self.m, "groups": len(self.model.groups)}
        self.add(kernel, len(tiles), control=self.control, **at, **counts)

    # ---- clipping

    def add_clipping(self) -> None:
        """The norm of the gradients, and the steps by what is clipped."""
        model, control = self.model, {"control": self.control}
        if not model.trained:
            return
        table = self.norm_table()
        squares = {"squares": self.memory.reserve("squares", (len(table),), "float64")}
        tiles = self.memory.upload(table)
        self.add(kernels.norm(self.dtype), len(table), **control, **squares, tiles=tiles)
        most = model.optimizer["clip_norm"]
        self.add(kernels.clip(self.dtype), 1, **control, **squares, most=most, n=len(table))
        rows = [
            {"of": self.parameter_fields(each), "gradient": self.gradient_of(each)}
            for each in model.trained
        ]
        clipped = np.concatenate([kernels.record("clipped", self.dtype, **row) for row in rows])
        sizes = [(each.rows, each.cols, False) for each in model.trained]
        blocks = kernels.tile_table(kernels.APPLY_TILE, sizes)
        at = {"parameters": self.memory.upload(clipped), "tiles": self.memory.upload(blocks)}
        learns = any(each.coupled for each in model.trained)
        group = model.groups[0]
        kernel = kernels.apply(self.dtype, kernel_of(model.optimizer, group), learns=learns)
        self.add(kernel, len(blocks), **control, **at, groups=len(model.groups))

    def gradient_of(self, parameter: Parameter) -> int:
        """The address of a gradient."""
        return self.memory.address(f"{parameter.key}.gradient")

    def norm_table(self) -> Any:
        """The tiles of `norm`."""
        found = self.model.norm_tiles()
        table = np.zeros(len(found), kernels.layout("norm_tile", self.dtype))
        size = np.dtype(self.dtype).itemsize
        for row, (parameter, i0, rows, j0, cols) in zip(table, found, strict=True):
            row["gradient"] = self.gradient_of(parameter) + (i0 * parameter.cols + j0) * size
            row["stride"], row["rows"], row["cols"] = parameter.cols, rows, cols
        return table

    def add_weights(self) -> None:
        """Deltas times sample weights."""
        kernel = kernels.weigh(self.dtype)
        weight = self.buffer("row_weight", 1)
        for block in self.model.blocks:
            if block.needed:
                at = self.buffer(block.name("delta"), block.n_out)
                blocks = -(-self.m * block.n_out // kernel.threads)
                self.add(kernel, blocks, d=at, row_weight=weight, m=self.m, n=block.n_out)
