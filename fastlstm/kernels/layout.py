"""The functions of ``program/layout.py`` and ``program/windows.py`` as the kernels call them: the same code, compiled."""

from __future__ import annotations

from ..program import layout, windows
from .flags import compiled_together

_COMPILED = compiled_together((*layout.COMPILED, *windows.COMPILED))
last_width, last_vectors, columns = _COMPILED["last_width"], _COMPILED["last_vectors"], _COMPILED["columns"]
padded_units, chunk_rows, lay_out = _COMPILED["padded_units"], _COMPILED["chunk_rows"], _COMPILED["lay_out"]
kept_row, after = _COMPILED["kept_row"], _COMPILED["after"]
row_vectors, columns_in, amx_steps = _COMPILED["row_vectors"], _COMPILED["columns_in"], _COMPILED["amx_steps"]
panel_offset, row_parts, amx_size = _COMPILED["panel_offset"], _COMPILED["row_parts"], _COMPILED["amx_size"]
dots_product, packs_product = _COMPILED["dots_product"], _COMPILED["packs_product"]
jobs_of, dots_windows = _COMPILED["jobs_of"], _COMPILED["dots_windows"]
lay_out_windows, lay_out_images = _COMPILED["lay_out_windows"], _COMPILED["lay_out_images"]
lay_out_attention, lay_out_dense = _COMPILED["lay_out_attention"], _COMPILED["lay_out_dense"]
