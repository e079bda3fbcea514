"""From a path to a Model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from . import caching, lazy
from .errors import InputError, VerificationError
from .executor import FOLD_LIMIT
from .model import Loaded, Model
from .opening import Names, Readable, Reading, log_loaded, reading
from .spec import ModelSpec

if TYPE_CHECKING:
    from . import verifying
    from .isolation import Isolation
else:
    verifying = lazy.module("fastlstm.verifying")


def load(
    path: Readable, *, architecture: Any = None, by_name: bool = False, inputs: Names = None, outputs: Names = None, threads: int = 1,
    precision: str | None = None, custom_layers: Mapping[str, Callable[..., Any]] | None = None,
    custom_activations: Mapping[str, Callable[..., Any]] | None = None, verify: bool = False, fold_limit: int = FOLD_LIMIT,
    max_bytes: int | None = None,
    isolated: bool | Isolation = False, cache: bool | None = None,
) -> Model[Loaded]:  # fmt: skip
    """Load a model that Keras saved, or one that :func:`convert` wrote.

    Parameters
    ----------
    path
        A whole model, ``.h5``, ``.keras``, the folder of ``save(zipped=False)`` or a SavedModel folder of tf.keras; weights alone,
        ``.h5``, ``.weights.h5``, ``.weights.json`` with its parts beside it, or a TensorFlow checkpoint by its name, with or without
        ``.index`` (with ``architecture``); or a ``.fastlstm`` file. Its path, its bytes, a file opened with "rb" (read whole, from
        its start), or an h5py.File; a folder, parts or a checkpoint by their path alone. Known by its bytes, whatever its name.
    architecture
        For weights-only files: what ``model.to_json()`` gave, as a string, a path to it, or a dict; or what ``model.to_yaml()``
        gave, with PyYAML (``pip install "fastlstm[yaml]"``). For a whole-model ``.h5`` or a SavedModel: what to read in place of
        the model's own.
    by_name
        ``.h5``: match layers and their weights by name instead of by order.
    inputs, outputs
        A part of the model: the tensors that it begins and ends at, by the names of layers: "dense", "encoder/lstm" in a nested
        model, "lstm:1" for an output other than the first. With ``outputs`` alone it asks for those inputs that it needs. A
        layer that is used more than once: its last use; a nested model that is, or that holds all that is named: the model
        itself. A tensor that becomes an input has no mask; where it had one that is read, it is refused.
    threads
        So many threads share a call: its rows, or where those are few and weights large, the units of its recurrent layers.
        Results do not depend on it.
    precision
        "float32"; "float64" to compute everything in NumPy in float64; "bfloat16" or "bfloat16x3" for faster products with weights,
        which are rounded to 8 or split into 16 bits of their digits as are the numbers that they multiply, where the CPU has AMX. Elsewhere
        "bfloat16" halves the bytes of large weights, and whatever does not pay stays float32: ``Model.precision_used`` says what runs.
        None: what a ``.fastlstm`` file was converted with, else float32. See docs/precision.md.
    custom_layers
        Functions of NumPy arrays, for layers that fastlstm does not know or in place of those that it does: by a layer's own
        name ("encoder/attention" in a nested model), by the name that its class is registered by ("my_package>Attention2"),
        or by its class ("Attention2"), the first that fits. ``function(*inputs, **tensors[, mask][, states][, config][, weights])``
        gets the arrays that go in, batch first, each as an argument of its own; call arguments that are tensors, by their
        names; and, if it has parameters of these names: the layer's ``config`` and its arrays, ``weights``, which are
        read-only; ``mask``, that of its input (a list, of several), bool (batch, timesteps) or None; ``states``, a list of what it
        carries along timesteps, and then it returns ``y, states``. It returns an array of numbers, or a tuple of them, batch first, and
        computes every row by itself, for any number of rows. A cell inside RNN or StackedRNNCells is
        ``function(x, states[, config][, weights])`` of one timestep, which returns ``y, states``. :func:`fastlstm.supports` says what
        a function supports: streams, masks of its output. What stands directly in Bidirectional cannot be supplied by itself; that
        can, as a whole. See docs/tutorials/custom-layers.md.
    custom_activations
        Functions of a NumPy array, by the name that they are registered by ("my_package>wobble"), by their plain name
        ("wobble"), or by their place ("lstm:recurrent_activation", or "encoder/lstm:activation" in a nested model):
        ``function(x[, config])`` returns an array of the shape of ``x``; ``config`` holds the parameters of an activation
        that the file keeps as an object.
    verify
        Rerun the cases recorded in a ``.fastlstm`` file; a file of Keras has none: check new ones against float64.
    fold_limit
        Bytes that an Embedding folded into the next layer as a table may take; less where ``max_bytes`` leaves less.
    max_bytes
        Bytes of memory that loading may take, for its text, for its arrays as they are stored, converted and packed, and for one row
        of the smallest input that the model takes; None: 1 GiB, or 16 times the file's size if that is more. What a file asks for
        is compared with it before it is allocated. More is for those who trust the file. Other limits stand: models, wrappers and
        cells are nested up to 40 deep; layers are used up to 20,000 times, each in a nested model counted for every use of
        that, or as often as they stand in the file if that is more.
    isolated
        For files of strangers: read the file in a process of its own, which is given its bytes alone, opens nothing, and may take
        10 seconds of CPU and 2 GB of memory, or what a :class:`fastlstm.Isolation` says. What is read is the same. Costs the start
        of a Python. An h5py.File, which this process has open already, is refused.
    cache
        Keep the packed weights of a ``.fastlstm`` file in the user's cache folder, and map them from there: later loads are faster, and
        processes share them in memory. None: as FASTLSTM_CACHE says, by default not. See docs/speed.md.

    Returns
    -------
    Model

    Raises
    ------
    FormatError
        If the file is damaged, hostile or of another kind, or takes more than ``max_bytes`` or than there is memory; with
        ``isolated``, if reading it crashes or takes more than it may.
    UnsupportedError
        If it holds something that would not be computed as Keras does; lists everything at once.
    InputError
        If an argument does not fit: ``path`` is nothing that can be read; a name is none that the model has, or may mean several
        things in it; a function of the caller's raises something on a trial, or returns anything but what it should.
    VerificationError
        With ``verify``: if a case comes out differently than recorded (or than in float64), or the file was altered.

    Examples
    --------
    >>> import fastlstm.demo
    >>> model = fastlstm.load(fastlstm.demo.MODEL)
    >>> model.input_shape, model.output_shape
    ((None, None, 1), (None, 12))
    >>> fastlstm.load(fastlstm.demo.MODEL, outputs=["lstm_1"]).output_shape  # a part of it
    (None, 32)
    """
    if not (cache is None or isinstance(cache, bool)):
        raise InputError(f"cache: expected True, False or None, found {cache!r:.60}")
    plain = inputs is None and outputs is None and precision != "float64" and not custom_layers and not custom_activations
    with reading(path, architecture, by_name, max_bytes, isolated, plain and caching.wanted(cache)) as source:
        spec = source.cut(inputs, outputs, custom_layers, custom_activations)
        return opened(
            source, spec, verify and whole(inputs, outputs), threads=threads, precision=precision, fold_limit=fold_limit,
            custom_layers=custom_layers, custom_activations=custom_activations,
        )  # fmt: skip


def whole(inputs: Names, outputs: Names) -> bool:
    """Refuse to verify a part of a model."""
    if not (inputs is None and outputs is None):
        raise InputError("verify: a model cut by inputs= or outputs= has no recorded cases; load it whole to verify it")
    return True


def opened(source: Reading, spec: ModelSpec, verify: bool, **options: Any) -> Model[Any]:
    """The Model of a file that is being read; ``options``: those of :class:`Model` that a caller chooses.

    Raises
    ------
    VerificationError
        With ``verify``: if a case comes out differently.
    """
    model: Model[Any] = Model(spec, source=source.name, budget=source.budget, kept=source.source.kept, **options)
    if source.source.kept is not None:
        source.source.kept.write()
    log_loaded(source, model)
    if verify:
        report = verifying.verification(source, model)
        if not report.passed:
            raise VerificationError(str(report))
    return model
